//! What users promise of error types that this crate does not know.

use std::{any::type_name, error::Error, fmt};

use crate::BoxError;

/// What is promised of an error type with [`RetryLayer::vouch`](crate::RetryLayer::vouch).
///
/// Below an error of a type that nobody knows, nothing proves that a request was not applied: the
/// error may be that of some work *after* the exchange. A type of one's own that is harmless is
/// vouched for, with one of three promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// An error of this type is only ever made before anything of the request was written: that
    /// of a connector, of a name service, of a permit that was not given.
    ///
    /// It holds where such an error can be made: not below an error of a response's or a request's
    /// body, nor below one of an established connection or of a type that nobody vouched for.
    NeverSent,
    /// An error of this type ends a client's call before the response's head has arrived, and says
    /// no more of it: what hyper and HTTP/2 say below it (or it itself, if it is a
    /// `hyper::Error`) is believed, as it is below hyper-util's client. For clients of one's own
    /// on top of `hyper::client::conn`.
    ///
    /// hyper's errors do not say so themselves: those of a response's body and of an upgrade are
    /// of the same type.
    Call,
    /// An error of this type adds nothing but words to its [`source`](Error::source): what that
    /// one proves is proved.
    ///
    /// It must not be made by anything that uses the network itself, and its `source` must be the
    /// error that it wraps. A type with `#[error(transparent)]` hides the error it wraps: its
    /// source is that error's source, and what the hidden error proves is lost.
    Transparent,
}

/// A promise about a type.
#[derive(Clone, Copy)]
pub(crate) struct Vouch {
    is: fn(&(dyn Error + 'static)) -> bool,
    name: fn() -> &'static str,
    stage: Stage,
}

impl Vouch {
    pub(crate) fn of<E: Error + 'static>(stage: Stage) -> Self {
        Self {
            is: |error| error.is::<E>(),
            name: type_name::<E>,
            stage,
        }
    }

    /// The promise about this error's type, and the type's name; the last one counts.
    pub(super) fn find(
        vouches: &[Self],
        error: &(dyn Error + 'static),
    ) -> Option<(Stage, &'static str)> {
        let vouch = vouches.iter().rfind(|vouch| (vouch.is)(error))?;
        Some((vouch.stage, (vouch.name)()))
    }
}

impl fmt::Debug for Vouch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", (self.name)(), self.stage)
    }
}

/// An error that was made before anything of the request was written: how a connector or a mock
/// of one's own says so.
///
/// An error alone does not say it: `ECONNREFUSED` is also what an established connection returns
/// after an ICMP message. The error inside is still looked at for the cause, and its text is this
/// one's.
///
/// It proves nothing where it cannot have been made: below an error of a body, below that of an
/// established connection, or below a type that nobody
/// [vouched](crate::RetryLayer::vouch) for. It is not generic, so that it can be known whatever
/// is inside.
///
/// ```
/// use std::io;
/// use tower_http_retry::classify::{Cause, FailureKind, NeverSent, Sent, classify};
///
/// let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
/// let failure = classify(&NeverSent::new(refused));
/// assert_eq!(failure.kind, FailureKind::Connect);
/// assert_eq!(failure.cause, Cause::ConnectionRefused);
/// assert_eq!(failure.sent, Sent::Never);
/// ```
pub struct NeverSent {
    error: BoxError,
}

impl NeverSent {
    /// Says that `error` was made before anything of the request was written.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self {
            error: error.into(),
        }
    }

    /// The error inside.
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }

    /// The error inside.
    pub fn into_inner(self) -> BoxError {
        self.error
    }
}

impl fmt::Debug for NeverSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for NeverSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl Error for NeverSent {
    /// The error inside, so that whoever walks the chain meets it.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}
