//! The session of a dry run: it is asked, and told nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode};

use crate::{
    budget::RetryPermit,
    policy::{
        AnySession, Attempt, Decision, Eligibility, Ledger, Policy, Rehearsal, RequestHead, Rng,
        Session, StopReason, select,
    },
};

/// A policy's session, of which only the decisions are used. Whoever wrote it, nothing that
/// requests share can notice: it never hears how a request ended, and is not asked for a permit.
pub(super) struct Asked<S> {
    session: AnySession<S>,
    ledger: Arc<Ledger>,
}

impl<S: Session> Asked<S> {
    /// Starts a request whose random numbers are `rng`'s.
    pub(super) fn start<P>(policy: &P, request: &RequestHead<'_>, rng: Rng) -> Self
    where
        P: Policy<Session = S> + ?Sized,
    {
        let rehearsal = Rehearsal::new(rng);
        let session = select(policy, &request.rehearsed(&rehearsal));
        if let AnySession::Disabled = session {
            rehearsal.ledger.know();
        }
        Self {
            session,
            ledger: rehearsal.ledger,
        }
    }

    /// Why no outcome can lead to another attempt, if none can.
    pub(super) fn never(&self) -> Option<StopReason> {
        match self.session.eligibility() {
            Eligibility::Never(reason) => Some(reason),
            Eligibility::Eligible => None,
        }
    }

    /// Whether there may be a budget that was not asked.
    pub(super) fn assumes_budget(&self) -> bool {
        self.ledger.assumes_budget()
    }
}

impl<S: Session> Session for Asked<S> {
    fn eligibility(&self) -> Eligibility {
        self.session.eligibility()
    }

    fn is_eligible(&self) -> bool {
        self.session.is_eligible()
    }

    fn deadline(&self) -> Option<Duration> {
        self.session.deadline()
    }

    fn is_final(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.session.is_final(status, headers)
    }

    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision {
        self.ledger.set_due(None);
        self.session.decide(attempt)
    }

    fn commit(&mut self, now: Instant) -> Result<RetryPermit, StopReason> {
        self.ledger.commit(now)
    }
}
