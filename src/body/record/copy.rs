//! A second copy of a body that was recorded whole, for a request that is under way twice.

use std::{collections::VecDeque, fmt};

use bytes::Bytes;
use http::{HeaderMap, Request, request::Parts};
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use super::{Kind, RecordedBody, Shared, lock};
use crate::body::{NotReplayable, Rewind, SavedBody};

/// Sends a copy of a [`RecordedBody`] beside it, once all of it has been read and kept.
///
/// The recording belongs to the attempt that is under way, and goes on belonging to it: what is
/// copied are references to the bytes. Until the attempt has read its body to the end, and where
/// that is longer than the recording's limit, there is no copy.
///
/// For a layer below the retries that sends a request twice at once, such as `HedgeLayer`.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Full};
/// use tower_http_retry::body::{CopyRecorded, RecordBody, Rewind, SavedBody};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (first, _saved) = RecordBody::new(1024).prepare(Full::new(Bytes::from_static(b"hello")));
/// let (first, mut copies) = CopyRecorded.prepare(first);
/// assert!(copies.check().is_err(), "nothing was read yet");
///
/// assert_eq!(first.collect().await?.to_bytes(), "hello");
/// let (head, ()) = http::Request::new(()).into_parts();
/// assert_eq!(copies.next(&head, true)?.collect().await?.to_bytes(), "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CopyRecorded;

/// What [`CopyRecorded`] keeps: a way to the recording.
pub struct SavedCopy<B>(Way<B>);

enum Way<B> {
    Recording {
        shared: Shared<B>,
        attempt: u64,
    },
    Empty,
    /// Nothing is recorded of it.
    None,
}

/// What was recorded of a body, to be sent once.
pub(super) struct Copied {
    chunks: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Copied {
    pub(super) fn new(chunks: VecDeque<Bytes>, trailers: Option<HeaderMap>) -> Self {
        Self { chunks, trailers }
    }

    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        match self.chunks.pop_front() {
            Some(chunk) => Some(Frame::data(chunk)),
            None => self.trailers.take().map(Frame::trailers),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.trailers.is_none()
    }

    /// Exact only without trailers: HTTP/1.1 sends none after a body of a known length.
    pub(super) fn size_hint(&self) -> SizeHint {
        let len = self.chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let mut hint = SizeHint::with_exact(len);
        if self.trailers.is_some() {
            hint = SizeHint::new();
            hint.set_lower(len);
        }
        hint
    }
}

impl<B: Body> Rewind<RecordedBody<B>> for CopyRecorded
where
    RecordedBody<B>: Body,
{
    type Body = RecordedBody<B>;
    type Saved = SavedCopy<B>;

    fn prepare(&self, body: RecordedBody<B>) -> (RecordedBody<B>, SavedCopy<B>) {
        let saved = SavedCopy::of(&body);
        (body, saved)
    }

    fn pass(&self, body: RecordedBody<B>) -> RecordedBody<B> {
        body
    }

    fn keep(&self, body: &RecordedBody<B>) -> Option<SavedCopy<B>> {
        Some(SavedCopy::of(body))
    }

    // Not inlined: the request is then handed on where it lies.
    #[inline(never)]
    fn send<S>(&self, service: &mut S, request: Request<RecordedBody<B>>) -> S::Future
    where
        S: Service<Request<RecordedBody<B>>>,
    {
        service.call(request)
    }
}

impl<B> SavedCopy<B> {
    fn of(body: &RecordedBody<B>) -> Self {
        Self(match &body.0 {
            Kind::Shared { shared, attempt } => Way::Recording {
                shared: Shared::clone(shared),
                attempt: *attempt,
            },
            Kind::Empty => Way::Empty,
            Kind::Plain(_) | Kind::Copy(_) | Kind::Failed => Way::None,
        })
    }
}

impl<B: Body> SavedBody<RecordedBody<B>> for SavedCopy<B> {
    fn check(&self) -> Result<(), NotReplayable> {
        match &self.0 {
            Way::Recording { shared, attempt } => lock(shared).check_whole(*attempt),
            Way::Empty => Ok(()),
            Way::None => Err(NotReplayable::NotKept),
        }
    }

    fn next(&mut self, _head: &Parts, _last: bool) -> Result<RecordedBody<B>, NotReplayable> {
        match &self.0 {
            Way::Recording { shared, attempt } => {
                let copied = lock(shared).copy(*attempt)?;
                Ok(RecordedBody(Kind::Copy(copied)))
            }
            Way::Empty => Ok(RecordedBody(Kind::Empty)),
            Way::None => Err(NotReplayable::NotKept),
        }
    }
}

impl<B> fmt::Debug for SavedCopy<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedCopy").finish_non_exhaustive()
    }
}
