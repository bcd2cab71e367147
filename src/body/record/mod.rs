//! Bodies that are recorded while they are sent.

#[cfg(feature = "hedge")]
mod copy;
#[cfg(all(retry_loom, test))]
mod model;
mod state;
#[cfg(all(not(retry_loom), test))]
mod tests;

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::PoisonError,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};

#[cfg(feature = "hedge")]
pub use self::copy::{CopyRecorded, SavedCopy};
use self::state::{Leftovers, Polled, State, Turn};
use super::{
    NotReplayable, Rewind, SavedBody,
    sync::{Arc, Mutex, MutexGuard},
};
use crate::BoxError;

type Shared<B> = Arc<Mutex<State<B>>>;

/// Records a body while the first attempt sends it, up to a limit, and replays it for later
/// attempts: for every [`Body`], streams included.
///
/// Nothing is read ahead and nothing is copied: a recorded chunk is one more reference to the
/// [`Bytes`] that were sent. A retry sends what was recorded and goes on with what the failed
/// attempt left unread, so every attempt that ends well has sent the same bytes and trailers.
///
/// # The limit
///
/// Never more than `limit` bytes of content are kept. A chunk that would pass it lets go of the
/// whole recording; the attempt that runs goes on untouched, and a retry that is wanted later is
/// refused with [`NotReplayable::OverLimit`]. A body that says up front that it is longer is not
/// recorded at all. A body from which nothing was read yet can always be sent, whatever its
/// length: a refused connection does not cost a large upload its retry.
///
/// The limit counts content. Trailers are kept besides, and a chunk that is a slice of a larger
/// buffer keeps that buffer in memory.
///
/// # Cost
///
/// One allocation for a body that may be sent again, none for an empty one and none for a
/// request that is sent once; for each chunk two short locks, and a place in the queue.
/// [`Data`](Body::Data) other than `Bytes` is turned into `Bytes`, which copies unless the type
/// knows better.
///
/// # Framing
///
/// A body of a known length is sent with a `Content-Length` on every attempt. One of unknown length
/// is sent chunked over HTTP/1.1 by the first attempt; one that was recorded to its end has a known
/// length from then on, so a later attempt has a `Content-Length` instead. Its content and trailers
/// are the same.
///
/// # Overlapping attempts
///
/// A response can arrive before its request was sent to the end, and an HTTP/1.1 connection then
/// goes on sending. Once the next attempt starts, the older body yields
/// [`ReplayError::Superseded`], which ends that connection: no two attempts read from one body.
/// It does the same once the request's future was dropped, or the request ended with an error. An
/// upload whose response was returned goes on.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, channel::Channel};
/// use tower_http_retry::body::{RecordBody, Rewind, SavedBody};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (mut sender, body) = Channel::<Bytes>::new(4);
/// let (mut first, mut saved) = RecordBody::new(64 * 1024).prepare(body);
///
/// sender.send_data(Bytes::from_static(b"hello, ")).await?;
/// first.frame().await; // the first attempt sends this much and fails
/// drop(first);
///
/// let (head, ()) = http::Request::new(()).into_parts();
/// let second = saved.next(&head, true)?;
/// sender.send_data(Bytes::from_static(b"world")).await?;
/// drop(sender);
/// assert_eq!(second.collect().await?.to_bytes(), "hello, world");
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(()) }).unwrap();
/// ```
/// # Clients with a body type of their own
///
/// The inner service gets a [`RecordedBody`], which a client that takes no body but its own cannot
/// send. [`wrapped`](Self::wrapped) makes that client's body of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordBody<F = ()> {
    limit: u64,
    /// What makes the inner service's body, if it is not the recorded one.
    wrap: F,
}

impl RecordBody {
    /// Keeps at most `limit` bytes of each body.
    ///
    /// With 0, only bodies that are empty or of which nothing was sent can be sent again.
    pub const fn new(limit: u64) -> Self {
        Self { limit, wrap: () }
    }

    /// Gives the inner service what `wrap` makes of each attempt's [`RecordedBody`]: for clients
    /// that take no body but their own. The function is cloned once for each request.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
    /// use tower_http_retry::{BoxError, body::{RecordBody, Rewind}};
    ///
    /// type Own = UnsyncBoxBody<Bytes, BoxError>;
    ///
    /// let record = RecordBody::new(1024).wrapped(|body| body.map_err(BoxError::from).boxed_unsync());
    /// let (first, _saved) = record.prepare(Full::new(Bytes::from_static(b"hello")));
    /// let _: Own = first;
    /// ```
    pub fn wrapped<F, B, O>(self, wrap: F) -> RecordBody<F>
    where
        F: Fn(RecordedBody<B>) -> O,
    {
        RecordBody {
            limit: self.limit,
            wrap,
        }
    }
}

impl<F> RecordBody<F> {
    /// How many bytes of a body are kept at most.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    fn record<B: Body>(&self, body: B) -> (RecordedBody<B>, Option<Shared<B>>) {
        if body.is_end_stream() {
            return (RecordedBody(Kind::Empty), None);
        }
        let shared = Arc::new(Mutex::new(State::new(body, self.limit)));
        let body = Kind::Shared {
            shared: Arc::clone(&shared),
            attempt: 0,
        };
        (RecordedBody(body), Some(shared))
    }
}

impl<F> fmt::Debug for RecordBody<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBody")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<B> Rewind<B> for RecordBody
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Body = RecordedBody<B>;
    type Saved = SavedRecording<B>;

    fn prepare(&self, body: B) -> (RecordedBody<B>, SavedRecording<B>) {
        let (first, shared) = self.record(body);
        (first, SavedRecording { shared, wrap: () })
    }

    fn pass(&self, body: B) -> RecordedBody<B> {
        RecordedBody(Kind::Plain(body))
    }
}

impl<B, F, O> Rewind<B> for RecordBody<F>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
    F: Fn(RecordedBody<B>) -> O + Clone,
{
    type Body = O;
    type Saved = SavedRecording<B, F>;

    fn prepare(&self, body: B) -> (O, SavedRecording<B, F>) {
        let (first, shared) = self.record(body);
        let wrap = self.wrap.clone();
        ((self.wrap)(first), SavedRecording { shared, wrap })
    }

    fn pass(&self, body: B) -> O {
        (self.wrap)(RecordedBody(Kind::Plain(body)))
    }
}

/// Why a [`RecordedBody`] ended early.
///
/// It stays in the chain of the error that the client makes of it, so a failure of the caller's
/// own body can be told from one of the connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The caller's body failed, with this error.
    Body(BoxError),
    /// A later attempt took over, or the request was given up.
    Superseded,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Body(_) => "the request body failed",
            Self::Superseded => {
                "the request body was taken over by a later attempt, or its request given up"
            }
        })
    }
}

impl Error for ReplayError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Body(error) => Some(&**error),
            Self::Superseded => None,
        }
    }
}

/// The body of one attempt under [`RecordBody`].
pub struct RecordedBody<B>(Kind<B>);

enum Kind<B> {
    /// Sent once: nothing is recorded.
    Plain(B),
    Shared {
        shared: Shared<B>,
        attempt: u64,
    },
    /// A copy of what an attempt that was sent whole was sent.
    #[cfg(feature = "hedge")]
    Copy(copy::Copied),
    /// Had no content from the start.
    Empty,
    /// Has yielded its error.
    Failed,
}

impl<B> Default for RecordedBody<B> {
    /// An empty body, which layers that make requests of their own ask for: tower-http's
    /// `FollowRedirect` sends one after a 303.
    fn default() -> Self {
        Self(Kind::Empty)
    }
}

impl<B> Body for RecordedBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = ReplayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplayError>>> {
        let polled = match &mut self.0 {
            Kind::Plain(body) => poll_body(body, cx).map_err(ReplayError::Body),
            Kind::Shared { shared, attempt } => poll_shared(shared, *attempt, cx),
            #[cfg(feature = "hedge")]
            Kind::Copy(copied) => Poll::Ready(copied.next().map(Ok)),
            Kind::Empty | Kind::Failed => Poll::Ready(None),
        };
        if let Poll::Ready(Some(Err(_))) = &polled {
            self.0 = Kind::Failed;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Plain(body) => body.is_end_stream(),
            Kind::Shared { shared, attempt } => lock(shared).is_end_stream(*attempt),
            #[cfg(feature = "hedge")]
            Kind::Copy(copied) => copied.is_empty(),
            Kind::Empty => true,
            Kind::Failed => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Plain(body) => body.size_hint(),
            Kind::Shared { shared, attempt } => lock(shared).size_hint(*attempt),
            #[cfg(feature = "hedge")]
            Kind::Copy(copied) => copied.size_hint(),
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Failed => SizeHint::default(),
        }
    }
}

impl<B> fmt::Debug for RecordedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_tuple("RecordedBody");
        match &self.0 {
            Kind::Plain(_) => f.field(&"sent once"),
            Kind::Shared { attempt, .. } => f.field(&format_args!("attempt {attempt}")),
            #[cfg(feature = "hedge")]
            Kind::Copy(_) => f.field(&"a copy"),
            Kind::Empty => f.field(&"empty"),
            Kind::Failed => f.field(&"failed"),
        };
        f.finish()
    }
}

/// What [`RecordBody`] keeps: the recording. Dropped, it lets the recording go.
pub struct SavedRecording<B, F = ()> {
    /// Absent for an empty body.
    shared: Option<Shared<B>>,
    wrap: F,
}

impl<B, F> SavedRecording<B, F> {
    fn check_recording(&self) -> Result<(), NotReplayable> {
        match &self.shared {
            Some(shared) => lock(shared).check(),
            None => Ok(()),
        }
    }

    fn recorded_bytes(&self) -> u64 {
        let shared = self.shared.as_ref();
        shared.map_or(0, |shared| lock(shared).kept())
    }

    fn retire_recording(&self) -> Result<(), NotReplayable> {
        if let Some(shared) = &self.shared {
            let mut left = Leftovers::new();
            lock(shared).retire(&mut left)?;
            left.settle();
        }
        Ok(())
    }

    fn cancel_recording(&self) {
        if let Some(shared) = &self.shared {
            let mut left = Leftovers::new();
            lock(shared).cancel(&mut left);
            left.settle();
        }
    }

    fn next_recording(&self, last: bool) -> Result<RecordedBody<B>, NotReplayable> {
        let Some(shared) = &self.shared else {
            return Ok(RecordedBody(Kind::Empty));
        };
        let mut left = Leftovers::new();
        let attempt = lock(shared).next(last, &mut left)?;
        left.settle();
        Ok(RecordedBody(Kind::Shared {
            shared: Arc::clone(shared),
            attempt,
        }))
    }
}

impl<B> SavedBody<RecordedBody<B>> for SavedRecording<B> {
    fn check(&self) -> Result<(), NotReplayable> {
        self.check_recording()
    }

    fn retire(&mut self) -> Result<(), NotReplayable> {
        self.retire_recording()
    }

    fn cancel(&mut self) {
        self.cancel_recording();
    }

    fn recorded(&self) -> u64 {
        self.recorded_bytes()
    }

    fn next(&mut self, _head: &Parts, last: bool) -> Result<RecordedBody<B>, NotReplayable> {
        self.next_recording(last)
    }
}

impl<B, F, O> SavedBody<O> for SavedRecording<B, F>
where
    F: Fn(RecordedBody<B>) -> O,
{
    fn check(&self) -> Result<(), NotReplayable> {
        self.check_recording()
    }

    fn retire(&mut self) -> Result<(), NotReplayable> {
        self.retire_recording()
    }

    fn cancel(&mut self) {
        self.cancel_recording();
    }

    fn recorded(&self) -> u64 {
        self.recorded_bytes()
    }

    fn next(&mut self, _head: &Parts, last: bool) -> Result<O, NotReplayable> {
        self.next_recording(last).map(&self.wrap)
    }
}

impl<B, F> Drop for SavedRecording<B, F> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let mut left = Leftovers::new();
            lock(shared).abandon(&mut left);
            left.settle();
        }
    }
}

impl<B, F> fmt::Debug for SavedRecording<B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedRecording").finish_non_exhaustive()
    }
}

/// A state that was poisoned by a panic is whole: each change of it is finished before anything
/// can panic.
fn lock<B>(shared: &Mutex<State<B>>) -> MutexGuard<'_, State<B>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn poll_body<B>(body: &mut B, cx: &mut Context<'_>) -> Polled
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    Pin::new(body).poll_frame(cx).map(|frame| {
        frame.map(|frame| match frame {
            // Of `Bytes`, this is the same memory.
            Ok(frame) => Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
            Err(error) => Err(error.into()),
        })
    })
}

fn poll_shared<B>(
    shared: &Mutex<State<B>>,
    attempt: u64,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, ReplayError>>>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    let mut body = {
        let mut state = lock(shared);
        match state.turn(attempt) {
            Turn::Read(body) => body,
            Turn::Replay(frame) => return Poll::Ready(Some(Ok(frame))),
            Turn::Failed(error) => return Poll::Ready(Some(Err(ReplayError::Body(error)))),
            Turn::Superseded => return Poll::Ready(Some(Err(ReplayError::Superseded))),
            Turn::End => return Poll::Ready(None),
            Turn::Busy => {
                let mut left = Leftovers::new();
                state.park(cx.waker(), &mut left);
                drop(state);
                left.settle();
                return Poll::Pending;
            }
        }
    };
    let mut guard = PanicGuard {
        shared,
        polling: true,
    };
    // The lock is not held while the body is polled: a body that blocks for a moment, as one
    // that reads a file may, does not hold up the attempt that takes over.
    let polled = poll_body(&mut body, cx);
    guard.polling = false;

    let mut left = Leftovers::new();
    let polled = lock(shared).give_back(body, polled, attempt, cx.waker(), &mut left);
    left.settle();
    match polled {
        Some(polled) => polled.map_err(ReplayError::Body),
        None => Poll::Ready(Some(Err(ReplayError::Superseded))),
    }
}

/// Tells an attempt that waits for the body when the body panics.
struct PanicGuard<'a, B> {
    shared: &'a Mutex<State<B>>,
    polling: bool,
}

impl<B> Drop for PanicGuard<'_, B> {
    fn drop(&mut self) {
        if self.polling {
            let mut left = Leftovers::new();
            lock(self.shared).lose_body(&mut left);
            left.settle();
        }
    }
}
