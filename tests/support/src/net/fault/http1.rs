//! HTTP/1.1: requests one after another on a connection (RFC 9112).

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};

use super::{
    super::{close, drain},
    Answer, Shared,
    exchange::{End, Exchange, Extent, perform},
    raw,
    wire::Wire,
};

/// Serves a connection.
pub(super) async fn serve(mut wire: Wire, shared: &Shared, heads: &Semaphore) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        if buffer.is_empty() && wire.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let (play, record) = shared.take();
        if play.needs_connection() {
            // There is one already.
            return wire.reset();
        }
        let mut reader = Reader { wire, buffer };
        let head = reader.head().await?;
        record.head(&head.method, &head.uri, &head.headers);
        heads.add_permits(1);
        let rest = head.content()?;
        let acts = play.acts(&head.method, &head.uri, &head.headers);
        let mut exchange = Http1 {
            reader,
            is_head: head.method == Method::HEAD,
            rest,
            trailers: None,
        };
        let end = perform(&mut exchange, acts, &record, shared).await?;
        Reader { wire, buffer } = exchange.reader;
        match end {
            End::Keep => {}
            End::Close => return close(wire).await,
            End::Reset => return wire.reset(),
        }
    }
}

/// What is there of a connection's bytes, and where more come from.
#[derive(Debug)]
struct Reader {
    wire: Wire,
    buffer: BytesMut,
}

/// The head of a request.
#[derive(Debug)]
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// What is still to come of a request's content.
#[derive(Clone, Copy, Debug)]
enum Rest {
    Bytes(u64),
    /// So many bytes of a chunk, its end, and more chunks.
    Chunk(u64),
    NextChunk,
    Nothing,
}

impl Reader {
    async fn fill(&mut self) -> io::Result<()> {
        match self.wire.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// A line without its end.
    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.split_to(end);
                self.buffer.advance(2);
                return String::from_utf8(line.to_vec()).map_err(invalid);
            }
            self.fill().await?;
        }
    }

    /// Header lines up to the empty one.
    async fn headers(&mut self) -> io::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&*line))?;
            headers.append(
                name.parse::<HeaderName>().map_err(invalid)?,
                value.trim().parse::<HeaderValue>().map_err(invalid)?,
            );
        }
    }

    async fn head(&mut self) -> io::Result<Head> {
        let line = self.line().await?;
        let mut words = line.split(' ');
        let mut word = || words.next().ok_or_else(|| invalid(&*line));
        let method = word()?.parse().map_err(invalid)?;
        let uri = word()?.parse().map_err(invalid)?;
        let headers = self.headers().await?;
        Ok(Head {
            method,
            uri,
            headers,
        })
    }

    /// Up to so many bytes that are there, or the next that come.
    async fn some(&mut self, most: u64) -> io::Result<Bytes> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let length = self.buffer.len().min(most);
        Ok(self.buffer.split_to(length).freeze())
    }
}

impl Head {
    /// How the content is framed (RFC 9112, section 6.3).
    fn content(&self) -> io::Result<Rest> {
        if self.headers.contains_key(header::TRANSFER_ENCODING) {
            return Ok(Rest::NextChunk);
        }
        match self.headers.get(header::CONTENT_LENGTH) {
            Some(length) => {
                let length = length.to_str().map_err(invalid)?;
                Ok(Rest::Bytes(length.parse().map_err(invalid)?))
            }
            None => Ok(Rest::Nothing),
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// One request on a connection.
#[derive(Debug)]
struct Http1 {
    reader: Reader,
    /// Whether its answer has no content (RFC 9110, section 9.3.2).
    is_head: bool,
    rest: Rest,
    trailers: Option<HeaderMap>,
}

impl Exchange for Http1 {
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.rest {
                Rest::Nothing | Rest::Bytes(0) => return Ok(None),
                Rest::Bytes(left) => {
                    let content = self.reader.some(left).await?;
                    self.rest = Rest::Bytes(left - content.len() as u64);
                    return Ok(Some(content));
                }
                Rest::Chunk(0) => {
                    self.reader.line().await?;
                    self.rest = Rest::NextChunk;
                }
                Rest::Chunk(left) => {
                    let content = self.reader.some(left).await?;
                    self.rest = Rest::Chunk(left - content.len() as u64);
                    return Ok(Some(content));
                }
                Rest::NextChunk => {
                    let size = self.reader.line().await?;
                    self.rest = match u64::from_str_radix(&size, 16).map_err(invalid)? {
                        0 => {
                            let trailers = self.reader.headers().await?;
                            self.trailers = (!trailers.is_empty()).then_some(trailers);
                            Rest::Nothing
                        }
                        size => Rest::Chunk(size),
                    };
                }
            }
        }
    }

    fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    async fn inform(&mut self, status: StatusCode) -> io::Result<()> {
        self.write(format!("HTTP/1.1 {status}\r\n\r\n").into())
            .await
    }

    async fn answer(&mut self, answer: &Answer, extent: Extent, last: bool) -> io::Result<()> {
        let Answer {
            status,
            headers,
            body,
        } = answer;
        let mut text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
        if last && extent == Extent::Whole {
            text += "connection: close\r\n";
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(match extent {
            _ if self.is_head => &[],
            Extent::Whole => body,
            Extent::HalfABody => &body[..body.len() / 2],
        });
        self.write(bytes).await
    }

    async fn half_a_head(&mut self) -> io::Result<()> {
        self.write(raw::HALF_A_HEAD.into()).await
    }

    async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.reader.wire.write_all(&bytes).await?;
        self.reader.wire.flush().await
    }

    async fn given_up(&mut self) -> io::Result<End> {
        drain(&mut self.reader.wire).await?;
        Ok(End::Close)
    }

    async fn reset_stream(&mut self, _: u32) -> io::Result<End> {
        Ok(End::Reset)
    }

    async fn go_away(&mut self, _: bool, _: u32) -> io::Result<End> {
        Ok(End::Close)
    }

    fn can_keep(&self, whole: bool) -> bool {
        whole
    }
}
