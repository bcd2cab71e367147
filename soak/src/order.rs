//! What each request asks for: its number and the seed say all of it, so that client, server and
//! judge need not tell each other.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tower_http_retry::{BoxError, policy::Preset};

use crate::dice::Dice;
use test_support::net::{client::Body, fault::Protocol};

/// How much of a body is kept to be sent again.
pub(crate) const REPLAY_LIMIT: u64 = 16 * 1024;

/// The trailer that some bodies have.
pub(crate) const TRAILER: &str = "checksum";

/// What a method means for a second application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Head,
    Put,
    Delete,
    Post,
    PostWithKey,
}

impl Verb {
    const ALL: [Self; 6] = [
        Self::Get,
        Self::Head,
        Self::Put,
        Self::Delete,
        Self::Post,
        Self::PostWithKey,
    ];

    pub(crate) const fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Head => Method::HEAD,
            Self::Put => Method::PUT,
            Self::Delete => Method::DELETE,
            Self::Post | Self::PostWithKey => Method::POST,
        }
    }

    /// Whether nothing happens when it is applied twice.
    pub(crate) const fn is_repeatable(self) -> bool {
        !matches!(self, Self::Post)
    }
}

/// How a body is made, and made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    None,
    /// In memory; sent again as a clone.
    Full,
    /// In pieces; sent again from the recording.
    Streamed,
    /// The same, with trailers.
    Trailers,
    /// The same, with more than is recorded.
    OverLimit,
    /// In pieces; made again by a factory.
    Reopened,
}

/// One of the requests that a request is sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Counted from 1.
    pub(crate) number: u32,
    /// Whether it is the second one of an attempt that was late.
    pub(crate) is_hedge: bool,
}

impl Attempt {
    /// What the headers of a request say of it.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let before = headers.get(crate::client::ATTEMPTS_BEFORE);
        let before = before.and_then(|value| value.to_str().ok()?.parse().ok());
        Self {
            number: before.unwrap_or(0u32) + 1,
            is_hedge: headers.contains_key(crate::client::HEDGE),
        }
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) verb: Verb,
    pub(crate) upload: Upload,
    pub(crate) protocol: Protocol,
    pub(crate) preset: Preset,
    /// Whether the other layers of the family are in its stack.
    pub(crate) layered: bool,
    length: usize,
    dice: Dice,
}

impl Order {
    pub(crate) fn new(dice: Dice, id: u64) -> Self {
        let dice = dice.of(id);
        let verb = dice.of(0).one(&Verb::ALL);
        let upload = match verb {
            Verb::Get | Verb::Head => Upload::None,
            _ => match dice.of(1).below(16) {
                0..3 => Upload::None,
                3..7 => Upload::Full,
                7..10 => Upload::Streamed,
                10..12 => Upload::Trailers,
                12 => Upload::OverLimit,
                _ => Upload::Reopened,
            },
        };
        let length = match upload {
            Upload::None => 0,
            Upload::OverLimit => REPLAY_LIMIT + 1 + dice.of(2).below(REPLAY_LIMIT),
            _ if dice.of(3).chance(0.1) => dice.of(2).below(REPLAY_LIMIT),
            _ => dice.of(2).below(1500),
        };
        Self {
            id,
            verb,
            upload,
            protocol: if dice.of(4).chance(0.75) {
                Protocol::Http1
            } else {
                Protocol::Http2
            },
            preset: if dice.of(5).chance(0.75) {
                Preset::Default
            } else {
                Preset::Urllib3
            },
            layered: dice.of(7).chance(0.5),
            length: length as usize,
            dice: dice.of(6),
        }
    }

    /// The number in a path that [`request`](Self::request) made.
    pub(crate) fn id_in(path: &str) -> Option<u64> {
        path.strip_prefix('/')?.parse().ok()
    }

    /// Random numbers for one of its attempts, or for the hedge of one.
    pub(crate) fn attempt(&self, attempt: Attempt) -> Dice {
        let hedges = if attempt.is_hedge { 1000 } else { 0 };
        self.dice.of(1000 + hedges + u64::from(attempt.number))
    }

    /// Whether nothing happens when it is applied twice, as far as the client knows: to urllib3, a
    /// key is nothing.
    pub(crate) fn may_repeat(&self) -> bool {
        match self.verb {
            Verb::PostWithKey => self.preset == Preset::Default,
            verb => verb.is_repeatable(),
        }
    }

    /// Its idempotency key.
    pub(crate) fn key(&self) -> Option<String> {
        (self.verb == Verb::PostWithKey).then(|| format!("\"key-{}\"", self.id))
    }

    /// What is sent.
    pub(crate) fn content(&self) -> Bytes {
        self.dice.of(0).bytes(self.length).into()
    }

    /// What is sent after that.
    pub(crate) fn trailer(&self) -> Option<HeaderValue> {
        (self.upload == Upload::Trailers).then(|| HeaderValue::from(self.id))
    }

    /// The head of the request, with the order in its extensions.
    pub(crate) fn request(&self) -> Result<Request<()>, http::Error> {
        let uri = format!("http://{}/{}", Self::authority(self.protocol), self.id);
        let mut request = Request::builder()
            .method(self.verb.method())
            .uri(uri)
            .extension(*self);
        if let Some(key) = self.key() {
            request = request.header("idempotency-key", key);
        }
        if self.upload == Upload::Trailers && self.protocol == Protocol::Http1 {
            // Without these, hyper sends none.
            request = request
                .header(header::TRANSFER_ENCODING, "chunked")
                .header(header::TRAILER, TRAILER);
        }
        request.body(())
    }

    /// Each has a budget to itself.
    pub(crate) const fn authority(protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::Http1 => "one.test",
            Protocol::Http2 => "two.test",
        }
    }

    /// The body of [`Upload::Full`] and [`Upload::None`].
    pub(crate) fn full(&self) -> Full<Bytes> {
        Full::new(self.content())
    }

    /// The body of the others.
    pub(crate) fn pieces(&self) -> Body {
        let mut content = self.content();
        let mut frames = Vec::new();
        let dice = self.dice.of(1);
        while !content.is_empty() {
            let size = 1 + dice.of(frames.len() as u64).below(4096) as usize;
            let piece = content.split_to(content.len().min(size));
            frames.push(Ok::<_, BoxError>(Frame::data(piece)));
        }
        if let Some(value) = self.trailer() {
            let mut trailers = HeaderMap::new();
            trailers.insert(TRAILER, value);
            frames.push(Ok(Frame::trailers(trailers)));
        }
        StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
    }
}
