//! What happened to an attempt: the [`Outcome`], and for an error its [`Failure`].
//!
//! [`classify()`] finds the cause of an error of the usual client stacks, [`chain()`] writes the
//! error down for people. What they take for a failure is extended or vetoed with [`Classify`].

mod chain;
mod exchange;
pub(crate) mod grpc;
#[cfg(feature = "h2")]
mod h2;
#[cfg(feature = "hyper")]
mod hyper;
mod io;
mod messages;
mod own;
mod reading;
#[cfg(feature = "reqwest")]
mod reqwest;
mod tls;
#[cfg(any(feature = "tower", feature = "tower-http"))]
mod tower;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use self::exchange::RequestView;
pub use self::{
    chain::chain,
    exchange::Exchange,
    own::{AttemptTimedOut, DeadlinePassed},
};

pub use crate::reason::{Cause, Failure, FailureKind, Sent};
pub use crate::stack::Opinion;

use std::{error::Error, fmt};

use http::{HeaderMap, StatusCode};

use self::{
    reading::{Reading, Stage},
    walk::Chain,
};

/// Reads one link of an error's chain, found at a stage; nothing when its type is another's.
type Reader = fn(&(dyn Error + 'static), Stage) -> Option<Reading>;

/// Those who know error types, asked in this order about every link.
const READERS: &[Reader] = &[
    own::read,
    #[cfg(feature = "reqwest")]
    reqwest::read,
    #[cfg(feature = "hyper")]
    hyper::read_client,
    #[cfg(feature = "hyper")]
    hyper::read,
    #[cfg(feature = "h2")]
    h2::read,
    #[cfg(feature = "tower")]
    tower::read,
    #[cfg(feature = "tower-http")]
    tower::read_http,
    #[cfg(feature = "rustls")]
    tls::read,
    io::read,
    io::read_elapsed,
    io::read_http,
    // Knows no types, only messages: last.
    messages::read,
];

/// Finds out why an attempt failed.
///
/// Walks the chain of the error's causes, sixteen links deep at most: [`Error::source`] and what
/// an [`io::Error`](std::io::Error) carries, which is not its source. Known are the errors of
/// hyper-util's client, hyper, h2, tower, tower-http, reqwest, rustls, tokio's timeouts and the
/// standard library, each behind the feature of its name where it is another crate's. An error
/// that none of them explains is [`Cause::Unknown`].
///
/// What is found is what the client knows of *this* exchange. A layer below that sends more than
/// one request for each that it is given, for instance one that follows redirects, can report a
/// failed connection for the second after the first was answered: such a layer belongs above the
/// retries.
///
/// ```
/// use std::io;
/// use tower_http_retry::classify::{Cause, FailureKind, Sent, classify};
///
/// let error = io::Error::from(io::ErrorKind::ConnectionRefused);
/// let failure = classify(&error);
/// assert_eq!(failure.kind, FailureKind::Connect);
/// assert_eq!(failure.cause, Cause::ConnectionRefused);
/// assert_eq!(failure.cause.sent(), Sent::Never);
/// ```
pub fn classify(error: &(dyn Error + 'static)) -> Failure {
    let mut stage = Stage::Exchange;
    let mut guess = Cause::Unknown;
    for link in Chain::new(error) {
        match READERS.iter().find_map(|read| read(link, stage)) {
            Some(Reading::Settled(cause)) => return stage.settle(cause).into(),
            Some(Reading::Guess(cause)) => guess = cause,
            // The outermost word counts: a request that is made while connecting, to a proxy or
            // a name server, is part of connecting however far it comes itself.
            Some(Reading::At(named)) if stage == Stage::Exchange => stage = named,
            Some(Reading::At(_)) | None => {}
        }
    }
    stage.settle(guess).into()
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
