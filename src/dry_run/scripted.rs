//! How an attempt ends in a dry run.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER};

use crate::{
    classify::{self, Cause, Failure, Outcome},
    stack::Opinion,
    trial::Judged,
};

/// How an attempt ends in a dry run: with a response, or without one.
///
/// ```
/// use std::time::Duration;
/// use http::StatusCode;
/// use tower_http_retry::{
///     classify::{Cause, Failure, Sent},
///     dry_run::ScriptedOutcome,
/// };
///
/// let script: [ScriptedOutcome; 3] = [
///     Failure::new(Cause::ConnectionRefused, Sent::Never).into(),
///     ScriptedOutcome::response(StatusCode::TOO_MANY_REQUESTS)
///         .retry_after(Duration::from_secs(2))
///         .took(Duration::from_millis(80)),
///     StatusCode::OK.into(),
/// ];
/// # let _ = script;
/// ```
#[derive(Clone, Debug)]
pub struct ScriptedOutcome {
    end: End,
    took: Duration,
    opinion: Opinion,
    by: Cow<'static, str>,
    wall_clock: SystemTime,
}

#[derive(Clone, Debug)]
enum End {
    Response {
        status: StatusCode,
        headers: HeaderMap,
    },
    Failure(Failure),
}

impl ScriptedOutcome {
    /// A response with this status.
    pub fn response(status: StatusCode) -> Self {
        Self::new(End::Response {
            status,
            headers: HeaderMap::new(),
        })
    }

    /// A failure without a response.
    pub fn failure(failure: impl Into<Failure>) -> Self {
        Self::new(End::Failure(failure.into()))
    }

    fn new(end: End) -> Self {
        Self {
            end,
            took: Duration::ZERO,
            opinion: Opinion::NoOpinion,
            by: Cow::Borrowed(""),
            wall_clock: SystemTime::UNIX_EPOCH,
        }
    }

    /// Adds a header to the response. A failure has none, so there this does nothing.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let End::Response { headers, .. } = &mut self.end {
            headers.append(name, value);
        }
        self
    }

    /// Adds `Retry-After` with this time, in whole seconds, to the response.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        self.header(RETRY_AFTER, HeaderValue::from(wait.as_secs()))
    }

    /// Sets how long the attempt takes; by default no time at all.
    #[must_use]
    pub fn took(mut self, took: Duration) -> Self {
        self.took = took;
        self
    }

    /// Sets the wall clock at the attempt's end, which a date in `Retry-After` is compared with;
    /// by default the Unix epoch.
    #[must_use]
    pub fn wall_clock(mut self, now: SystemTime) -> Self {
        self.wall_clock = now;
        self
    }

    /// Sets what a classifier, named `by`, says of it. By default those of the layer are asked,
    /// where there is one.
    #[must_use]
    pub fn judged(mut self, by: impl Into<Cow<'static, str>>, opinion: Opinion) -> Self {
        self.by = by.into();
        self.opinion = opinion;
        self
    }

    /// The outcome, as policies and classifiers see it.
    pub fn outcome(&self) -> Outcome<'_> {
        match &self.end {
            End::Response { status, headers } => Outcome::Response {
                status: *status,
                headers,
            },
            End::Failure(failure) => Outcome::Error {
                failure: *failure,
                error: None,
            },
        }
    }

    /// What failed in a response whose status does not say so.
    pub(super) fn layer_failure(&self) -> Option<Failure> {
        match &self.end {
            End::Response { headers, .. } => classify::grpc::failure(headers),
            End::Failure(_) => None,
        }
    }

    pub(super) fn length(&self) -> Duration {
        self.took
    }

    /// What was set with [`judged`](Self::judged), if it is an opinion.
    pub(super) fn said(&self) -> Option<Judged> {
        let said = self.opinion != Opinion::NoOpinion;
        said.then(|| Judged::by(self.by.clone(), self.opinion.clone()))
    }

    pub(super) fn ended_at(&self) -> SystemTime {
        self.wall_clock
    }
}

impl From<StatusCode> for ScriptedOutcome {
    fn from(status: StatusCode) -> Self {
        Self::response(status)
    }
}

impl From<Cause> for ScriptedOutcome {
    fn from(cause: Cause) -> Self {
        Self::failure(cause)
    }
}

impl From<Failure> for ScriptedOutcome {
    fn from(failure: Failure) -> Self {
        Self::failure(failure)
    }
}
