//! The recorded attempts, one after the other, under a policy.

use std::time::{Duration, Instant};

use super::{Verdict, decided::Decided, recorded::Scripted};
use crate::{
    policy::{
        AnySession, Attempt, Decision, Gate, Gates, Retry, Session, Standing, Stop, StopReason, ask,
    },
    report::{AttemptRecord, RetryReport},
};

/// The request under the policy, with one way to draw random waits.
pub(super) struct Run<'a, S: Session> {
    session: AnySession<S>,
    never: Option<StopReason>,
    report: &'a RetryReport,
    quickest: Duration,
    origin: Instant,
}

impl<'a, S: Session> Run<'a, S> {
    pub(super) fn new(session: AnySession<S>, report: &'a RetryReport) -> Self {
        let never = match session.standing() {
            Standing::Never(reason) => Some(reason),
            Standing::Eligible => None,
        };
        Self {
            session,
            never,
            report,
            quickest: Duration::MAX,
            // An instant cannot be made up. Which one it is makes no difference.
            origin: tokio::time::Instant::now().into_std(),
        }
    }

    pub(super) fn decide(&mut self, scripted: &Scripted, record: &AttemptRecord) -> Decided {
        let elapsed = record.started.saturating_add(record.took);
        let now = self.origin.checked_add(elapsed).unwrap_or(self.origin);
        let cut_off = matches!(self.report.stop, StopReason::DeadlineExceeded { .. });
        if record.wait.is_none() && cut_off {
            // The attempt was cut off, and no policy was asked.
            return Decided::from_outside(self.report.stop.clone(), record.gates);
        }
        self.quickest = self.quickest.min(record.took);
        let (number, method) = (record.number, &self.report.method);
        let outcome = scripted.outcome(record);
        let judgement = scripted.judgement.clone();
        let decision = ask(&mut self.session, outcome, judgement, |outcome| {
            Attempt::new(number, method, outcome)
                .with_elapsed(elapsed)
                .with_wall_clock(scripted.wall_clock)
        });
        match decision {
            Decision::Accept => Decided {
                verdict: Verdict::Accept,
                wait: None,
                gates: Gates::default(),
                note: None,
            },
            Decision::Stop(stop) => Decided::stopped(stop, None),
            Decision::Retry(mut retry) => match self.last_gates(&mut retry, record, now) {
                Ok(()) => Decided {
                    verdict: Verdict::Retry {
                        min: retry.wait,
                        max: retry.wait,
                        why: retry.why,
                        charged: retry.charged,
                    },
                    wait: Some(retry.wait),
                    gates: retry.gates,
                    note: retry.note,
                },
                Err(reason) => {
                    let wait = Some(retry.wait);
                    let stop = Stop {
                        gates: retry.gates,
                        note: retry.note,
                        ..Stop::because(reason)
                    };
                    Decided::stopped(stop, wait)
                }
            },
        }
    }

    /// What the layer asked of this retry, as far as it is recorded.
    fn last_gates(
        &mut self,
        retry: &mut Retry,
        record: &AttemptRecord,
        now: Instant,
    ) -> Result<(), StopReason> {
        if let Some(reason) = &self.never {
            return Err(retry.never(reason.clone()));
        }
        let stop = &self.report.stop;
        let last = record.wait.is_none();
        match stop {
            StopReason::BodyNotReplayable { .. }
            | StopReason::BodyFailed
            | StopReason::BodyNotKept
            | StopReason::BodyNotReopened
                if last =>
            {
                return retry.check(Some(Err(stop.clone())), None, Duration::ZERO);
            }
            StopReason::Throttled
            | StopReason::TooManyInFlight { .. }
            | StopReason::HeldTooLong { .. }
                if last =>
            {
                retry.gates.set(Gate::Throttle, false);
                return Err(stop.clone());
            }
            StopReason::DeadlineTooClose { left, .. } if last => {
                retry.check(None, Some(*left), self.quickest)?;
            }
            _ => {}
        }
        retry.commit(&mut self.session, now)?;
        if last && *stop == StopReason::BudgetExhausted && retry.gates.get(Gate::Budget).is_some() {
            retry.gates.set(Gate::Budget, false);
            return Err(StopReason::BudgetExhausted);
        }
        Ok(())
    }
}
