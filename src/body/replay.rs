//! Bodies that are recorded while they are sent.

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

use self::state::{Leftovers, Polled, State, Turn};
use super::{
    NotReplayable, Rewind, Saved,
    sync::{Arc, Mutex, MutexGuard},
};
use crate::BoxError;

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
/// use tower_http_retry::body::{Replay, Rewind, Saved};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (mut sender, body) = Channel::<Bytes>::new(4);
/// let (mut first, mut saved) = Replay::new(64 * 1024).prepare(body);
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Replay {
    limit: u64,
}

impl Replay {
    /// Keeps at most `limit` bytes of each body.
    ///
    /// With 0, only bodies that are empty or of which nothing was sent can be sent again.
    pub const fn new(limit: u64) -> Self {
        Self { limit }
    }

    /// How many bytes of a body are kept at most.
    pub const fn limit(&self) -> u64 {
        self.limit
    }
}

impl<B> Rewind<B> for Replay
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Body = ReplayBody<B>;
    type Saved = ReplayHandle<B>;

    fn prepare(&self, body: B) -> (ReplayBody<B>, ReplayHandle<B>) {
        if body.is_end_stream() {
            return (ReplayBody(Kind::Empty), ReplayHandle { shared: None });
        }
        let shared = Arc::new(Mutex::new(State::new(body, self.limit)));
        let body = Kind::Shared {
            shared: Arc::clone(&shared),
            attempt: 0,
        };
        let shared = Some(shared);
        (ReplayBody(body), ReplayHandle { shared })
    }

    fn pass(&self, body: B) -> ReplayBody<B> {
        ReplayBody(Kind::Plain(body))
    }
}

/// Why a [`ReplayBody`] ended early.
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

/// The body of one attempt under [`Replay`].
pub struct ReplayBody<B>(Kind<B>);

enum Kind<B> {
    /// Sent once: nothing is recorded.
    Plain(B),
    Shared {
        shared: Arc<Mutex<State<B>>>,
        attempt: u64,
    },
    /// Had no content from the start.
    Empty,
    /// Has yielded its error.
    Failed,
}

impl<B> Default for ReplayBody<B> {
    /// An empty body, which layers that make requests of their own ask for: tower-http's
    /// `FollowRedirect` sends one after a 303.
    fn default() -> Self {
        Self(Kind::Empty)
    }
}

impl<B> Body for ReplayBody<B>
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
            Kind::Empty => true,
            Kind::Failed => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Plain(body) => body.size_hint(),
            Kind::Shared { shared, attempt } => lock(shared).size_hint(*attempt),
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Failed => SizeHint::default(),
        }
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_tuple("ReplayBody");
        match &self.0 {
            Kind::Plain(_) => f.field(&"sent once"),
            Kind::Shared { attempt, .. } => f.field(&format_args!("attempt {attempt}")),
            Kind::Empty => f.field(&"empty"),
            Kind::Failed => f.field(&"failed"),
        };
        f.finish()
    }
}

/// What [`Replay`] keeps: the recording. Dropped, it lets the recording go.
pub struct ReplayHandle<B> {
    /// Absent for an empty body.
    shared: Option<Arc<Mutex<State<B>>>>,
}

impl<B> Saved<ReplayBody<B>> for ReplayHandle<B> {
    fn check(&self) -> Result<(), NotReplayable> {
        match &self.shared {
            Some(shared) => lock(shared).check(),
            None => Ok(()),
        }
    }

    fn retire(&mut self) -> Result<(), NotReplayable> {
        if let Some(shared) = &self.shared {
            let mut left = Leftovers::new();
            lock(shared).retire(&mut left)?;
            left.settle();
        }
        Ok(())
    }

    fn cancel(&mut self) {
        if let Some(shared) = &self.shared {
            let mut left = Leftovers::new();
            lock(shared).cancel(&mut left);
            left.settle();
        }
    }

    fn next(&mut self, _head: &Parts, last: bool) -> Result<ReplayBody<B>, NotReplayable> {
        let Some(shared) = &self.shared else {
            return Ok(ReplayBody(Kind::Empty));
        };
        let mut left = Leftovers::new();
        let attempt = lock(shared).next(last, &mut left)?;
        left.settle();
        Ok(ReplayBody(Kind::Shared {
            shared: Arc::clone(shared),
            attempt,
        }))
    }
}

impl<B> Drop for ReplayHandle<B> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let mut left = Leftovers::new();
            lock(shared).abandon(&mut left);
            left.settle();
        }
    }
}

impl<B> fmt::Debug for ReplayHandle<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayHandle").finish_non_exhaustive()
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
