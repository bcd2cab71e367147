//! [`GrpcSession`]: one call under [`GrpcPolicies`](super::GrpcPolicies).

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode, Uri};

use crate::{
    budget::RetryPermit,
    policy::{Attempt, Decision, Eligibility, RetrySession, Session, StopReason},
};

/// The session of a method's policy, and how long its calls may take.
#[derive(Debug)]
pub struct GrpcSession {
    session: RetrySession,
    timeout: Option<Duration>,
}

impl GrpcSession {
    pub(super) fn new(session: RetrySession, timeout: Option<Duration>) -> Self {
        Self { session, timeout }
    }
}

impl Session for GrpcSession {
    fn eligibility(&self) -> Eligibility {
        self.session.eligibility()
    }

    fn is_eligible(&self) -> bool {
        self.session.is_eligible()
    }

    fn deadline(&self) -> Option<Duration> {
        self.timeout
    }

    fn is_final(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.session.is_final(status, headers)
    }

    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision {
        self.session.decide(attempt)
    }

    fn succeeded(&mut self) {
        self.session.succeeded();
    }

    fn failed(&mut self, now: Instant) {
        self.session.failed(now);
    }

    fn moved(&mut self, uri: &Uri) {
        self.session.moved(uri);
    }

    fn commit(&mut self, now: Instant) -> Result<RetryPermit, StopReason> {
        self.session.commit(now)
    }
}
