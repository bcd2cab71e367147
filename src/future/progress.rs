//! What is remembered of a request's attempts, for the report and the error.

use std::{mem, time::Duration};

use tokio::time::Instant;

use super::kept::Kept;
use crate::{
    BoxError,
    classify::{Cause, Failure},
    observe,
    policy::{Retry, StopReason},
    report::{AttemptOutcome, AttemptRecord, RetryReport},
    settings::{PreviousOutcome, Settings},
};

/// The attempts so far.
pub(crate) struct Progress {
    pub(super) attempts: Vec<AttemptRecord>,
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
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            // Many requests may wait at once, and most need no third attempt.
            attempts: Vec::with_capacity(1),
            number: 1,
            wake_at: None,
            last: false,
            previous: PreviousOutcome::Failed(Failure::new(Cause::Unknown)),
            last_error: None,
            quickest: Duration::MAX,
        })
    }

    pub(super) fn retrying<S, V>(
        &mut self,
        record: AttemptRecord,
        kept: &Kept<S, V>,
        settings: &Settings,
        retry: &Retry,
        now: Instant,
    ) {
        observe::retry(settings, kept.method(), || kept.url(), &record);
        self.previous = match &record.outcome {
            AttemptOutcome::Response(status) => PreviousOutcome::Response(*status),
            AttemptOutcome::Failed { kind, cause, .. } => {
                PreviousOutcome::Failed(Failure::with_kind(*kind, *cause))
            }
        };
        self.attempts.push(record);
        self.last = retry.last;
        self.wake_at = (!retry.wait.is_zero()).then(|| now + retry.wait.min(FAR));
    }

    /// The whole story of the request, which is told to whoever listens.
    pub(super) fn finish<S, V>(
        &mut self,
        kept: &Kept<S, V>,
        outer_attempt: Option<u32>,
        stop: StopReason,
        elapsed: Duration,
        settings: &Settings,
    ) -> RetryReport {
        let attempts = mem::take(&mut self.attempts);
        let report = RetryReport {
            method: kept.method().clone(),
            url: kept.url(),
            stop,
            outer_attempt,
            // A first attempt starts at once unless it was held back.
            held: attempts
                .first()
                .map_or(Duration::ZERO, |first| first.started),
            elapsed,
            attempts,
        };
        observe::finished(settings, &report);
        report
    }
}

/// As good as never, and small enough to be added to any instant.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
