//! The body of a request: text, a file or stdin.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt},
};

/// A body of any of these kinds.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

const CHUNK: usize = 64 * 1024;

/// Where a request's body comes from.
#[derive(Clone, Debug)]
pub(crate) enum Upload {
    Nothing,
    Text(Bytes),
    File(PathBuf),
    Stdin,
}

impl Upload {
    pub(crate) fn new(data: Option<&str>) -> Self {
        match data {
            None => Self::Nothing,
            Some("@-") => Self::Stdin,
            Some(data) => match data.strip_prefix('@') {
                Some(path) => Self::File(path.into()),
                None => Self::Text(Bytes::copy_from_slice(data.as_bytes())),
            },
        }
    }

    /// Whether [`open`](Self::open) gives the same again and again.
    pub(crate) fn can_reopen(&self) -> bool {
        !matches!(self, Self::Stdin)
    }

    /// The body, from its beginning.
    pub(crate) fn open(&self) -> io::Result<Body> {
        Ok(match self {
            Self::Nothing => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            Self::Text(text) => Full::new(text.clone())
                .map_err(|never| match never {})
                .boxed_unsync(),
            Self::File(path) => {
                let file = std::fs::File::open(path)?;
                let metadata = file.metadata()?;
                let body = chunks(File::from_std(file));
                if metadata.is_file() {
                    let left = metadata.len();
                    Sized { body, left }.boxed_unsync()
                } else if metadata.is_dir() {
                    return Err(io::ErrorKind::IsADirectory.into());
                } else {
                    body
                }
            }
            Self::Stdin => chunks(tokio::io::stdin()),
        })
    }
}

fn chunks(source: impl AsyncRead + Send + Unpin + 'static) -> Body {
    let chunks = stream::try_unfold(source, async |mut source| {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = source.read_buf(&mut chunk).await?;
        Ok((read > 0).then(|| (Frame::data(chunk.freeze()), source)))
    });
    StreamBody::new(chunks).boxed_unsync()
}

/// A body of which the length is known, so that it is announced in `Content-Length`.
struct Sized {
    body: Body,
    left: u64,
}

impl http_body::Body for Sized {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let sent = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.left = self.left.saturating_sub(sent);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
