//! The ends that come from outside of an attempt's outcome: the deadline, the inner service's
//! readiness, the guards.

use std::{pin::Pin, time::Duration};

use tokio::time::Instant;

use super::{ResponseFuture, progress::Progress};
use crate::{
    BoxError,
    classify::{Cause, DeadlinePassed},
    error::{RetryError, RetryErrorKind},
    policy::{Gate, Gates, Session, StopReason},
    report::{AttemptOutcome, AttemptRecord},
};

impl<S, F, E: Session, B, V, D> ResponseFuture<S, F, E, B, V, D> {
    /// The deadline passed, during an attempt or while the next one was waited for.
    pub(super) fn deadline_exceeded(
        self: Pin<&mut Self>,
        deadline: Duration,
        in_attempt: bool,
    ) -> RetryError {
        let this = self.project();
        let now = Instant::now();
        let time = this.clock.end_attempt(now);
        this.session.session.failed(now.into_std());
        let progress = this
            .progress
            .get_or_insert_with(|| Progress::of(this.head, *this.outer_attempt));
        if in_attempt {
            progress.report.attempts.push(AttemptRecord {
                number: progress.number,
                started: time.offset,
                took: time.took,
                outcome: AttemptOutcome::Failed {
                    kind: Cause::AttemptTimeout.kind(),
                    cause: Cause::AttemptTimeout,
                    error: String::new(),
                },
                wait: None,
                gates: {
                    let mut gates = Gates::default();
                    gates.set(Gate::Deadline, false);
                    gates
                },
                note: None,
                inner_attempts: None,
            });
        }
        let last = progress
            .last_error
            .take()
            .or_else(|| Some(Box::new(DeadlinePassed::new(deadline))));
        let reason = StopReason::DeadlineExceeded { deadline };
        let report = progress.finish(reason, time.elapsed, this.settings);
        RetryError::new(RetryErrorKind::DeadlineExceeded, report, last)
    }

    /// The end of a request of which nothing was sent.
    pub(super) fn unsent(self: Pin<&mut Self>, stop: StopReason) -> RetryError {
        let this = self.project();
        let kind = match stop {
            StopReason::Throttled => RetryErrorKind::Throttled,
            _ => RetryErrorKind::DeadlineExceeded,
        };
        let now = Instant::now();
        let elapsed = this.clock.elapsed(now);
        this.session.session.failed(now.into_std());
        let mut progress = Progress::of(this.head, *this.outer_attempt);
        RetryError::new(kind, progress.finish(stop, elapsed, this.settings), None)
    }

    pub(super) fn not_ready(self: Pin<&mut Self>, error: BoxError) -> RetryError {
        let this = self.project();
        let now = Instant::now();
        let elapsed = this.clock.elapsed(now);
        this.session.session.failed(now.into_std());
        let progress = this
            .progress
            .get_or_insert_with(|| Progress::of(this.head, *this.outer_attempt));
        let last = progress.last_error.take();
        let report = progress.finish(StopReason::NotReady, elapsed, this.settings);
        RetryError::not_ready_again(report, last, error)
    }
}
