//! The ends that come from outside of an attempt's outcome: the deadline, the inner service's
//! readiness, the guards.

use std::{pin::Pin, time::Duration};

use tokio::time::Instant;

use super::{ResponseFuture, progress::Progress};
use crate::{
    BoxError,
    body::Saved,
    classify::{Cause, DeadlinePassed},
    error::{RetryError, RetryErrorKind},
    policy::{Gate, Session, StopReason},
    report::{AttemptOutcome, AttemptRecord},
};

impl<S, F, E: Session, B, V: Saved<B>, D> ResponseFuture<S, F, E, B, V, D> {
    /// The deadline passed, during an attempt or while the next one was waited for.
    pub(super) fn deadline_exceeded(
        self: Pin<&mut Self>,
        deadline: Duration,
        in_attempt: bool,
    ) -> RetryError {
        let this = self.project();
        let now = Instant::now();
        let time = this.clock.end_attempt(now);
        this.session.failed(now.into_std());
        let progress = this.progress.get_or_insert_with(Progress::new);
        if in_attempt {
            let outcome = AttemptOutcome::Failed {
                kind: Cause::AttemptTimeout.kind(),
                cause: Cause::AttemptTimeout,
                error: String::new(),
            };
            let mut record = AttemptRecord {
                started: time.offset,
                took: time.took,
                ..AttemptRecord::new(progress.number(), outcome)
            };
            record.gates.set(Gate::Deadline, false);
            progress.attempts.push(record);
        }
        let last = progress
            .last_error
            .take()
            .or_else(|| Some(Box::new(DeadlinePassed::new(deadline))));
        let reason = StopReason::DeadlineExceeded { deadline };
        let report = progress.finish(
            this.kept,
            this.special.as_deref(),
            reason,
            time.elapsed,
            this.settings,
        );
        RetryError::new(RetryErrorKind::DeadlineExceeded, report, last)
    }

    /// The end of a request whose next attempt must not be sent.
    pub(super) fn unsent(self: Pin<&mut Self>, stop: StopReason) -> RetryError {
        let this = self.project();
        let kind = match stop {
            StopReason::DeadlineTooClose { .. } => RetryErrorKind::DeadlineExceeded,
            _ => RetryErrorKind::Throttled,
        };
        let now = Instant::now();
        let elapsed = this.clock.elapsed(now);
        this.session.failed(now.into_std());
        let progress = this.progress.get_or_insert_with(Progress::new);
        let last = progress.last_error.take();
        RetryError::new(
            kind,
            progress.finish(
                this.kept,
                this.special.as_deref(),
                stop,
                elapsed,
                this.settings,
            ),
            last,
        )
    }

    pub(super) fn not_ready(self: Pin<&mut Self>, error: BoxError) -> RetryError {
        let this = self.project();
        let now = Instant::now();
        let elapsed = this.clock.elapsed(now);
        this.session.failed(now.into_std());
        let progress = this.progress.get_or_insert_with(Progress::new);
        let last = progress.last_error.take();
        let report = progress.finish(
            this.kept,
            this.special.as_deref(),
            StopReason::NotReady,
            elapsed,
            this.settings,
        );
        RetryError::not_ready_again(report, last, error)
    }
}
