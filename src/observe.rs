//! Tells the outside what happens: `tracing` events and the layer's own hook.
//!
//! Both get the same facts at the same moments. A retry is DEBUG, since it is what the layer is
//! for; giving up is WARN, and so is a mistake that lint found in a layer. The target is `tower_http_retry`.

use std::{fmt, sync::Arc};

use http::Method;

use crate::{
    human::Human,
    lint::{Finding, Severity},
    policy::StopReason,
    report::{AttemptOutcome, AttemptRecord, RetryReport},
    text::{one_line, redact},
};

/// The target of all `tracing` events of this crate.
pub const TARGET: &str = "tower_http_retry";

/// Something that happened to a request; see
/// [`RetryLayer::on_event`](crate::RetryLayer::on_event).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum RetryEvent<'a> {
    /// An attempt failed, and another will follow after its [`wait`](AttemptRecord::wait).
    #[non_exhaustive]
    Retry {
        /// The request's method.
        method: &'a Method,
        /// The request's URL without userinfo and query.
        url: &'a str,
        /// The attempt that failed.
        attempt: &'a AttemptRecord,
    },
    /// A request succeeded after at least one retry, or after it was held back, or hedged.
    Recovered(&'a RetryReport),
    /// A request failed and is not sent again.
    GaveUp(&'a RetryReport),
}

impl<'a> RetryEvent<'a> {
    /// The report of a request that has ended. There is none yet while it goes on.
    pub fn report(&self) -> Option<&'a RetryReport> {
        match self {
            Self::Retry { .. } => None,
            Self::Recovered(report) | Self::GaveUp(report) => Some(report),
        }
    }

    /// The request's method; `None` where a service was not ready before there was a request.
    pub fn method(&self) -> Option<&'a Method> {
        match self {
            Self::Retry { method, .. } => Some(method),
            Self::Recovered(report) | Self::GaveUp(report) => {
                (!report.is_without_request()).then_some(&report.method)
            }
        }
    }

    /// The request's URL without userinfo and query; `None` where there is no method.
    pub fn url(&self) -> Option<&'a str> {
        match self {
            Self::Retry { url, .. } => Some(url),
            Self::Recovered(report) | Self::GaveUp(report) => {
                (!report.is_without_request()).then_some(&*report.url)
            }
        }
    }
}

/// One line, for instance for a log.
///
/// ```text
/// GET http://127.0.0.1:8080/flaky: attempt 1: 503 Service Unavailable; again in 87 ms: backoff
/// GET http://127.0.0.1:8080/flaky: succeeded after 2 attempts in 91 ms
/// ```
impl fmt::Display for RetryEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry {
                method,
                url,
                attempt,
            } => {
                let (number, outcome) = (attempt.number, &attempt.outcome);
                write!(f, "{method} {}: attempt {number}: {outcome}", one_line(url))?;
                match &attempt.wait {
                    Some(wait) if wait.planned.is_zero() => {
                        write!(f, "; again at once: {}", wait.why)
                    }
                    Some(wait) => write!(f, "; again in {}: {}", Human(wait.planned), wait.why),
                    None => Ok(()),
                }
            }
            Self::Recovered(report) | Self::GaveUp(report) => report.headline(f),
        }
    }
}

/// Who is told besides the log.
pub(crate) type OnEvent = Arc<dyn Fn(&RetryEvent<'_>) + Send + Sync>;

/// What is told of.
#[derive(Clone, Copy)]
pub(crate) enum About {
    Request,
    /// The body of a response.
    #[cfg(feature = "resume")]
    Body,
}

impl About {
    /// That it goes on, has succeeded, or has not, in the log's words.
    const fn words(self) -> [&'static str; 3] {
        match self {
            Self::Request => ["retrying", "recovered", "gave up"],
            #[cfg(feature = "resume")]
            Self::Body => ["resuming", "body recovered", "body gave up"],
        }
    }
}

pub(crate) fn retry(
    about: About,
    on_event: Option<&OnEvent>,
    method: &Method,
    url: impl FnOnce() -> String,
    attempt: &AttemptRecord,
) {
    // The URL is put together only if somebody listens.
    let logged = tracing::event_enabled!(target: TARGET, tracing::Level::DEBUG);
    if !logged && on_event.is_none() {
        return;
    }
    let url = &*url();
    if let Some(wait) = &attempt.wait {
        let [retrying, ..] = about.words();
        tracing::debug!(
            target: TARGET,
            %method,
            url,
            attempt = attempt.number,
            outcome = %attempt.outcome,
            wait_ms = u64::try_from(wait.planned.as_millis()).unwrap_or(u64::MAX),
            why = %wait.why,
            charged = wait.charged.map(|kind| kind.as_str()),
            "{retrying}"
        );
    }
    if let Some(on_event) = on_event {
        on_event(&RetryEvent::Retry {
            method,
            url,
            attempt,
        });
    }
}

pub(crate) fn finished(about: About, on_event: Option<&OnEvent>, report: &RetryReport) {
    let elapsed_ms = u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX);
    let attempts = report.attempt_count();
    let (method, url) = (&report.method, report.url.as_str());
    let [_, recovered, gave_up] = about.words();
    let event = if report.stop.is_success() {
        tracing::debug!(target: TARGET, %method, url, attempts, elapsed_ms, "{recovered}");
        RetryEvent::Recovered(report)
    } else {
        let reason = report.stop.name();
        let stop = &report.stop;
        let last = report
            .attempts
            .last()
            .map(|attempt| tracing::field::display(&attempt.outcome));
        if report.is_without_request() {
            tracing::warn!(target: TARGET, reason, %stop, "not ready");
        } else if is_plain_answer(report) {
            tracing::debug!(
                target: TARGET, %method, url, attempts, elapsed_ms, reason, %stop, last, "not retried"
            );
        } else {
            tracing::warn!(
                target: TARGET, %method, url, attempts, elapsed_ms, reason, %stop, last, "{gave_up}"
            );
        }
        RetryEvent::GaveUp(report)
    };
    if let Some(on_event) = on_event {
        on_event(&event);
    }
}

/// A mistake in a layer or its policy; a mere note is INFO.
pub(crate) fn finding(finding: &Finding) {
    // They may quote what the user wrote.
    let clean = |text: &str| redact(text, false);
    let place = finding.place.as_deref().map(clean);
    let (place, fields) = (place.as_deref(), finding.fields.join(", "));
    let (help, message) = (clean(&finding.help), clean(&finding.message));
    let (code, severity) = (finding.code.as_str(), finding.severity.as_str());
    if finding.severity > Severity::Note {
        tracing::warn!(target: TARGET, code, severity, place, fields, help, "lint: {message}");
    } else {
        tracing::info!(target: TARGET, code, severity, place, fields, help, "lint: {message}");
    }
}

/// That there are more findings than are worth a line each.
pub(crate) fn more_findings(count: usize) {
    tracing::warn!(
        target: TARGET,
        count,
        "lint: more findings, all of which `RetryLayer::lint` returns"
    );
}

/// Whether the request was answered by a 4xx that nobody asked to retry: the client's own affair,
/// and no reason for a warning.
fn is_plain_answer(report: &RetryReport) -> bool {
    matches!(report.stop, StopReason::StatusNotListed { status } if status.is_client_error())
        && matches!(
            report.attempts.as_slice(),
            [AttemptRecord {
                outcome: AttemptOutcome::Response(_),
                ..
            }]
        )
}
