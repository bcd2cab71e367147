//! Bodies whose every byte can be told from their number: those of requests and of responses.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tower_http_retry::body::WholeBody;

/// The trailer that ends some of the bodies.
pub(crate) const TRAILER: &str = "x-sim-end";

/// What a body consists of, and how it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    bytes: Bytes,
    chunk: usize,
    /// Whether its length is known up front.
    sized: bool,
    /// The time after each chunk.
    pause: Duration,
    trailer: Option<HeaderValue>,
    /// The number of bytes after which the body fails.
    fails_at: Option<usize>,
}

impl Content {
    pub(crate) fn new(number: u32, length: usize) -> Self {
        let byte = |at: usize| {
            let at = u32::try_from(at).expect("a body of less than 4 GiB");
            ((at.wrapping_mul(0x9e37_79b1) >> 13) ^ number.wrapping_mul(0x85eb)).to_le_bytes()[0]
        };
        Self {
            bytes: (0..length).map(byte).collect(),
            chunk: length.max(1),
            sized: true,
            pause: Duration::ZERO,
            trailer: None,
            fails_at: None,
        }
    }

    pub(crate) fn in_chunks(mut self, chunk: usize, pause: Duration) -> Self {
        self.chunk = chunk.max(1);
        self.pause = pause;
        self
    }

    pub(crate) fn of_unknown_length(mut self) -> Self {
        self.sized = false;
        self
    }

    pub(crate) fn with_trailer(mut self, value: u32) -> Self {
        self.sized = false;
        self.trailer = Some(value.into());
        self
    }

    pub(crate) fn failing_at(mut self, at: usize) -> Self {
        self.fails_at = Some(at.min(self.bytes.len()));
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn fails(&self) -> bool {
        self.fails_at.is_some()
    }

    pub(crate) fn trailer(&self) -> Option<&HeaderValue> {
        self.trailer.as_ref()
    }

    /// Whether this is what was received, trailers included.
    pub(crate) fn is(&self, received: &[u8], trailers: Option<&HeaderMap>) -> bool {
        let trailer = trailers.and_then(|trailers| trailers.get(TRAILER));
        self.bytes == received && self.trailer() == trailer
    }

    pub(crate) fn body(&self) -> SimBody {
        SimBody {
            content: self.clone(),
            sent: 0,
            trailers_sent: false,
            pausing: None,
        }
    }
}

/// A body on its way.
pub(crate) struct SimBody {
    content: Content,
    sent: usize,
    trailers_sent: bool,
    pausing: Option<Pin<Box<Sleep>>>,
}

impl Clone for SimBody {
    /// The same body from its start.
    fn clone(&self) -> Self {
        self.content.body()
    }
}

impl WholeBody for SimBody {
    fn try_clone_whole(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(pause) = &mut self.pausing {
            ready!(pause.as_mut().poll(cx));
            self.pausing = None;
        }
        let content = &self.content;
        let end = content.fails_at.unwrap_or(content.len());
        if self.sent < end {
            let chunk = content.chunk.min(end - self.sent);
            let data = content.bytes.slice(self.sent..self.sent + chunk);
            self.sent += chunk;
            if !self.content.pause.is_zero() {
                self.pausing = Some(Box::pin(sleep(self.content.pause)));
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if content.fails() {
            return Poll::Ready(Some(Err(io::Error::other("the body fails as planned"))));
        }
        match &content.trailer {
            Some(trailer) if !self.trailers_sent => {
                let trailers = HeaderMap::from_iter([(
                    http::HeaderName::from_static(TRAILER),
                    trailer.clone(),
                )]);
                self.trailers_sent = true;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let content = &self.content;
        self.sent == content.len()
            && !content.fails()
            && (content.trailer.is_none() || self.trailers_sent)
    }

    fn size_hint(&self) -> SizeHint {
        let content = &self.content;
        if content.sized {
            SizeHint::with_exact((content.len() - self.sent) as u64)
        } else {
            SizeHint::default()
        }
    }
}
