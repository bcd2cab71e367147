//! The rules of [`RetryPolicy::grpc`](crate::policy::RetryPolicy::grpc): those of gRFC A6.

use http::StatusCode;

use super::{RetrySession, default::FailureFacts, kind_within};
use crate::{
    classify::{self, Cause, Failure, Outcome},
    policy::{Attempt, Decision, StopReason, grpc::code_of, hints::HintReading},
    reason::{GrpcCode, Sent},
    stack::Opinion,
};

/// Without a deadline, what never left the client is sent again so often.
const NEVER_LEFT: u32 = 10;

impl RetrySession {
    pub(super) fn decide_grpc(&mut self, attempt: &Attempt<'_>) -> Decision {
        let (cause, kind) = match *attempt.outcome() {
            Outcome::Response { status, headers } => {
                let below = attempt.layer_failure();
                // gRPC's calls are answered with 200 and nothing else.
                let failed = status != StatusCode::OK && !classify::grpc::is_ok(headers);
                let head = failed.then_some(Cause::Status(status));
                let cause = below.map(|failure| failure.cause).or(head);
                (cause, kind_within(below).into())
            }
            Outcome::Error { failure, .. } => {
                if let Some(again) = self.transparent(attempt, failure) {
                    return again;
                }
                (Some(failure.cause), failure.kind.into())
            }
        };
        if cause.is_none() && *attempt.opinion() == Opinion::NoOpinion {
            return Decision::Accept;
        }
        let not_listed = self.not_listed_code(cause);
        let found = FailureFacts {
            kind,
            not_transient: not_listed.filter(|_| !attempt.opinion().is_transient()),
            // Whoever lists the code has said so.
            safe: true,
            misdirected: false,
            said: self.pushback(attempt),
            note: None,
        };
        self.ask_gates(attempt, found)
    }

    /// Why a call that failed so is not repeated, if it is not.
    fn not_listed_code(&self, cause: Option<Cause>) -> Option<StopReason> {
        let code = match cause {
            Some(cause) if cause.is_permanent() => return Some(StopReason::NotTransient { cause }),
            Some(cause) => code_of(cause),
            None => GrpcCode::Ok,
        };
        let listed = self.settings().retryable_status_codes.contains(code);
        (!listed).then_some(StopReason::GrpcStatusNotListed { code })
    }

    /// What the server says of the next attempt. It says so to a call that failed only.
    fn pushback(&self, attempt: &Attempt<'_>) -> HintReading {
        let settings = self.settings();
        match attempt.outcome() {
            Outcome::Response { headers, .. } if settings.respect_retry_after_header => {
                HintReading::pushback(headers, attempt.trailers(), settings.retry_after_max)
            }
            Outcome::Response { .. } | Outcome::Error { .. } => HintReading::default(),
        }
    }

    /// A call that the server's application has not seen is sent again whatever the policy says,
    /// and counts for nothing: what never left the client until its deadline, what the server
    /// refused as often as `unprocessed` says.
    fn transparent(&mut self, attempt: &Attempt<'_>, failure: Failure) -> Option<Decision> {
        let most = self.settings().unprocessed;
        let forbidden = matches!(attempt.opinion(), Opinion::Forbid(_));
        if forbidden || !failure.is_unprocessed() || most == 0 {
            return None;
        }
        let never_left = failure.sent == Sent::Never;
        let refused = self.unprocessed - self.never_left;
        let allowed = match never_left {
            // The deadline ends it.
            true => attempt.room().is_some() || self.never_left < NEVER_LEFT,
            false => refused < most,
        };
        if !allowed {
            return None;
        }
        self.unprocessed = self.unprocessed.saturating_add(1);
        self.never_left += u32::from(never_left && self.unprocessed != u32::MAX);
        Some(self.again(attempt, self.unprocessed))
    }
}
