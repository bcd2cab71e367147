//! What happened to an attempt: the [`Outcome`], and for an error its [`Failure`].

mod failure;

pub use self::failure::{Cause, Failure, FailureKind, Sent};

use std::{borrow::Cow, error::Error, fmt};

use http::{HeaderMap, StatusCode};

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

/// What a [`Classify`] says of an outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Opinion {
    /// Nothing to say: the next classifier is asked, and in the end the policy.
    #[default]
    NoOpinion,
    /// The outcome is a transient failure, for this reason, whatever its status or cause.
    ///
    /// The other gates (method, counts, body, budget, deadline) still have their say.
    Retry(Cow<'static, str>),
    /// The request must not be sent again, for this reason.
    Forbid(Cow<'static, str>),
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
