//! The rules of [`RetryPolicy::default`](crate::policy::RetryPolicy::default).

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::{
    HintEffect, RetrySession, is_failure, is_pushback, is_redirect, kind_within, not_listed, obey,
    obey_layer, retry_after_alone,
};
use crate::{
    classify::{Cause, Failure, Outcome},
    policy::{
        Attempt, Decision, Gate, Gates, HintHeader, Limit, LimitKind, Note, RetryDecision,
        StopDecision, StopReason, WaitReason, hints::HintReading,
    },
    stack::Opinion,
};

/// What a failure is, before the gates are asked whether it is retried.
pub(super) struct FailureFacts {
    /// The limit it is charged to.
    pub(super) kind: LimitKind,
    /// Why it is no transient failure, if it is none.
    pub(super) not_transient: Option<StopReason>,
    /// Whether the server certainly did not apply the request.
    pub(super) safe: bool,
    /// Whether it is the answer to what came over the wrong connection, which is left.
    pub(super) misdirected: bool,
    /// What the server says of it.
    pub(super) said: HintReading,
    /// What the report should say of it.
    pub(super) note: Option<Note>,
}

/// Where not the standard says that a status means 'not processed', but the policy.
fn note_unprocessed(status: StatusCode) -> Option<Note> {
    (!matches!(status.as_u16(), 421 | 425)).then(|| Note::Unprocessed {
        by: "unprocessed_statuses".into(),
        because: status.as_str().to_owned().into(),
    })
}

/// What the gates said so far.
#[derive(Default)]
struct Asked {
    gates: Gates,
    /// The reason of the first that said no.
    reason: Option<StopReason>,
}

impl Asked {
    fn ask(&mut self, gate: Gate, no: Option<StopReason>) {
        self.gates.set(gate, no.is_none());
        if self.reason.is_none() {
            self.reason = no;
        }
    }

    /// Asks the classifiers; whether one of them wants the retry.
    fn opinion(&mut self, attempt: &Attempt<'_>) -> bool {
        match attempt.opinion() {
            Opinion::Forbid(because) => {
                let vetoed = StopReason::Vetoed {
                    by: attempt.opinion_by().clone(),
                    because: because.clone(),
                };
                self.ask(Gate::Classifiers, Some(vetoed));
                false
            }
            Opinion::Retry(_)
            | Opinion::RetryIn(..)
            | Opinion::LeaveConnection(_)
            | Opinion::Unprocessed(_) => {
                self.ask(Gate::Classifiers, None);
                true
            }
            Opinion::NoOpinion => false,
        }
    }

    /// Asks what the server says, if it says anything.
    fn hint(&mut self, veto: Option<HintHeader>, hinted: &HintEffect) {
        let no = match (veto, hinted) {
            (Some(header), _) => Some(StopReason::ForbiddenByServer { header }),
            (None, HintEffect::TooLong { asked, cap }) => Some(StopReason::RetryAfterTooLong {
                asked: *asked,
                cap: *cap,
            }),
            (None, HintEffect::Wait(..)) => None,
            (None, HintEffect::None) => return,
        };
        self.ask(Gate::Hint, no);
    }
}

impl RetrySession {
    pub(super) fn decide_default(&mut self, attempt: &Attempt<'_>) -> Decision {
        let judged_retry = attempt.opinion().is_transient();
        let found = match *attempt.outcome() {
            Outcome::Response { status, headers } => {
                match self.found_response(attempt, status, headers, judged_retry) {
                    Some(found) => found,
                    None => return Decision::Accept,
                }
            }
            Outcome::Error { failure, .. } => {
                if let Some(again) = self.never_processed(attempt, failure) {
                    return again;
                }
                let mut found = self.found_error(failure, judged_retry);
                found.safe |= attempt.opinion().is_unprocessed();
                found
            }
        };
        self.seen |= !found.safe;
        self.ask_gates(attempt, found)
    }

    /// A request that was never processed is sent again outside of the counts: the first time at
    /// once and free. From then on it is the sign of a server that has too much to do, so it waits
    /// like others and is charged to the budget.
    fn never_processed(&mut self, attempt: &Attempt<'_>, failure: Failure) -> Option<Decision> {
        let forbidden = matches!(attempt.opinion(), Opinion::Forbid(_));
        if forbidden || !failure.is_unprocessed() || self.unprocessed >= self.settings().unprocessed
        {
            return None;
        }
        self.unprocessed += 1;
        if self.unprocessed > 1 {
            self.set_cost(attempt);
        }
        Some(self.again(attempt, self.unprocessed))
    }

    /// A response: `None` if it is no failure.
    fn found_response(
        &self,
        attempt: &Attempt<'_>,
        status: StatusCode,
        headers: &HeaderMap,
        judged_retry: bool,
    ) -> Option<FailureFacts> {
        let settings = self.settings();
        let listed = settings.lists(status);
        let as_500 = listed && !settings.status_forcelist.contains(status.as_u16());
        // What was never processed has not used the key.
        let repeated = self.keyed && self.seen;
        // The key's first use is still at work (draft-ietf-httpapi-idempotency-key-header, 2.7).
        let in_progress = repeated && status == StatusCode::CONFLICT;
        let below = attempt.layer_failure();
        // On another connection it may be the right server (RFC 9110, section 15.5.20).
        let misdirected = status == StatusCode::MISDIRECTED_REQUEST
            && attempt.left_connection()
            && !self.misdirected;
        let transient =
            listed || judged_retry || in_progress || misdirected || self.is_transient(below);
        let mut said = HintReading::default();
        if settings.respect_retry_after_header && (transient || retry_after_alone(status)) {
            said = self.read_hints(attempt, status, headers);
        }
        let transient = transient || said.asks_for_retry && retry_after_alone(status);
        if attempt.goes_elsewhere() {
            let veto = said.veto;
            said = HintReading {
                veto,
                ..HintReading::default()
            };
        }
        let failed = is_failure(status) || below.is_some();
        let forbidden = matches!(attempt.opinion(), Opinion::Forbid(_));
        let unprocessed = listed && settings.unprocessed_statuses.contains(status.as_u16());
        (transient || failed || forbidden).then(|| FailureFacts {
            kind: if is_redirect(status, headers) {
                LimitKind::Redirect
            } else {
                kind_within(below).into()
            },
            not_transient: (!transient).then_some(match status {
                StatusCode::UNPROCESSABLE_ENTITY if repeated => StopReason::IdempotencyKeyReused,
                status => not_listed(status, below),
            }),
            note: if in_progress {
                Some(Note::StillInProgress)
            } else if unprocessed {
                note_unprocessed(status)
            } else {
                as_500.then_some(Note::TreatedAs500 { status })
            },
            safe: attempt.opinion().is_unprocessed() || misdirected || unprocessed,
            misdirected,
            said,
        })
    }

    /// What the server says of when to come back.
    fn read_hints(
        &self,
        attempt: &Attempt<'_>,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> HintReading {
        let settings = self.settings();
        let (now, cap) = (|| attempt.wall_clock(), settings.retry_after_max);
        // None of the names is looked up if it is known that none is there.
        let said = if attempt.may_be_hinted() || !self.policy.inner.usual_hints {
            settings.hints().read(status, headers, now, cap)
        } else {
            HintReading::default()
        };
        said.and_trailers(attempt.trailers(), cap)
    }

    /// Whether what a layer below found to have failed may pass.
    fn is_transient(&self, below: Option<Failure>) -> bool {
        match below.map(|failure| failure.cause) {
            None => false,
            // A status is listed or not, wherever it stands.
            Some(Cause::Status(status)) => self.settings().lists(status),
            Some(Cause::Grpc(code)) => self.settings().retryable_status_codes.contains(code),
            Some(cause) => !cause.is_permanent(),
        }
    }

    fn found_error(&self, failure: Failure, judged_retry: bool) -> FailureFacts {
        let not_transient = match failure.cause {
            // A status is listed or not, also if a layer below made an error of it.
            Cause::Status(status) if !self.settings().lists(status) => {
                Some(StopReason::StatusNotListed { status })
            }
            cause if cause.is_permanent() => Some(StopReason::NotTransient { cause }),
            _ => None,
        };
        FailureFacts {
            kind: failure.kind.into(),
            not_transient: not_transient.filter(|_| !judged_retry),
            safe: failure.sent.is_safe_to_repeat(),
            misdirected: false,
            said: HintReading::default(),
            note: None,
        }
    }

    /// Whether the request may be applied twice, or was certainly not applied.
    fn ask_repeatable(&self, attempt: &Attempt<'_>, safe: bool, asked: &mut Asked) -> bool {
        let method_ok = safe || self.may_repeat();
        let not_allowed = || StopReason::MethodNotAllowed {
            method: attempt.method().clone(),
        };
        asked.ask(Gate::Method, (!method_ok).then(not_allowed));
        if !safe && !self.method_allowed {
            asked.gates.set(Gate::Idempotency, self.idempotent);
        }
        method_ok
    }

    /// Whether `total` and the limit of `kind` have retries left.
    fn ask_counts(&self, kind: LimitKind, asked: &mut Asked) {
        let limits = self.settings().limits;
        let any_left = |kind| self.left(kind).is_none_or(|left| left > 0);
        let (total_left, kind_left) = (any_left(LimitKind::Total), any_left(kind));
        asked.gates.set(Gate::Total, total_left);
        asked.gates.set(Gate::Count, kind_left);
        if asked.reason.is_some() {
            return;
        }
        let both = [(LimitKind::Total, total_left), (kind, kind_left)];
        let disabled = both
            .iter()
            .find(|(kind, _)| limits.get(*kind) == Limit::Never)
            .map(|(kind, _)| StopReason::KindDisabled { kind: *kind });
        let used_up = both.iter().find(|(_, any_left)| !any_left);
        asked.reason =
            disabled.or_else(|| used_up.map(|(kind, _)| limits.get(*kind).exhausted(*kind)));
    }

    /// The wait before a retry that every gate has passed.
    fn wait_after(
        &mut self,
        attempt: &Attempt<'_>,
        hinted: HintEffect,
        throttled: bool,
    ) -> (Duration, WaitReason) {
        self.run = self.run.saturating_add(1);
        let (wait, why) = match hinted {
            HintEffect::Wait(asked, why) => (self.hinted(asked, &why, attempt), why),
            HintEffect::None | HintEffect::TooLong { .. } => self.backoff(attempt, throttled),
        };
        if is_pushback(&why) {
            self.run = 0;
        }
        (wait, why)
    }

    /// The status of an outcome after which the request is sent again only once.
    fn once(&self, outcome: &Outcome<'_>) -> Option<StatusCode> {
        let status = match *outcome {
            Outcome::Response { status, .. } => status,
            Outcome::Error { failure, .. } => match failure.cause {
                Cause::Status(status) => status,
                _ => return None,
            },
        };
        let once = &self.settings().once_statuses;
        once.contains(status.as_u16()).then_some(status)
    }

    /// Whether the request was sent again after this status already, where that is to be done once.
    /// Returns the status, if it is one of these.
    fn ask_once(&self, attempt: &Attempt<'_>, asked: &mut Asked) -> Option<StatusCode> {
        let once = self.once(attempt.outcome());
        if let Some(status) = once.filter(|status| self.once_used.has(*status)) {
            let used_up = StopReason::StatusCountExhausted { status, limit: 1 };
            asked.ask(Gate::Count, Some(used_up));
        }
        once
    }

    /// Asks every gate, also those behind the first that says no, so that the report is whole.
    pub(super) fn ask_gates(&mut self, attempt: &Attempt<'_>, found: FailureFacts) -> Decision {
        let transient = found.not_transient.is_none();
        let mut asked = Asked::default();
        let mut note = found.note;
        if asked.opinion(attempt) {
            note = attempt.note();
        }
        asked.ask(Gate::Transient, found.not_transient);

        let method_ok = self.ask_repeatable(attempt, found.safe, &mut asked);
        self.ask_counts(found.kind, &mut asked);
        let once = self.ask_once(attempt, &mut asked);

        let HintReading {
            veto,
            hint,
            ignored,
            asks_for_retry,
        } = found.said;
        let forbidden_by_pushback = veto == Some(HintHeader::GrpcRetryPushbackMs);
        let layer_hint = attempt.layer_hint().is_some();
        let throttled = asks_for_retry || hint.is_present() || ignored.is_some() || layer_hint;
        note = note.or_else(|| ignored.map(Note::HintIgnored));
        let hinted = match obey(hint, self.settings().retry_after_mode) {
            HintEffect::None if transient => obey_layer(attempt, self.settings()),
            hinted => hinted,
        };
        asked.hint(veto, &hinted);
        let Asked { gates, reason } = asked;
        let asked = hinted.asked();

        // To gRPC's throttling, a server that forbids the retry has failed, whatever the code.
        if transient || forbidden_by_pushback {
            self.set_cost(attempt);
        }
        let raise = transient && method_ok && self.settings().raise_on_status;
        if let Some(reason) = reason {
            return Decision::Stop(StopDecision {
                reason,
                raise,
                gates,
                asked,
                note,
            });
        }
        self.misdirected |= found.misdirected;
        self.charge(found.kind);
        self.once_used.add(once);
        let (wait, why) = self.wait_after(attempt, hinted, throttled);
        Decision::Retry(RetryDecision {
            wait,
            why,
            charged: Some(found.kind),
            raise,
            last: self.is_last(),
            gates,
            asked,
            note,
        })
    }
}
