//! What is remembered of a request's attempts, for the report and the error.

use std::time::Duration;

use tokio::time::Instant;

use super::{attempts::Attempts, kept::Kept, special::Special};
use crate::{
    BoxError,
    budget::RetryPermit,
    classify::{Cause, Failure},
    observe,
    policy::{Retry, StopReason},
    report::{AttemptOutcome, AttemptRecord, RetryReport},
    settings::{PreviousOutcome, Settings},
};

/// The attempts so far.
pub(crate) struct Progress {
    pub(super) attempts: Attempts,
    /// The error of the last attempt, if it failed without a response.
    pub(super) last_error: Option<BoxError>,
    /// Whether the next attempt is certainly the last one.
    pub(super) last: bool,
    /// The permit of a retry that is not sent yet.
    pub(super) permit: Option<RetryPermit>,
}

impl Progress {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            attempts: Attempts::NONE,
            last_error: None,
            last: false,
            permit: None,
        })
    }

    /// The number of the attempt that follows those that have ended.
    pub(super) fn number(&self) -> u32 {
        u32::try_from(self.attempts.len()).map_or(u32::MAX, |ended| ended.saturating_add(1))
    }

    /// The shortest time that an attempt took.
    pub(super) fn quickest(&self) -> Duration {
        let took = self.attempts.iter().map(|attempt| attempt.took);
        took.min().unwrap_or(Duration::MAX)
    }

    /// How the last attempt ended.
    pub(super) fn previous(&self) -> PreviousOutcome {
        match self
            .attempts
            .iter()
            .next_back()
            .map(|attempt| &attempt.outcome)
        {
            Some(AttemptOutcome::Response(status)) => PreviousOutcome::Response(*status),
            Some(AttemptOutcome::Failed { kind, cause, .. }) => {
                PreviousOutcome::Failed(Failure::with_kind(*kind, *cause))
            }
            None => PreviousOutcome::Failed(Failure::new(Cause::Unknown)),
        }
    }

    /// A retry is on its way from now on. Returns when it is due;
    /// `None` if it is due at once.
    pub(super) fn retrying<S, V>(
        &mut self,
        record: AttemptRecord,
        kept: &Kept<S, V>,
        settings: &Settings,
        retry: &Retry,
        now: Instant,
    ) -> Option<Instant> {
        observe::retry(settings, kept.method(), || kept.url(), &record);
        self.attempts.push(record);
        self.last = retry.last;
        (!retry.wait.is_zero()).then(|| now + retry.wait.min(FAR))
    }

    /// The whole story of the request, which is told to whoever listens.
    pub(super) fn finish<S, V>(
        &mut self,
        kept: &Kept<S, V>,
        special: Option<&Special>,
        stop: StopReason,
        elapsed: Duration,
        settings: &Settings,
    ) -> RetryReport {
        let attempts = self.attempts.take();
        let report = RetryReport {
            method: kept.method().clone(),
            url: kept.url(),
            stop,
            outer_attempt: special.and_then(|special| special.outer_attempt),
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
