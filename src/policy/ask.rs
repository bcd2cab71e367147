//! What holds for every policy's answer, in a real request and in a dry run alike.

use std::time::{Duration, Instant};

use super::{Attempt, CountKind, Decision, Gate, Judgement, Retry, Session, Stop, StopReason};
use crate::classify::Outcome;

/// Asks `session` what becomes of an attempt that ended with `outcome`. The rest of the attempt is
/// made by `attempt` if it matters.
pub(crate) fn ask<'a, S: Session>(
    session: &mut S,
    outcome: Outcome<'a>,
    judgement: Judgement,
    attempt: impl FnOnce(Outcome<'a>) -> Attempt<'a>,
) -> Decision {
    match outcome {
        Outcome::Response { status, headers }
            if judgement == Judgement::None && session.is_final(status, headers) =>
        {
            return Decision::Accept;
        }
        _ => {}
    }
    let decision = session.decide(&attempt(outcome).with_judgement(judgement));
    match (decision, outcome) {
        // An error cannot be handed out as a response.
        (Decision::Accept, Outcome::Error { failure, .. }) => {
            Decision::Stop(Stop::because(StopReason::NotTransient {
                cause: failure.cause,
            }))
        }
        (decision, _) => decision,
    }
}

impl Retry {
    /// The request can never be sent again, for this reason: names the gate that it stands for.
    pub(crate) fn never(&mut self, reason: StopReason) -> StopReason {
        match reason {
            StopReason::CountExhausted { kind, .. } | StopReason::KindDisabled { kind } => {
                let gate = match kind {
                    CountKind::Total => Gate::Total,
                    _ => Gate::Count,
                };
                self.gates.set(gate, false);
            }
            _ => {}
        }
        reason
    }

    /// Asks the gates behind the session's own that take nothing: whether the body can be sent
    /// again, where that is known, and whether the wait and an attempt of length `attempt` fit
    /// into the time `left` until the deadline, where there is one.
    pub(crate) fn check(
        &mut self,
        body: Option<Result<(), StopReason>>,
        left: Option<Duration>,
        attempt: Duration,
    ) -> Result<(), StopReason> {
        let mut answer = Ok(());
        if let Some(body) = body {
            self.gates.set(Gate::Body, body.is_ok());
            answer = body;
        }
        if let Some(left) = left {
            let needed = self.wait.saturating_add(attempt);
            self.gates.set(Gate::Deadline, needed < left);
            if needed >= left {
                answer = answer.and(Err(StopReason::DeadlineTooClose { left, needed }));
            }
        }
        answer
    }

    /// Asks the last gate, the budget: all others have let the retry pass.
    pub(crate) fn commit<S: Session>(
        &mut self,
        session: &mut S,
        now: Instant,
    ) -> Result<(), StopReason> {
        match session.commit(now) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.gates.set(Gate::Budget, true);
                Ok(())
            }
            Err(reason) => {
                self.gates.set(Gate::Budget, false);
                Err(reason)
            }
        }
    }
}
