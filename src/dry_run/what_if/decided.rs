//! What a policy decides about an attempt, and whether that is what was recorded.

use std::time::Duration;

use super::Verdict;
use crate::{
    policy::{Gate, Gates, Note, StopDecision, StopReason, WaitReason},
    report::{AttemptRecord, WaitRecord},
};

/// What a run decided about an attempt.
pub(super) struct Decided {
    pub(super) verdict: Verdict,
    /// The wait that the policy wanted, also if something else stopped the request.
    pub(super) wait: Option<Duration>,
    pub(super) gates: Gates,
    pub(super) note: Option<Note>,
}

impl Decided {
    pub(super) fn stopped(stop: StopDecision, wait: Option<Duration>) -> Self {
        Self {
            verdict: Verdict::Stop(stop.reason),
            wait,
            gates: stop.gates,
            note: stop.note,
        }
    }

    pub(super) fn from_outside(reason: StopReason, gates: Gates) -> Self {
        Self::stopped(
            StopDecision {
                gates,
                ..StopDecision::because(reason)
            },
            None,
        )
    }

    pub(super) fn is_retry(&self) -> bool {
        matches!(self.verdict, Verdict::Retry { .. })
    }

    /// Whether it is the same decision but for the wait.
    pub(super) fn is_like(&self, recorded: &Verdict) -> bool {
        match (&self.verdict, recorded) {
            (Verdict::Accept, Verdict::Accept) => true,
            (Verdict::Stop(a), Verdict::Stop(b)) => same_reason(a, b),
            (
                Verdict::Retry {
                    why: a, charged: c, ..
                },
                Verdict::Retry {
                    why: b, charged: d, ..
                },
            ) => c == d && (same_source(a, b) || *b == WaitReason::SharedHint),
            _ => false,
        }
    }

    pub(super) fn lacks_idempotency(&self) -> bool {
        self.gates.get(Gate::Method) == Some(false)
            && self.gates.get(Gate::Idempotency) == Some(false)
    }

    /// The waits that the runs would draw between them.
    pub(super) fn together(decided: &[Self]) -> Waits {
        let waits = || decided.iter().filter_map(|decided| decided.wait);
        Waits {
            min: waits().min().unwrap_or_default(),
            max: waits().max().unwrap_or_default(),
        }
    }

    /// The record, with what is the policy's own set anew.
    pub(super) fn as_recorded(&self, record: &AttemptRecord) -> AttemptRecord {
        let mut gates = self.gates;
        // These were asked by the layer, of which nothing is known here.
        for gate in [Gate::Body, Gate::Deadline, Gate::Throttle] {
            if let Some(said) = record.gates.get(gate) {
                gates.set(gate, said);
            }
        }
        AttemptRecord {
            gates,
            note: self.note.clone().map(Box::new),
            ..record.clone()
        }
    }

    /// The record of another decision. A wait is as near to the recorded one as can be.
    pub(super) fn instead(&self, record: &AttemptRecord, waits: &Waits) -> AttemptRecord {
        let recorded = record.wait.as_ref().map_or(waits.min, |wait| wait.planned);
        let wait = match &self.verdict {
            Verdict::Retry { why, charged, .. } => Some(WaitRecord {
                planned: recorded.clamp(waits.min, waits.max),
                why: why.clone(),
                charged: *charged,
            }),
            Verdict::Accept | Verdict::Stop(_) => None,
        };
        AttemptRecord {
            wait,
            ..self.as_recorded(record)
        }
    }
}

/// The shortest and the longest wait.
pub(super) struct Waits {
    min: Duration,
    max: Duration,
}

impl Waits {
    /// Whether a wait that was recorded could have been drawn.
    pub(super) fn allows(&self, recorded: &Verdict) -> bool {
        let Verdict::Retry { min: wait, why, .. } = recorded else {
            return true;
        };
        let long_enough = *wait >= self.min || about(*wait, self.min);
        // A hint that was meant for another request prolongs any wait.
        let short_enough =
            *wait <= self.max || about(*wait, self.max) || *why == WaitReason::SharedHint;
        long_enough && short_enough
    }

    pub(super) fn verdict(&self, taken: &Decided) -> Verdict {
        match &taken.verdict {
            Verdict::Retry { why, charged, .. } => Verdict::Retry {
                min: self.min,
                max: self.max,
                why: why.clone(),
                charged: *charged,
            },
            other => other.clone(),
        }
    }
}

/// Two times of which one came through text.
fn about(a: Duration, b: Duration) -> bool {
    // Long ones are not that exact as a float of seconds.
    a.abs_diff(b) <= Duration::from_micros(1) || a.as_secs_f64() == b.as_secs_f64()
}

/// Whether waits for these reasons are drawn from the same thing. A backoff that happens to be
/// zero has no reason of its own.
fn same_source(a: &WaitReason, b: &WaitReason) -> bool {
    let own = |why: &WaitReason| matches!(why, WaitReason::Immediate | WaitReason::Backoff);
    a == b || own(a) && own(b)
}

/// Whether it is the same reason, whatever was drawn at random.
fn same_reason(a: &StopReason, b: &StopReason) -> bool {
    match (a, b) {
        (
            StopReason::DeadlineTooClose { left: a, .. },
            StopReason::DeadlineTooClose { left: b, .. },
        ) => about(*a, *b),
        // A date is as exact as the text that it came through.
        (
            StopReason::RetryAfterTooLong { asked: a, cap: c },
            StopReason::RetryAfterTooLong { asked: b, cap: d },
        ) => about(*a, *b) && about(*c, *d),
        // What was left is what other requests had left.
        (StopReason::BudgetExhausted(_), StopReason::BudgetExhausted(_)) => true,
        _ => a == b,
    }
}
