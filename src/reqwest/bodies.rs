//! How a body of reqwest's is sent again.

use std::sync::OnceLock;

use ::reqwest::{Body, Method, Request, Url};
use http::request::Parts;

use crate::body::{NotReplayable, RecordBody, RecordedBody, Rewind, SavedBody};

type Wrap = fn(RecordedBody<Body>) -> Body;
type Recording = <RecordBody<Wrap> as Rewind<Body>>::Saved;

/// What is in memory is shared, whatever its size; a stream is recorded while it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeepBody {
    /// Bytes of a stream at most.
    limit: u64,
}

impl KeepBody {
    pub(super) const fn new(limit: u64) -> Self {
        Self { limit }
    }
}

/// What was kept of a body.
#[derive(Debug)]
pub(super) enum KeptBody {
    /// Its content. A body of reqwest's cannot be cloned by itself, but as a request's.
    Shared(Box<Request>),
    Recorded(Recording),
}

impl Rewind<Body> for KeepBody {
    type Body = Body;
    type Saved = KeptBody;

    fn prepare(&self, body: Body) -> (Body, KeptBody) {
        let mut whole = Box::new(Request::new(Method::GET, anywhere().clone()));
        *whole.body_mut() = Some(body);
        if let Some(first) = shared(&whole) {
            return (first, KeptBody::Shared(whole));
        }
        let stream = whole.body_mut().take().unwrap_or_default();
        let record = RecordBody::new(self.limit).wrapped(Body::wrap as Wrap);
        let (first, saved) = record.prepare(stream);
        (first, KeptBody::Recorded(saved))
    }

    fn pass(&self, body: Body) -> Body {
        body
    }
}

/// Another body with the same content; `None` of a stream.
fn shared(whole: &Request) -> Option<Body> {
    whole.try_clone()?.body_mut().take()
}

/// A request has a URL, also one that is never sent.
fn anywhere() -> &'static Url {
    static URL: OnceLock<Url> = OnceLock::new();
    URL.get_or_init(|| Url::parse("http://localhost/").expect("a URL"))
}

impl SavedBody<Body> for KeptBody {
    fn check(&self) -> Result<(), NotReplayable> {
        match self {
            Self::Shared(_) => Ok(()),
            Self::Recorded(saved) => saved.check(),
        }
    }

    fn retire(&mut self) -> Result<(), NotReplayable> {
        match self {
            Self::Shared(_) => Ok(()),
            Self::Recorded(saved) => saved.retire(),
        }
    }

    fn cancel(&mut self) {
        if let Self::Recorded(saved) = self {
            saved.cancel();
        }
    }

    fn next(&mut self, head: &Parts, last: bool) -> Result<Body, NotReplayable> {
        match self {
            Self::Shared(whole) => shared(whole).ok_or(NotReplayable::NotKept),
            Self::Recorded(saved) => saved.next(head, last),
        }
    }

    fn recorded(&self) -> u64 {
        match self {
            // The caller's own memory.
            Self::Shared(_) => 0,
            Self::Recorded(saved) => saved.recorded(),
        }
    }
}
