//! The rules of [`RetryPolicy::urllib3`](crate::policy::RetryPolicy::urllib3): those of urllib3
//! 2.8's `Retry.increment` and `Retry.is_retry`, in its order.

use http::{HeaderMap, StatusCode};

use super::{
    HintEffect, RetrySession, is_failure, is_redirect, kind_within, not_listed, obey, obey_layer,
    retry_after_alone,
};
use crate::{
    classify::{Cause, Failure, FailureKind, Outcome},
    policy::{
        Attempt, Decision, Gate, Gates, Hint, Limit, LimitKind, Note, RetryDecision, StopDecision,
        StopReason, hints::as_urllib3_reads_it,
    },
    stack::Opinion,
};

impl RetrySession {
    pub(super) fn decide_urllib3(&mut self, attempt: &Attempt<'_>) -> Decision {
        if let Opinion::Forbid(because) = attempt.opinion() {
            let mut gates = Gates::default();
            gates.set(Gate::Classifiers, false);
            return Decision::Stop(StopDecision {
                reason: StopReason::Vetoed {
                    by: attempt.opinion_by().clone(),
                    because: because.clone(),
                },
                raise: false,
                gates,
                asked: None,
                note: None,
            });
        }
        match *attempt.outcome() {
            Outcome::Response { status, headers } => {
                self.urllib3_response(attempt, status, headers)
            }
            Outcome::Error { failure, .. } => self.urllib3_error(attempt, failure),
        }
    }

    /// What the server asks for as urllib3 reads it, and whether that alone makes a retry of it.
    fn urllib3_hint(
        &self,
        attempt: &Attempt<'_>,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> (Hint, bool) {
        let settings = self.settings();
        if !settings.respect_retry_after_header {
            return (Hint::Absent, false);
        }
        let (now, cap) = (|| attempt.wall_clock(), settings.retry_after_max);
        let hint = as_urllib3_reads_it(status, headers, now, cap);
        // `bool(self.total and …)`: None, which means unlimited, does not count as yes. Neither
        // does 0; then `total` is why, although urllib3 does not come to `increment`.
        let asked = settings.limits.get(LimitKind::Total) != Limit::Never
            && self.left(LimitKind::Total).is_some()
            && retry_after_alone(status)
            && hint.is_present();
        match attempt.goes_elsewhere() {
            true => (Hint::Absent, asked),
            false => (hint, asked),
        }
    }

    fn urllib3_response(
        &mut self,
        attempt: &Attempt<'_>,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Decision {
        let settings = self.settings();
        let judged_retry = attempt.opinion().is_transient();
        let below = attempt.layer_failure();
        let listed = settings.status_forcelist.contains(status.as_u16())
            || judged_retry
            || self.is_transient_to_urllib3(below);
        let (hint, asked) = self.urllib3_hint(attempt, status, headers);
        let used_up = asked && !listed && self.left(LimitKind::Total) == Some(0);

        let mut gates = Gates::default();
        let transient = listed || asked;
        let failed = is_failure(status) || below.is_some();
        if !transient && !failed {
            return Decision::Accept;
        }
        gates.set(Gate::Transient, transient);
        self.ask_method(attempt, &mut gates);
        let returned = if !transient {
            Some(not_listed(status, below))
        } else if !self.may_repeat() && !attempt.opinion().is_unprocessed() {
            Some(StopReason::MethodNotAllowed {
                method: attempt.method().clone(),
            })
        } else if used_up {
            let limit = self.settings().limits.get(LimitKind::Total);
            Some(limit.exhausted(LimitKind::Total))
        } else {
            None
        };
        let kind = if is_redirect(status, headers) {
            LimitKind::Redirect
        } else {
            kind_within(below).into()
        };
        if let Some(reason) = returned {
            let mut waits = None;
            if transient {
                // As after every transient failure, whatever keeps it from being repeated.
                waits = obey(hint.clone(), self.settings().retry_after_mode).asked();
                self.set_cost(attempt);
            }
            self.ask_the_rest(kind, hint, &mut gates);
            return Decision::Stop(StopDecision {
                reason,
                raise: false,
                gates,
                asked: waits,
                note: attempt.note(),
            });
        }
        let raise = self.settings().raise_on_status;
        self.go_on(attempt, kind, hint, raise, gates)
    }

    /// Whether what a layer below found to have failed may pass: to urllib3 a body that breaks is a
    /// read error.
    fn is_transient_to_urllib3(&self, below: Option<Failure>) -> bool {
        below.is_some_and(|failure| match failure.cause {
            Cause::Status(status) => self.settings().status_forcelist.contains(status.as_u16()),
            cause => failure.kind == FailureKind::Read && !cause.is_permanent(),
        })
    }

    fn urllib3_error(&mut self, attempt: &Attempt<'_>, failure: Failure) -> Decision {
        let mut gates = Gates::default();
        let kind = LimitKind::from(failure.kind);
        let limits = self.settings().limits;
        let transient = !failure.cause.is_user_error() || attempt.opinion().is_transient();
        gates.set(Gate::Transient, transient);
        // A status is not an error to urllib3: one that a layer below made an error of is judged
        // as the response would have been.
        let status = match failure.cause {
            Cause::Status(status) if transient => Some(status),
            _ => None,
        };
        let listed = status.is_none_or(|status| {
            self.settings().status_forcelist.contains(status.as_u16())
                || attempt.opinion().is_transient()
        });
        // Nor is a connect failure one to urllib3 unless nothing was sent.
        let unproved = failure.kind == FailureKind::Connect && !failure.sent.is_safe_to_repeat();
        let read = failure.kind == FailureKind::Read || unproved || status.is_some();
        if read {
            self.ask_method(attempt, &mut gates);
        }

        gates.set(Gate::Transient, transient && listed);
        // What urllib3 re-raises as it came, without wrapping it in MaxRetryError.
        let bare = if !transient {
            Some(StopReason::NotTransient {
                cause: failure.cause,
            })
        } else if let Some(status) = status.filter(|_| !listed) {
            Some(StopReason::StatusNotListed { status })
        } else if limits.get(LimitKind::Total) == Limit::Never {
            Some(StopReason::KindDisabled {
                kind: LimitKind::Total,
            })
        } else if matches!(failure.kind, FailureKind::Connect | FailureKind::Read)
            && limits.get(kind) == Limit::Never
        {
            Some(StopReason::KindDisabled { kind })
        } else if read && !self.may_repeat() && !attempt.opinion().is_unprocessed() {
            Some(StopReason::MethodNotAllowed {
                method: attempt.method().clone(),
            })
        } else {
            None
        };
        if let Some(reason) = bare {
            self.ask_the_rest(kind, Hint::Absent, &mut gates);
            return Decision::Stop(StopDecision {
                reason,
                raise: false,
                gates,
                asked: None,
                note: attempt.note(),
            });
        }
        self.go_on(attempt, kind, Hint::Absent, false, gates)
    }

    fn ask_method(&self, attempt: &Attempt<'_>, gates: &mut Gates) {
        let unprocessed = attempt.opinion().is_unprocessed();
        gates.set(Gate::Method, self.may_repeat() || unprocessed);
        if !self.method_allowed {
            gates.set(Gate::Idempotency, self.idempotent);
        }
    }

    /// Asks the gates that urllib3 does not come to any more, for the report only.
    fn ask_the_rest(&self, kind: LimitKind, hint: Hint, gates: &mut Gates) {
        let any_left = |kind| self.left(kind).is_none_or(|left| left > 0);
        gates.set(Gate::Total, any_left(LimitKind::Total));
        gates.set(Gate::Count, any_left(kind));
        match obey(hint, self.settings().retry_after_mode) {
            HintEffect::Wait(..) => gates.set(Gate::Hint, true),
            HintEffect::TooLong { .. } => gates.set(Gate::Hint, false),
            HintEffect::None => {}
        }
    }

    /// Charges a retry to its limits; the one that this exceeds, if any.
    fn ask_charge(
        &mut self,
        attempt: &Attempt<'_>,
        kind: LimitKind,
        gates: &mut Gates,
    ) -> Option<StopReason> {
        let exceeded = self.charge(kind);
        self.set_cost(attempt);
        let total_ok = self.left(LimitKind::Total).is_none_or(|left| left >= 0);
        gates.set(Gate::Total, total_ok);
        gates.set(Gate::Count, exceeded.is_none() || !total_ok);
        exceeded
    }

    /// `Retry.increment`, and then `Retry.sleep`.
    fn go_on(
        &mut self,
        attempt: &Attempt<'_>,
        kind: LimitKind,
        hint: Hint,
        raise: bool,
        mut gates: Gates,
    ) -> Decision {
        let mut note = attempt.note();
        let ignored = ignored(&hint);
        let has_hint = hint.is_present();
        let hinted = match obey(hint, self.settings().retry_after_mode) {
            HintEffect::None => obey_layer(attempt, self.settings()),
            hinted => hinted,
        };
        let asked = hinted.asked();
        let exceeded = self.ask_charge(attempt, kind, &mut gates);
        let stop = |reason, gates, asked, note| {
            Decision::Stop(StopDecision {
                reason,
                raise,
                gates,
                asked,
                note,
            })
        };
        if let Some(reason) = exceeded {
            return stop(reason, gates, asked, note);
        }
        self.run = match kind {
            LimitKind::Redirect => 0,
            _ => self.run.saturating_add(1),
        };
        let (wait, why) = match hinted {
            HintEffect::Wait(asked, why) => {
                gates.set(Gate::Hint, true);
                (self.hinted(asked, &why, attempt), why)
            }
            HintEffect::TooLong { asked, cap } => {
                gates.set(Gate::Hint, false);
                let reason = StopReason::RetryAfterTooLong { asked, cap };
                return stop(reason, gates, Some(cap), note);
            }
            HintEffect::None => {
                note = note.or(ignored);
                self.backoff(attempt, has_hint)
            }
        };
        Decision::Retry(RetryDecision {
            wait,
            why,
            charged: Some(kind),
            raise,
            last: self.is_last(),
            gates,
            asked,
            note,
        })
    }
}

/// What the report says of a hint that cannot be read.
fn ignored(hint: &Hint) -> Option<Note> {
    match hint {
        Hint::Invalid { header } => Some(Note::HintIgnored(header.clone())),
        Hint::Absent | Hint::Wait { .. } | Hint::OverCap { .. } => None,
    }
}
