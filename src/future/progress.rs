//! What is remembered of a request's attempts, for the report and the error.

use std::time::Duration;

use tokio::time::Instant;

use super::kept::Kept;
use crate::{
    BoxError,
    classify::{Cause, Failure},
    observe,
    policy::{Retry, StopReason},
    report::{AttemptOutcome, AttemptRecord, RetryReport, sanitized},
    settings::{PreviousOutcome, Settings},
};

/// The attempts so far.
pub(crate) struct Progress {
    pub(super) report: RetryReport,
    /// The number of the attempt in flight.
    pub(super) number: u32,
    /// When the next attempt is due; `None` if it is due at once.
    pub(super) wake_at: Option<Instant>,
    /// Whether the next attempt is certainly the last one.
    pub(super) last: bool,
    /// How the last attempt ended.
    pub(super) previous: PreviousOutcome,
    /// The error of the last attempt, if it failed without a response.
    pub(super) last_error: Option<BoxError>,
    /// The shortest time that an attempt took.
    pub(super) quickest: Duration,
}

impl Progress {
    pub(super) fn of<S, V>(kept: &Kept<S, V>, outer_attempt: Option<u32>) -> Box<Self> {
        let target = kept.target();
        let url = sanitized(target.scheme, target.authority, target.path_and_query);
        let mut report = RetryReport::new(kept.method().clone(), url);
        report.outer_attempt = outer_attempt;
        Box::new(Self {
            report,
            number: 1,
            wake_at: None,
            last: false,
            previous: PreviousOutcome::Failed(Failure::new(Cause::Unknown)),
            last_error: None,
            quickest: Duration::MAX,
        })
    }

    pub(super) fn retrying(
        &mut self,
        record: AttemptRecord,
        settings: &Settings,
        retry: &Retry,
        now: Instant,
    ) {
        observe::retry(settings, &self.report.method, &self.report.url, &record);
        self.previous = match &record.outcome {
            AttemptOutcome::Response(status) => PreviousOutcome::Response(*status),
            AttemptOutcome::Failed { kind, cause, .. } => {
                PreviousOutcome::Failed(Failure::with_kind(*kind, *cause))
            }
        };
        self.report.attempts.push(record);
        self.last = retry.last;
        self.wake_at = (!retry.wait.is_zero()).then(|| now + retry.wait.min(FAR));
    }

    pub(super) fn finish(
        &mut self,
        stop: StopReason,
        elapsed: Duration,
        settings: &Settings,
    ) -> RetryReport {
        let empty = RetryReport::without_request();
        let mut report = std::mem::replace(&mut self.report, empty);
        report.stop = stop;
        report.elapsed = elapsed;
        // A first attempt starts at once unless it was held back.
        report.held = report
            .attempts
            .first()
            .map_or(Duration::ZERO, |first| first.started);
        observe::finished(settings, &report);
        report
    }
}

/// As good as never, and small enough to be added to any instant.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
