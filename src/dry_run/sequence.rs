//! [`Sequence`]: a scripted history.

use std::fmt;

use super::{
    Assumed, ScriptedOutcome, Venue,
    rehearsal::{Rehearsal, Rehearsed},
};
use crate::{
    classify::{Cause, Failure, Outcome},
    policy::{Decision, Policy, RequestHead, Rng, StopReason},
    report::{AttemptOutcome, AttemptRecord, HintRecord, RetryReport, WaitRecord, sanitized_uri},
};

/// What becomes of a request whose attempts end as a script says; made by
/// [`Explain::explain_sequence`](super::Explain::explain_sequence).
///
/// Where a wait is random it is the one in the middle. `Display` is the
/// [report's](RetryReport) timeline.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Sequence {
    report: RetryReport,
    goes_on: bool,
    unplayed: usize,
    #[cfg_attr(feature = "serde", serde(default))]
    assumes_budget: bool,
}

pub(crate) fn explain_sequence<P: Policy + ?Sized>(
    policy: &P,
    request: &RequestHead<'_>,
    script: &[ScriptedOutcome],
    venue: &Venue<'_>,
) -> Sequence {
    let mut rehearsal = Rehearsal::new(policy, request, Rng::constant(0.5), venue);
    let mut report = RetryReport::new(request.method().clone(), sanitized_uri(request.uri()));
    report.stop = StopReason::Custom("the script ends here, and another attempt follows".into());
    let mut goes_on = true;
    for outcome in script {
        let attempt = rehearsal.attempt(outcome);
        let (record, stop) = record(outcome, attempt);
        report.attempts.push(record);
        report.elapsed = rehearsal.elapsed();
        if let Some(stop) = stop {
            report.stop = stop;
            goes_on = false;
            break;
        }
    }
    Sequence {
        unplayed: script.len() - report.attempts.len(),
        assumes_budget: rehearsal.assumes_budget(),
        report,
        goes_on,
    }
}

/// An attempt's record, and why it was the last.
fn record(scripted: &ScriptedOutcome, attempt: Rehearsed) -> (AttemptRecord, Option<StopReason>) {
    let timed_out = Failure::from(Cause::AttemptTimeout);
    let failed = |failure| AttemptOutcome::failed(failure, String::new());
    let outcome = match scripted.outcome() {
        _ if attempt.timed_out => failed(timed_out),
        Outcome::Response { status, .. } => AttemptOutcome::Response(status),
        Outcome::Error { failure, .. } => failed(failure),
    };
    let mut record = AttemptRecord::new(attempt.number, outcome);
    record.started = attempt.started;
    record.took = attempt.took;
    if let (false, Outcome::Response { headers, .. }) = (attempt.timed_out, scripted.outcome()) {
        record.hint = HintRecord::of(headers, || scripted.ended_at());
    }
    let stop = match attempt.decision {
        Decision::Accept => Some(StopReason::Succeeded),
        Decision::Stop(stop) => {
            record.gates = stop.gates;
            record.note = stop.note.map(Box::new);
            Some(stop.reason)
        }
        Decision::Retry(retry) => {
            record.gates = retry.gates;
            record.note = retry.note.map(Box::new);
            record.wait = Some(WaitRecord {
                planned: retry.wait,
                why: retry.why,
                charged: retry.charged,
            });
            None
        }
    };
    (record, stop)
}

impl Sequence {
    /// What the report of such a request would be, with times as they were scripted.
    ///
    /// A script that ends too early ends with a [`StopReason::Custom`] that says so; see
    /// [`goes_on`](Self::goes_on).
    pub fn report(&self) -> &RetryReport {
        &self.report
    }

    /// Whether the policy wants another attempt, for which there is nothing in the script.
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// How many outcomes of the script there was no attempt for, because the request had ended.
    pub fn unplayed(&self) -> usize {
        self.unplayed
    }

    /// Whether the policy may have a budget that cannot be asked without taking from it, so that
    /// it was taken to be full.
    pub fn assumes_budget(&self) -> bool {
        self.assumes_budget
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)?;
        match self.unplayed {
            0 => {}
            1 => f.write_str("\n  not played: 1 outcome of the script")?,
            n => write!(f, "\n  not played: {n} outcomes of the script")?,
        }
        write!(f, "{}", Assumed(self.assumes_budget))
    }
}
