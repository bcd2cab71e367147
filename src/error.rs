//! [`RetryError`]: the service's only error type.

use std::{error::Error, fmt};

use crate::{BoxError, classify::chain, reason::StopReason, report::RetryReport, text::one_line};

/// A request that failed for good, with the report of everything that was tried.
///
/// `source()` is the inner service's error, untouched; [`downcast_inner`](Self::downcast_inner)
/// gives it in its own type, and [`into_inner`](Self::into_inner) gives it away.
pub struct RetryError {
    // Boxed: the happy path should not carry its size.
    inner: Box<Inner>,
}

struct Inner {
    kind: RetryErrorKind,
    report: RetryReport,
    source: Option<BoxError>,
    readiness: Option<BoxError>,
    body: Option<BoxError>,
    hook: Option<BoxError>,
}

/// What kind of failure a [`RetryError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryErrorKind {
    /// The last attempt failed without a response, and was not followed by another.
    Failed,
    /// The last response's status says failure, and the policy has `raise_on_status`.
    Status,
    /// The last attempt took longer than the attempt timeout.
    AttemptTimeout,
    /// The deadline passed during an attempt or a wait.
    DeadlineExceeded,
    /// The request was not sent, because the adaptive throttle refused it, or because the server
    /// had asked another request for a longer wait than
    /// [`max_hold`](crate::shared_hints::SharedHintsBuilder::max_hold).
    Throttled,
    /// The request body could not be made again for the next attempt. The error of the attempt
    /// before, if it failed with one, is still the error's [`source`](Error::source), and
    /// [`body_error`](RetryError::body_error) is that of the body.
    Body,
    /// The hook that prepares a retry failed. The error of the attempt before, if it failed with
    /// one, is still the error's [`source`](Error::source), and
    /// [`hook_error`](RetryError::hook_error) is the hook's.
    Hook,
    /// A redirect was not followed, and `redirect::RedirectLayer` was told to take that for an
    /// error.
    Redirect,
    /// The inner service failed to become ready. Before a retry, the failure that the retry was
    /// for is still the error's [`source`](Error::source), and
    /// [`readiness_error`](RetryError::readiness_error) is the new one.
    NotReady,
}

impl RetryError {
    pub(crate) fn new(kind: RetryErrorKind, report: RetryReport, source: Option<BoxError>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                report,
                source,
                readiness: None,
                body: None,
                hook: None,
            }),
        }
    }

    /// The body could not be made for the next attempt; `last` is the error before.
    pub(crate) fn without_body(
        report: RetryReport,
        last: Option<BoxError>,
        body: Option<BoxError>,
    ) -> Self {
        let mut error = Self::new(RetryErrorKind::Body, report, last);
        error.inner.body = body;
        error
    }

    /// The hook refused the next attempt; `last` is the error before.
    pub(crate) fn hook_failed(report: RetryReport, last: Option<BoxError>, hook: BoxError) -> Self {
        let mut error = Self::new(RetryErrorKind::Hook, report, last);
        error.inner.hook = Some(hook);
        error
    }

    /// The inner service was not ready for the next attempt; `last` is the failure before.
    pub(crate) fn not_ready_again(
        report: RetryReport,
        last: Option<BoxError>,
        readiness: BoxError,
    ) -> Self {
        Self {
            inner: Box::new(Inner {
                kind: RetryErrorKind::NotReady,
                report,
                source: last,
                readiness: Some(readiness),
                body: None,
                hook: None,
            }),
        }
    }

    /// The inner service was not ready for the first attempt.
    pub(crate) fn not_ready(readiness: BoxError) -> Self {
        Self {
            inner: Box::new(Inner {
                kind: RetryErrorKind::NotReady,
                report: RetryReport::without_request(),
                source: None,
                readiness: Some(readiness),
                body: None,
                hook: None,
            }),
        }
    }

    /// There was no request to be sent.
    #[cfg(feature = "reqwest")]
    pub(crate) fn no_request(error: BoxError) -> Self {
        let mut report = RetryReport::without_request();
        report.stop = StopReason::Custom("the request could not be built".into());
        Self::new(RetryErrorKind::Failed, report, Some(error))
    }

    /// The error of a service below that was not ready, which may be one of these already.
    #[cfg(feature = "redirect")]
    pub(crate) fn of_readiness(error: BoxError) -> Self {
        Self::passed_on(error).unwrap_or_else(Self::not_ready)
    }

    /// An error of a layer below, if it is one of these.
    #[cfg(feature = "redirect")]
    pub(crate) fn passed_on(error: BoxError) -> Result<Self, BoxError> {
        error.downcast::<Self>().map(|error| *error)
    }

    /// The request that failed followed another one, whose report this is, after `offset`.
    #[cfg(feature = "redirect")]
    pub(crate) fn follows(&mut self, mut first: RetryReport, offset: std::time::Duration) {
        std::mem::swap(&mut self.inner.report, &mut first);
        self.inner.report.go_on(first, offset);
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> RetryErrorKind {
        self.inner.kind
    }

    /// What was tried. Its URL is empty if the service failed to become ready before there was
    /// a request.
    pub fn report(&self) -> &RetryReport {
        &self.inner.report
    }

    /// Why no further attempt was made.
    pub fn stop_reason(&self) -> &StopReason {
        &self.inner.report.stop
    }

    /// The error with which the inner service failed to become ready.
    pub fn readiness_error(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.inner.readiness.as_deref()
    }

    /// The error with which the request body could not be made again, for instance that of
    /// [`Reopen`](crate::body::Reopen)'s factory.
    pub fn body_error(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.inner.body.as_deref()
    }

    /// The error of the hook that was to prepare a retry.
    pub fn hook_error(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.inner.hook.as_deref()
    }

    /// The inner error, if it is an `E`: first of the last attempt, then of the readiness check,
    /// then of the body.
    pub fn downcast_inner<E: Error + 'static>(&self) -> Option<&E> {
        [
            &self.inner.source,
            &self.inner.readiness,
            &self.inner.body,
            &self.inner.hook,
        ]
        .into_iter()
        .flatten()
        .find_map(|error| downcast(&**error))
    }

    /// The inner error: that of the last attempt, else that of the readiness check or of the body.
    /// `None` when there is none of these, as after a last attempt that ended with a response.
    pub fn into_inner(self) -> Option<BoxError> {
        let inner = *self.inner;
        let others = inner.readiness.or(inner.body).or(inner.hook);
        inner.source.or(others)
    }
}

fn downcast<'a, E: Error + 'static>(
    error: &'a (dyn Error + Send + Sync + 'static),
) -> Option<&'a E> {
    // Whose own type says no more than which client it came from.
    #[cfg(feature = "reqwest")]
    if let Some(wrapped) = error.downcast_ref::<crate::reqwest::ReqwestError>() {
        let inner: &(dyn Error + 'static) = &**wrapped;
        return error.downcast_ref().or_else(|| inner.downcast_ref());
    }
    error.downcast_ref()
}

fn text(error: &Option<BoxError>) -> Option<String> {
    error.as_deref().map(|error| chain(error))
}

impl fmt::Debug for RetryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryError")
            .field("kind", &self.inner.kind)
            .field("report", &self.inner.report)
            // As text, since what their own `Debug` shows may hold secrets.
            .field("source", &text(&self.inner.source))
            .field("readiness", &text(&self.inner.readiness))
            .field("body", &text(&self.inner.body))
            .field("hook", &text(&self.inner.hook))
            .finish()
    }
}

impl fmt::Display for RetryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.inner.report;
        let count = report.attempt_count();
        if count > 0 {
            let plural = if count == 1 { "attempt" } else { "attempts" };
            let (method, url) = (&report.method, one_line(&report.url));
            write!(f, "{method} {url} failed after {count} {plural}: ")?;
        }
        write!(f, "{}", report.stop)?;
        if let Some(readiness) = &self.inner.readiness {
            write!(f, ": {}", chain(&**readiness))?;
        }
        // Without an error before it, it is in the error's chain.
        let other = self.inner.body.as_ref().or(self.inner.hook.as_ref());
        if let (Some(other), Some(_)) = (other, &self.inner.source) {
            write!(f, ": {}", chain(&**other))?;
        }
        if let Some(last) = report.attempts.last() {
            write!(f, "; last attempt: {}", last.outcome.short())?;
        }
        Ok(())
    }
}

impl Error for RetryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let error = [
            &self.inner.source,
            &self.inner.readiness,
            &self.inner.body,
            &self.inner.hook,
        ]
        .into_iter()
        .find_map(Option::as_ref)?;
        Some(&**error)
    }
}
