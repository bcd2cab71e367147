//! How a request body is sent a second time.
//!
//! A [`Rewind`] splits a request body into the one that the first attempt sends and the
//! [`SavedBody`] that later attempts are made from. These are built in:
//!
//! | | for | the inner service gets | is kept |
//! | --- | --- | --- | --- |
//! | [`CloneBody`] | bodies whose clones are known to be [whole](WholeBody) | the body itself | one clone |
//! | [`CloneWith`], [`CloneAny`] | bodies that the user vouches for | the body itself | one clone |
//! | [`RecordBody`] | every [`Body`](http_body::Body) | a [`RecordedBody`], or what the user makes of it | what was sent, up to a limit |
//! | [`Reopen`] | bodies that can be made anew | the body itself | nothing |
//!
//! A body is sent again whole or not at all. What was read from it before the layer got it is not
//! the layer's to send: every attempt sends what the first one did.

mod clone;
#[cfg(any(feature = "grpc", feature = "peek"))]
mod peeked;
mod read_on;
mod record;
mod reopen;
mod sync;
mod takes;
mod whole;

#[cfg(any(feature = "grpc", feature = "peek"))]
pub use self::peeked::PeekedBody;
#[cfg(feature = "hedge")]
pub use self::record::{CopyRecorded, SavedCopy};
pub use self::{
    clone::{CloneAny, CloneBody, CloneWith},
    record::{RecordBody, RecordedBody, ReplayError},
    reopen::Reopen,
    takes::TakesBody,
    whole::WholeBody,
};

pub(crate) use self::read_on::read_on;

use std::{error::Error, fmt};

use http::{Request, request::Parts};
use tower_service::Service;

/// Why a body cannot be sent (again).
#[derive(Debug)]
#[non_exhaustive]
pub enum NotReplayable {
    /// The body was longer than the replay buffer's limit: `sent` bytes had been read from it
    /// when the attempt failed, `limit` could have been kept.
    OverLimit {
        /// Bytes read from the body so far.
        sent: u64,
        /// The replay buffer's limit in bytes.
        limit: u64,
    },
    /// The body itself failed while it was read.
    Failed,
    /// Nothing was kept of the body.
    NotKept,
    /// The factory could not open the body anew.
    Reopen(crate::BoxError),
}

impl fmt::Display for NotReplayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverLimit { sent, limit } => write!(
                f,
                "the body is over the replay limit of {limit} bytes ({sent} bytes were read)"
            ),
            Self::Failed => f.write_str("the body itself failed"),
            Self::NotKept => f.write_str("nothing was kept of the body"),
            Self::Reopen(_) => f.write_str("the body could not be opened again"),
        }
    }
}

impl Error for NotReplayable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Reopen(error) => Some(&**error),
            Self::OverLimit { .. } | Self::Failed | Self::NotKept => None,
        }
    }
}

/// Turns a request body into one that can be sent more than once.
#[diagnostic::on_unimplemented(
    message = "a request body of type `{B}` cannot be sent a second time by `{Self}`",
    label = "this layer cannot repeat a `{B}`",
    note = "any body can be recorded while it is sent: `RetryLayer::new(policy).replay_bodies(limit)`",
    note = "bodies that are not `Unpin` must be boxed first: `request.map(Box::pin)`"
)]
pub trait Rewind<B> {
    /// The body that the inner service gets.
    type Body;
    /// What is kept while an attempt runs.
    type Saved: SavedBody<Self::Body>;

    /// Splits `body` into the one to send first and what later attempts need.
    fn prepare(&self, body: B) -> (Self::Body, Self::Saved);

    /// The body of a request that will be sent at most once: nothing is kept.
    fn pass(&self, body: B) -> Self::Body;

    /// What later attempts need of a body that the first one sends as it is: then
    /// [`pass`](Self::pass) makes the body of the first attempt. `None` where
    /// [`prepare`](Self::prepare) has to change it.
    ///
    /// Worth implementing where it can be: a request is large, and its parts are moved by copying
    /// them.
    #[inline]
    fn keep(&self, body: &B) -> Option<Self::Saved> {
        let _ = body;
        None
    }

    /// Sends a request whose body is [passed](Self::pass). Implemented where that changes nothing.
    #[inline]
    fn send<S>(&self, service: &mut S, request: Request<B>) -> S::Future
    where
        S: Service<Request<Self::Body>>,
    {
        service.call(request.map(|body| self.pass(body)))
    }
}

/// What was kept of a request body.
pub trait SavedBody<B> {
    /// Whether [`next`](SavedBody::next) can succeed at this moment. Asked before each wait, so that
    /// nothing is waited for, and no response given up, in vain.
    ///
    /// # Errors
    ///
    /// Says why the body cannot be sent again.
    fn check(&self) -> Result<(), NotReplayable>;

    /// The attempt that runs is given up, if the body can be sent again: whatever is left of its
    /// body then reads no further. If it succeeds, [`next`](SavedBody::next) does not refuse for
    /// anything that the attempt does from here on.
    ///
    /// To be called as soon as another attempt is certain but for this, before the response is
    /// let go: an attempt whose request is still being sent while its response is already there
    /// could otherwise use up, on another thread, what [`check`](SavedBody::check) has promised. So
    /// the two are one step here. Where attempts share nothing, this is the same as `check`.
    ///
    /// # Errors
    ///
    /// Says why the body cannot be sent again; the attempt that runs then goes on.
    fn retire(&mut self) -> Result<(), NotReplayable> {
        self.check()
    }

    /// The request is given up: the body of the attempt that runs reads no further, whether it can
    /// be sent again or not. One that waits for its content ends when there is more of it.
    ///
    /// Called when nobody wants an answer any more, or the request ends with an error; the attempt
    /// was cancelled before. It is not called when a response is returned, since a server may
    /// answer a request that it is still reading. Does nothing where the attempt has its body for
    /// itself.
    fn cancel(&mut self) {}

    /// The body for the next attempt. `head` is that attempt's request head; `last` promises
    /// that no further attempt will be made, so nothing has to be kept.
    ///
    /// # Errors
    ///
    /// Says why the body cannot be sent again.
    fn next(&mut self, head: &Parts, last: bool) -> Result<B, NotReplayable>;

    /// How many bytes are kept in memory for the next attempt; 0 where they are not kept, or not
    /// counted.
    fn recorded(&self) -> u64 {
        0
    }

    /// The option of [`RetryLayer`](crate::RetryLayer) by which the user vouches that the body is
    /// whole, if that is all that says so. The records of the attempts that send it repeat it.
    fn vouched_by(&self) -> Option<&'static str> {
        None
    }
}
