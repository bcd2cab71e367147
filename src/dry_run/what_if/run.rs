//! The recorded attempts, one after the other, under a policy.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use super::{Verdict, decided::Decided, recorded::Scripted};
use crate::{
    budget::RetryPermit,
    dry_run::asked::Asked,
    policy::{Attempt, Decision, Gates, RetryDecision, Session, StopReason},
    reason::{Cause, Sent, WaitReason},
    report::{AttemptOutcome, AttemptRecord, RetryReport},
    trial::{Conditions, Ended, Judged, Ruling, rule},
};

/// The request under the policy, with one way to draw random waits.
pub(super) struct Run<'a, S: Session> {
    session: Asked<S>,
    never: Option<StopReason>,
    report: &'a RetryReport,
    quickest: Duration,
    origin: Instant,
}

impl<'a, S: Session> Run<'a, S> {
    pub(super) fn new(session: Asked<S>, report: &'a RetryReport) -> Self {
        Self {
            never: session.never(),
            session,
            report,
            quickest: Duration::MAX,
            // An instant cannot be made up. Which one it is makes no difference.
            origin: tokio::time::Instant::now().into_std(),
        }
    }

    /// Whether there may be a budget that is not asked, but taken to be full.
    pub(super) fn assumes_budget(&self) -> bool {
        self.session.assumes_budget()
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
        let mut conditions = Recorded {
            is_kept: self.never.is_none() || was_kept(&self.report.stop),
            // Only what ended the request says no.
            stop: record.wait.is_none().then_some(&self.report.stop),
            least: self.quickest,
            wait: None,
        };
        let ended = Ended {
            now,
            outcome,
            judged: Judged {
                opinion: scripted.opinion.clone(),
                by: scripted.by.clone(),
                failure: record.failed_within.map(Into::into),
                changes: scripted.changes,
                // Whoever named the time said so then.
                wait: record.wait.as_ref().and_then(|wait| match &wait.why {
                    WaitReason::Opinion { by } => Some((wait.planned, by.clone())),
                    _ => None,
                }),
                asked: None,
                rejected: rejected(self.report, record),
            },
        };
        let ruling = rule(&mut self.session, &mut conditions, ended, |outcome| {
            Attempt::new(number, method, outcome)
                .with_elapsed(elapsed)
                .with_wall_clock(scripted.wall_clock)
        });
        match ruling {
            Ruling::Accept => Decided {
                verdict: Verdict::Accept,
                wait: None,
                gates: Gates::default(),
                note: None,
            },
            Ruling::Stop(stop) => Decided::stopped(stop, conditions.wait),
            Ruling::Retry(retry, permit) => {
                permit.sent();
                Decided {
                    verdict: Verdict::Retry {
                        min: retry.wait,
                        max: retry.wait,
                        why: retry.why,
                        charged: retry.charged,
                    },
                    wait: Some(retry.wait),
                    gates: retry.gates,
                    note: retry.note,
                }
            }
        }
    }
}

/// After what time a layer below would have let the attempt through that turned it away.
fn rejected(report: &RetryReport, record: &AttemptRecord) -> Option<(Duration, Cow<'static, str>)> {
    let AttemptOutcome::Failed { cause, sent, .. } = &record.outcome else {
        return None;
    };
    if *cause != Cause::Rejected || *sent != Sent::Never {
        return None;
    }
    match (&record.wait, &report.stop) {
        (Some(wait), _) => match &wait.why {
            WaitReason::Opinion { by } if wait.charged.is_none() => {
                Some((wait.planned, by.clone()))
            }
            _ => None,
        },
        (None, StopReason::Rejected { by, retry_in }) => Some((*retry_in, by.clone())),
        (None, _) => None,
    }
}

/// Whether the end shows that the request was kept for a retry: only then is its body looked at.
/// Whether it had a key, which is why it was, an attempt that is safe to repeat does not say.
fn was_kept(stop: &StopReason) -> bool {
    matches!(
        stop,
        StopReason::BodyNotReplayable { .. } | StopReason::BodyFailed | StopReason::BodyNotReopened
    )
}

/// What the layer said of a retry, as far as it is recorded.
struct Recorded<'a> {
    is_kept: bool,
    stop: Option<&'a StopReason>,
    least: Duration,
    /// The wait that the policy wanted, if it wanted a retry.
    wait: Option<Duration>,
}

impl<S: Session> Conditions<S> for Recorded<'_> {
    fn is_kept(&self) -> bool {
        self.is_kept
    }

    fn decided(&mut self, decision: &Decision) {
        if let Decision::Retry(retry) = decision {
            self.wait = Some(retry.wait);
        }
    }

    fn times_turned_away(&self) -> u32 {
        match self.stop {
            // Whatever it was that did not let it wait.
            Some(StopReason::Rejected { .. }) => u32::MAX,
            _ => 0,
        }
    }

    fn body(&mut self) -> Option<Result<(), StopReason>> {
        match self.stop? {
            stop @ (StopReason::BodyNotReplayable { .. }
            | StopReason::BodyFailed
            | StopReason::BodyNotKept
            | StopReason::BodyNotReopened) => Some(Err(stop.clone())),
            _ => None,
        }
    }

    fn left(&self) -> Option<Duration> {
        match self.stop? {
            StopReason::DeadlineTooClose { left, .. } => Some(*left),
            _ => None,
        }
    }

    fn least(&self) -> Duration {
        self.least
    }

    fn admit(&mut self, _: &RetryDecision) -> Option<Result<Duration, StopReason>> {
        match self.stop? {
            stop @ (StopReason::Throttled
            | StopReason::TooManyInFlight { .. }
            | StopReason::HeldTooLong { .. }) => Some(Err(stop.clone())),
            _ => None,
        }
    }

    fn commit(&mut self, session: &mut S, now: Instant) -> Result<RetryPermit, StopReason> {
        let permit = session.commit(now)?;
        match self.stop {
            Some(stop @ StopReason::BudgetExhausted(_)) if permit.is_charged() => Err(stop.clone()),
            _ => Ok(permit),
        }
    }
}
