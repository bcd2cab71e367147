//! What happened to an attempt: the [`Outcome`], and for an error its [`Failure`].
//!
//! [`classify()`] finds the cause of an error of the usual client stacks, [`chain()`] writes the
//! error down for people. What they take for a failure is extended or vetoed with [`Classify`].
//!
//! # What proves that a request was not applied
//!
//! A request whose method is not idempotent is sent again only after an attempt that was certainly
//! not applied. That is known from the rows of this table and from nothing else: not from an
//! errno, not from a text, not from a type that is not here. Whatever else an error is, the
//! request [may have been applied](Sent::Unknown).
//!
//! | an error of this type | found | proves |
//! | --- | --- | --- |
//! | `hyper_util::client::legacy::Error` that is `is_connect()`, names no connection (`connect_info()`), or has no source | first | [never sent](Sent::Never) |
//! | `hyper::Error` that is `is_canceled()` | first below another `legacy::Error` | never sent |
//! | `h2::Error`, a remote reset with `REFUSED_STREAM` (RFC 9113, section 8.7) | first below a `hyper::Error` first below a `legacy::Error` | [unprocessed](Sent::Unprocessed) |
//! | `h2::Error`, a remote GOAWAY with any code (RFC 9113, section 6.8): the h2 crate hands it only to streams above the last one that it names | the same | unprocessed |
//! | `tower::load_shed::error::Overloaded` | first | never sent |
//! | `tonic::ConnectError` | first, or first below a `tonic::transport::Error` | never sent |
//! | [`NeverSent`], [`Rejected`](crate::stack::Rejected) | first | never sent |
//! | [`LayerError`](crate::stack::LayerError) of a layer that says so | first | what it [says](crate::stack::LayerOutcome::sent) |
//! | a type vouched for with [`Stage::NeverSent`] | first | never sent |
//!
//! Below a `tonic::transport::Error`, which is that of a channel's call, and below a type vouched
//! for with [`Stage::Call`] the rows of `hyper::Error` and `h2::Error` hold as
//! they do below a `legacy::Error`; what says itself that nothing was sent (`Overloaded`,
//! [`NeverSent`], a type vouched for so) is believed first below these, too.
//!
//! *First* is the outermost error, or one below which only wrappers stand that are known to be
//! transparent: `Box` and `Arc` of the errors named here, `Arc<dyn Error + Send + Sync>`,
//! `io::Error` with what it carries, tower's `buffer::error::ServiceError`,
//! [`RetryError`](crate::RetryError), a [`LayerError`](crate::stack::LayerError) of a layer that
//! sent one request, the error of a
//! `reqwest::ReqwestService` that was made by its `build` (feature `reqwest`), and types vouched
//! for with
//! [`Stage::Transparent`]. Below a `legacy::Error` or a `hyper::Error` an `io::Error` is not
//! transparent: it may be about another connection that carries this one.
//!
//! A proxy that refuses a tunnel (CONNECT) is a failed connection like others, for every method:
//! nothing of the request went through a tunnel that is not there, which `is_connect()` proves
//! whatever the proxy answered. With 407 it is [permanent](Cause::ProxyAuthentication). Of every
//! other refusal hyper-util keeps no status: a 403 of the proxy's cannot be told from a 502, so
//! that both are [tried again](Cause::ConnectOther) as often as `connect` allows.
//!
//! Nothing proves anything below an error of a type that is not known, below that of a request's
//! body, and after the head of a response has arrived. Where an inner
//! [`RetryError`](crate::RetryError) is anywhere in the chain whose attempts may have been
//! applied, or where the chain has more than sixteen links, nothing is proved either. A bare
//! `reqwest::Error` proves nothing: its client may have followed a redirect, so that more than one
//! request was sent.
//!
//! Below a type that nobody knows the cause is still found, and what is permanent stays permanent;
//! but the failure's kind is [`Read`](FailureKind::Read), and the report says what it was that
//! nobody [vouched](crate::RetryLayer::vouch) for. Work that uses the network after the exchange
//! belongs above the retries: its errors may look like those of the exchange itself.

mod chain;
mod examine;
mod exchange;
pub(crate) mod grpc;
#[cfg(feature = "h2")]
mod h2;
#[cfg(feature = "hyper")]
mod hyper;
mod io;
mod messages;
mod own;
mod proof;
mod reading;
#[cfg(feature = "reqwest")]
mod reqwest;
mod tls;
#[cfg(feature = "tonic")]
mod tonic;
#[cfg(any(feature = "tower", feature = "tower-http"))]
mod tower;
mod vouch;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use self::exchange::RequestView;
#[cfg(all(feature = "h2", feature = "grpc"))]
pub(crate) use self::h2::reset_by_server;
pub use self::{
    chain::chain,
    exchange::Exchange,
    own::{AttemptTimedOut, DeadlinePassed},
    vouch::{NeverSent, Stage},
};
pub(crate) use self::{
    examine::{Examined, examine, inner_attempts, layer_error, rejected},
    vouch::Vouch,
};

pub use crate::reason::{Cause, Failure, FailureKind, Sent};
pub use crate::stack::Opinion;

use std::{error::Error, fmt};

use http::{HeaderMap, StatusCode};

/// Finds out why an attempt failed, and whether the request was certainly not applied.
///
/// Walks the chain of the error's causes, sixteen links deep at most: [`Error::source`] and what
/// an [`io::Error`](std::io::Error) carries, which is not its source. Known are the errors of
/// hyper-util's client, hyper, h2, tower, tower-http, reqwest, rustls, tokio's timeouts and the
/// standard library, each behind the feature of its name where it is another crate's. An error
/// that none of them explains is [`Cause::Unknown`].
///
/// What is proved is the closed [table](self#what-proves-that-a-request-was-not-applied) of this
/// module. Types that are [vouched](crate::RetryLayer::vouch) for on a layer are not known here.
///
/// What is found is what the client knows of *this* exchange. A layer below that sends more than
/// one request for each that it is given, for instance one that follows redirects, can report a
/// failed connection for the second after the first was answered: such a layer belongs above the
/// retries.
///
/// ```
/// use std::io;
/// use tower_http_retry::classify::{Cause, FailureKind, NeverSent, Sent, classify};
///
/// // An established connection says this, too.
/// let error = io::Error::from(io::ErrorKind::ConnectionRefused);
/// let failure = classify(&error);
/// assert_eq!(failure.cause, Cause::ConnectionRefused);
/// assert_eq!(failure.kind, FailureKind::Read);
/// assert_eq!(failure.sent, Sent::Unknown);
///
/// let failure = classify(&NeverSent::new(error));
/// assert_eq!(failure.cause, Cause::ConnectionRefused);
/// assert_eq!(failure.kind, FailureKind::Connect);
/// assert_eq!(failure.sent, Sent::Never);
/// ```
pub fn classify(error: &(dyn Error + 'static)) -> Failure {
    examine(error, &[]).failure
}

/// How an attempt ended, as policies and classifiers see it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// The head of a response.
    Response {
        /// Its status.
        status: StatusCode,
        /// Its headers.
        headers: &'a HeaderMap,
    },
    /// An error in place of a response.
    Error {
        /// What the error was classified as.
        failure: Failure,
        /// The error itself; absent when this layer's own attempt timeout fired.
        error: Option<&'a (dyn Error + 'static)>,
    },
}

/// Adds to, or vetoes, what the policy takes for a transient failure.
///
/// Closures from `&Outcome` to [`Opinion`] are classifiers.
pub trait Classify {
    /// The name under which this classifier's opinions appear in the report.
    fn name(&self) -> &str {
        "classifier"
    }

    /// Judges an outcome.
    fn classify(&self, outcome: &Outcome<'_>) -> Opinion;

    /// Judges an outcome together with the request that had it: this is what a layer asks. The
    /// default looks at the outcome only.
    fn classify_exchange(&self, exchange: &Exchange<'_>) -> Opinion {
        self.classify(exchange.outcome())
    }
}

impl<F> Classify for F
where
    F: Fn(&Outcome<'_>) -> Opinion,
{
    fn classify(&self, outcome: &Outcome<'_>) -> Opinion {
        self(outcome)
    }
}

impl fmt::Debug for dyn Classify + Send + Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Classify").field(&self.name()).finish()
    }
}
