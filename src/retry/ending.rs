//! The ends that come from outside of an attempt's outcome: the deadline, the inner service's
//! readiness, the admissions.

use std::{pin::Pin, time::Duration};

use tokio::time::Instant;

use super::{ResponseFuture, extras, history::History, states::Unmade};
use crate::{
    BoxError,
    body::SavedBody,
    classify::DeadlinePassed,
    error::{RetryError, RetryErrorKind},
    policy::Session,
    reason::{Cause, Gate, StopReason},
    report::{AttemptOutcome, AttemptRecord, RetryReport},
    stack::{Answer, TimeOut},
};

impl<S, Fut, Sess: Session, ReqBody, Saved: SavedBody<ReqBody>, ResBody>
    ResponseFuture<S, Fut, Sess, ReqBody, Saved, ResBody>
{
    /// The deadline passed before an attempt was sent.
    pub(super) fn deadline_exceeded(self: Pin<&mut Self>, deadline: Duration) -> RetryError {
        self.out_of_time(deadline, Instant::now())
    }

    fn out_of_time(self: Pin<&mut Self>, deadline: Duration, now: Instant) -> RetryError {
        let (report, last) = self.end(StopReason::DeadlineExceeded { deadline }, now);
        let last = last.or_else(|| Some(Box::new(DeadlinePassed::new(deadline))));
        RetryError::new(RetryErrorKind::DeadlineExceeded, report, last)
    }

    /// The deadline passed during an attempt, which it ends.
    pub(super) fn cut_off(mut self: Pin<&mut Self>, deadline: Duration) -> RetryError {
        let now = Instant::now();
        let said = self.as_mut().drop_late(TimeOut::Request);
        let this = self.as_mut().project();
        let time = this.clock.end_attempt(now);
        let history = this.history.get_or_insert_with(History::new);
        let failure = Cause::AttemptTimeout.into();
        let outcome = AttemptOutcome::failed(failure, String::new());
        let mut record = AttemptRecord {
            started: time.offset,
            took: time.took,
            layer_notes: this.kept.notes::<ReqBody>(history.number()),
            ..AttemptRecord::new(history.number(), outcome)
        };
        record.note_layer(said.as_deref());
        record.inner_attempts = said.and_then(|said| said.attempts);
        record.gates.set(Gate::Deadline, false);
        history.push(record);
        if let Some(admissions) = extras::admissions(this.extras) {
            admissions.answered(&Answer::failed(now.into_std()));
        }
        self.out_of_time(deadline, now)
    }

    /// The end of a request whose next attempt cannot be made.
    pub(super) fn unmade(self: Pin<&mut Self>, unmade: Unmade) -> RetryError {
        match unmade {
            Unmade::Refused(error) => self.hook_failed(error),
            Unmade::Late(stop) => self.unsent(stop),
            Unmade::Lost(reason, source) => {
                let (report, last) = self.end(reason, Instant::now());
                RetryError::without_body(report, last, source)
            }
        }
    }

    /// The end of a request whose next attempt the hook refuses.
    pub(super) fn hook_failed(self: Pin<&mut Self>, error: BoxError) -> RetryError {
        let (report, last) = self.end(StopReason::HookFailed, Instant::now());
        RetryError::hook_failed(report, last, error)
    }

    /// The end of a request whose next attempt must not be sent.
    pub(super) fn unsent(self: Pin<&mut Self>, stop: StopReason) -> RetryError {
        let kind = match stop {
            StopReason::DeadlineExceeded { deadline } => {
                return self.deadline_exceeded(deadline);
            }
            StopReason::DeadlineTooClose { .. } => RetryErrorKind::DeadlineExceeded,
            _ => RetryErrorKind::Throttled,
        };
        let (report, last) = self.end(stop, Instant::now());
        RetryError::new(kind, report, last)
    }

    /// The inner service failed to become ready for an attempt.
    pub(super) fn not_ready(self: Pin<&mut Self>, error: BoxError) -> RetryError {
        let (report, last) = self.end(StopReason::NotReady, Instant::now());
        RetryError::not_ready_again(report, last, error)
    }

    /// The report of a request that ends here, and the error of its last attempt.
    fn end(
        self: Pin<&mut Self>,
        stop: StopReason,
        now: Instant,
    ) -> (RetryReport, Option<BoxError>) {
        let this = self.project();
        this.session.failed(now.into_std());
        let elapsed = this.clock.elapsed(now);
        let history = this.history.get_or_insert_with(History::new);
        let last = history.last_error.take();
        let extras = this.extras.as_deref();
        let report = history.finish(this.kept, extras, stop, elapsed, this.settings);
        this.counted.finished(this.settings, &report);
        (report, last)
    }
}
