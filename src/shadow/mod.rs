//! Tries a policy out on real traffic, without sending anything by it.
//!
//! [`Shadow`] is a policy. The live one decides; a candidate is asked the same questions about the
//! same attempts, and where it would do something else, that is counted by [kind](Disagreement) and
//! can be heard. For requests that are over already, see
//! [`RetryReport::replay`](crate::RetryReport::replay).
//!
//! ```
//! use tower_http_retry::{RetryLayer, policy::RetryPolicy, shadow::Shadow};
//!
//! let candidate = RetryPolicy::builder().total(1).build()?;
//! let policy = Shadow::new(RetryPolicy::default(), candidate)
//!     .on_disagreement(|found| println!("{found}"));
//! let layer = RetryLayer::new(policy.clone());
//! # let _ = layer;
//! // … and after some requests:
//! let stats = policy.stats();
//! println!("{} of {} decisions differ", stats.disagreements(), stats.compared);
//! # Ok::<_, tower_http_retry::policy::InvalidPolicy>(())
//! ```
//!
//! A document names a candidate in a table of its own (`RetryConfig::to_shadow`), and
//! `MetricsBuilder::shadow` shows the counters with all others.
//!
//! # What is compared
//!
//! | kind | the live policy | the candidate |
//! | --- | --- | --- |
//! | `would_retry` | stops | sends the request again |
//! | `would_stop` | sends it again | stops |
//! | `would_fail` | takes the outcome for a success | takes it for a failure |
//! | `would_accept` | takes it for a failure | takes it for a success |
//! | `other_reason` | stops | stops for another reason |
//! | `other_wait` | sends it again | sends it again after a wait that comes from elsewhere: a hint of the server's, for instance |
//!
//! Waits are random, so that two that come from the same place are not compared one by one;
//! [`ShadowStats`] has the sums of both.
//!
//! What decides outside of the policy (the body, the deadline, admissions) decides for the
//! candidate as well. Once the two go separate ways the candidate is not asked about the request
//! any more: how its next attempt would have ended nobody knows.
//!
//! The candidate's budget is a copy of its own, full at first, which earns and spends as if its
//! retries were sent. It can only differ where the live policy sends less: an attempt that was
//! never made was not a success either. A budget of another library cannot be copied and is left
//! out.
//!
//! # What it costs
//!
//! A request has a second session beside its own, and one that succeeds at once is asked about
//! twice and earns twice: some 700 instructions and no allocation (`cargo bench -p benches
//! --features seen --bench counted` holds it there). Bodies and heads are kept once; nothing is sent twice, and nothing is
//! counted but where an attempt was no success.

mod session;
mod tally;

use std::{fmt, sync::Arc};

use self::session::Candidate;
pub(crate) use self::tally::Tally;
pub use self::{
    session::ShadowSession,
    tally::{Disagreement, DisagreementKind, ShadowStats},
};
use crate::policy::{Part, Policy, RequestHead, RetryPolicy};

/// A policy that decides, and another one that is only asked; see [the module](self).
///
/// # Clone
///
/// Clones share the counters and the candidate's budget.
#[derive(Clone)]
pub struct Shadow<L> {
    live: L,
    candidate: Option<RetryPolicy>,
    tally: Arc<Tally>,
}

impl<L> Shadow<L> {
    /// Decides by `live`, and asks `candidate` what it would do.
    pub fn new(live: L, candidate: RetryPolicy) -> Self {
        Self {
            live,
            candidate: Some(candidate.apart()),
            tally: Arc::default(),
        }
    }

    /// Asks nobody.
    #[cfg(feature = "serde")]
    pub(crate) fn alone(live: L) -> Self {
        Self {
            live,
            candidate: None,
            tally: Arc::default(),
        }
    }

    /// Calls `hear` at each disagreement. It runs inside of the request's task, so it should be
    /// quick. The counters start anew.
    #[must_use]
    pub fn on_disagreement<F>(self, hear: F) -> Self
    where
        F: Fn(&Disagreement) + Send + Sync + 'static,
    {
        Self {
            tally: Arc::new(Tally::heard_by(Box::new(hear))),
            ..self
        }
    }

    /// What was counted so far.
    pub fn stats(&self) -> ShadowStats {
        self.tally.stats()
    }

    /// The policy that decides.
    pub fn live(&self) -> &L {
        &self.live
    }

    /// The policy that is asked, with its own budget; `None` if a document named none.
    pub fn candidate(&self) -> Option<&RetryPolicy> {
        self.candidate.as_ref()
    }

    /// The counters, for those who read them later.
    #[cfg(feature = "telemetry")]
    pub(crate) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }
}

impl<L: Policy> Policy for Shadow<L> {
    type Session = ShadowSession<L::Session>;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        // A dry run touches nothing that requests share.
        let candidate = match (&self.candidate, request.rehearsal()) {
            (Some(candidate), None) => Some(Candidate::new(
                candidate.session(request),
                request.method().clone(),
                &self.tally,
            )),
            _ => None,
        };
        ShadowSession::new(self.live.session(request), candidate)
    }

    fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        self.live.parts(visit);
        if let Some(candidate) = &self.candidate {
            candidate.parts(&mut |part| visit(part.within("candidate")));
        }
    }
}

impl<L: fmt::Debug> fmt::Debug for Shadow<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow")
            .field("live", &self.live)
            .field("candidate", &self.candidate)
            .field("stats", &self.stats())
            .finish()
    }
}
