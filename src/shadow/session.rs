//! [`ShadowSession`]: one request under both policies.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, StatusCode, Uri};

use super::tally::{Disagreement, Tally};
use crate::{
    budget::RetryPermit,
    classify::Outcome,
    dry_run::Verdict,
    policy::{Attempt, Decision, Eligibility, RetrySession, Session, StopReason},
    stack::Opinion,
};

/// The session of a request under a [`Shadow`](super::Shadow) policy.
pub struct ShadowSession<S> {
    live: S,
    /// Gone once it would have gone another way.
    candidate: Option<Candidate>,
}

/// What is asked, but not obeyed.
pub(super) struct Candidate {
    session: RetrySession,
    method: Method,
    tally: Arc<Tally>,
    /// What the two have decided about the attempt that has ended last, until it is known whether
    /// the budgets allow it.
    open: Option<Open>,
    /// Of a retry that was not sent yet, or is on its way.
    permit: Option<RetryPermit>,
}

struct Open {
    attempt: u32,
    live: Verdict,
    theirs: Verdict,
}

impl Candidate {
    pub(super) fn new(session: RetrySession, method: Method, tally: &Arc<Tally>) -> Self {
        Self {
            session,
            method,
            tally: Arc::clone(tally),
            open: None,
            permit: None,
        }
    }

    /// The retry that was allowed last was sent, since something came of it.
    fn settle(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.sent();
        }
    }

    fn compare(&self, open: &Open) {
        self.tally.compared(&open.live, &open.theirs);
        let found = Disagreement::between(open.attempt, &self.method, &open.live, &open.theirs);
        if let Some(found) = found {
            self.tally.count(&found);
        }
    }

    /// Tells the candidate's session how the request ends that it would have ended itself.
    fn end(&mut self, verdict: &Verdict, now: Instant) {
        match verdict {
            Verdict::Accept => self.session.succeeded(),
            Verdict::Retry { .. } | Verdict::Stop(_) => self.session.failed(now),
        }
    }
}

impl<S> ShadowSession<S> {
    pub(super) fn new(live: S, candidate: Option<Candidate>) -> Self {
        Self { live, candidate }
    }
}

/// What a session says of an attempt. Of what is certainly no failure none is asked.
fn decide(session: &mut impl Session, attempt: &Attempt<'_>) -> Decision {
    let nobody_objects =
        *attempt.opinion() == Opinion::NoOpinion && attempt.layer_failure().is_none();
    match attempt.outcome() {
        Outcome::Response { status, headers }
            if nobody_objects && session.is_final(*status, headers) =>
        {
            Decision::Accept
        }
        _ => session.decide(attempt),
    }
}

fn verdict(decision: &Decision) -> Verdict {
    match decision {
        Decision::Accept => Verdict::Accept,
        Decision::Retry(retry) => Verdict::Retry {
            min: retry.wait,
            max: retry.wait,
            why: retry.why.clone(),
            charged: retry.charged,
        },
        Decision::Stop(stop) => Verdict::Stop(stop.reason.clone()),
    }
}

impl<S: Session> Session for ShadowSession<S> {
    fn eligibility(&self) -> Eligibility {
        self.live.eligibility()
    }

    fn is_eligible(&self) -> bool {
        self.live.is_eligible()
    }

    fn deadline(&self) -> Option<Duration> {
        self.live.deadline()
    }

    fn is_final(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let candidate = self.candidate.as_ref();
        self.live.is_final(status, headers)
            && candidate.is_none_or(|candidate| candidate.session.is_final(status, headers))
    }

    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision {
        let live = decide(&mut self.live, attempt);
        if let Some(candidate) = &mut self.candidate {
            candidate.settle();
            let theirs = decide(&mut candidate.session, attempt);
            candidate.open = Some(Open {
                attempt: attempt.number(),
                live: verdict(&live),
                theirs: verdict(&theirs),
            });
        }
        live
    }

    fn succeeded(&mut self) {
        self.live.succeeded();
        let Some(mut candidate) = self.candidate.take() else {
            return;
        };
        candidate.settle();
        if let Some(open) = candidate.open.take() {
            candidate.compare(&open);
            if open.theirs != Verdict::Accept {
                return;
            }
        }
        candidate.session.succeeded();
    }

    fn failed(&mut self, now: Instant) {
        self.live.failed(now);
        let Some(mut candidate) = self.candidate.take() else {
            return;
        };
        candidate.settle();
        let Some(mut open) = candidate.open.take() else {
            // The budgets were asked already, or the time is over.
            candidate.session.failed(now);
            return;
        };
        if let Verdict::Retry { .. } = open.live {
            // Something outside of the policy says no, to whichever policy it is.
            open.live = open.theirs.clone();
        } else if let Verdict::Retry { .. } = open.theirs {
            match candidate.session.commit(now) {
                Ok(permit) => permit.sent(),
                Err(reason) => open.theirs = Verdict::Stop(reason),
            }
        }
        candidate.compare(&open);
        candidate.end(&open.theirs, now);
    }

    fn moved(&mut self, uri: &Uri) {
        self.live.moved(uri);
        if let Some(candidate) = &mut self.candidate {
            candidate.session.moved(uri);
        }
    }

    fn commit(&mut self, now: Instant) -> Result<RetryPermit, StopReason> {
        let live = self.live.commit(now);
        let Some(mut candidate) = self.candidate.take() else {
            return live;
        };
        let Some(mut open) = candidate.open.take() else {
            return live;
        };
        if let Err(reason) = &live {
            open.live = Verdict::Stop(reason.clone());
        }
        if let Verdict::Retry { .. } = open.theirs {
            match candidate.session.commit(now) {
                Ok(permit) => candidate.permit = Some(permit),
                Err(reason) => open.theirs = Verdict::Stop(reason),
            }
        }
        candidate.compare(&open);
        match (&open.live, &open.theirs) {
            (Verdict::Retry { .. }, Verdict::Retry { .. }) => self.candidate = Some(candidate),
            (_, theirs) => {
                candidate.settle();
                candidate.end(theirs, now);
            }
        }
        live
    }
}

impl<S: fmt::Debug> fmt::Debug for ShadowSession<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShadowSession")
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}
