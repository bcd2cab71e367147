//! What the sessions of a dry run have in place of chance and of what requests share.
//!
//! A [`RequestHead`](super::RequestHead) carries it, and whoever wrote a policy hands the head on
//! to the policies that it is made of. So each [`RetryPolicy`](super::RetryPolicy) learns of the
//! dry run, wherever it is, and gives out a session that shares nothing.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{Rng, StopReason};
use crate::{
    budget::{RetryBudget, RetryPermit, Slot},
    reason::FailureKind,
};

/// One request of a dry run.
#[derive(Clone, Debug)]
pub(crate) struct Rehearsal {
    /// Where the session's random numbers come from.
    pub(crate) rng: Rng,
    pub(crate) ledger: Arc<Ledger>,
}

impl Rehearsal {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            rng,
            ledger: Arc::default(),
        }
    }
}

/// What the sessions of one request would ask of their budgets.
///
/// A dry run asks here, and never the session itself: one that is not this crate's may take from
/// something that is in use.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// What the retry that was decided on last would take.
    due: Option<Due>,
    /// Whether a session of this crate's was given out.
    is_known: bool,
    /// Whether a session has a budget that cannot be asked without taking from it.
    has_foreign: bool,
}

/// What a retry costs, and the copy of the budget that it is taken from.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) budget: RetryBudget,
    pub(crate) slot: Slot,
    pub(crate) kind: FailureKind,
    pub(crate) throttled: bool,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Nothing that holds the lock can panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of this crate's was given out, whose budgets are all known.
    pub(crate) fn know(&self) {
        self.entries().is_known = true;
    }

    /// A session was given out whose budget is another library's.
    pub(crate) fn know_foreign(&self) {
        let mut entries = self.entries();
        entries.is_known = true;
        entries.has_foreign = true;
    }

    /// Sets what the retry that was decided on would take.
    pub(crate) fn set_due(&self, due: Option<Due>) {
        self.entries().due = due;
    }

    /// Takes what is due from the copy of the budget.
    pub(crate) fn commit(&self, now: Instant) -> Result<RetryPermit, StopReason> {
        let due = self.entries().due.take();
        let Some(due) = due else {
            return Ok(RetryPermit::free());
        };
        match due.budget.permit(due.slot, due.kind, due.throttled, now) {
            Ok((permit, _)) => Ok(permit),
            Err(refused) => Err(StopReason::BudgetExhausted(refused)),
        }
    }

    /// Whether there may be a budget that was not asked, so that it is taken to be full.
    pub(crate) fn assumes_budget(&self) -> bool {
        let entries = self.entries();
        entries.has_foreign || !entries.is_known
    }
}
