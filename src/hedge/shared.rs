//! What all requests of a layer share: its settings, its budget, its estimates and its counters.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    HedgeStats,
    estimate::{Estimate, FLOOR},
};
use crate::{
    budget::{OwnLine, RetryBudget, RetryPermit, Scope, Slot, table::Table},
    lint::{Finding, LintCode},
    observe,
    own_header::OwnHeader,
    policy::RetryPolicy,
};

pub(super) type FreePlaces = Arc<dyn Fn() -> usize + Send + Sync>;

/// When a request is late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Delay {
    /// When it takes longer than all but this part of those before it.
    Measured,
    Fixed(Duration),
}

pub(super) struct Shared {
    pub(super) policy: RetryPolicy,
    pub(super) delay: Delay,
    pub(super) load: f64,
    pub(super) scope: Scope,
    pub(super) own_budget: RetryBudget,
    /// That of the retries, if it is not the policy's.
    pub(super) retry_budget: Option<RetryBudget>,
    pub(super) free_places: Option<FreePlaces>,
    pub(super) header: Option<OwnHeader>,
    pub(super) elsewhere: bool,
    pub(super) estimates: Table<Estimate>,
    pub(super) origin: Instant,
    /// Whether it was said that a body was not recorded in time.
    pub(super) said: AtomicBool,
    pub(super) counters: OwnLine<Counters>,
}

/// Written only where a hedge is due.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) won: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) over_budget: AtomicU64,
    pub(super) not_repeatable: AtomicU64,
    pub(super) no_room: AtomicU64,
    pub(super) asked_to_wait: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Why a hedge that is due is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Budget,
    Body,
    NoRoom,
    Quiet,
}

/// What a hedge took from both budgets. Dropped unsent, it is given back.
pub(super) struct Permits {
    own: RetryPermit,
    retry: Option<RetryPermit>,
}

impl Permits {
    pub(super) fn sent(self) {
        self.own.sent();
        if let Some(retry) = self.retry {
            retry.sent();
        }
    }
}

impl Shared {
    /// The time since the layer was made.
    pub(super) fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }

    /// The place of a scope's estimate; `None` if all places are taken.
    #[inline]
    pub(super) fn place(&self, slot: Slot) -> Option<(u32, &Estimate)> {
        match self.estimates.place_of(slot.0) {
            Some(place) => Some((place.index, place.value)),
            None => self.claim(slot),
        }
    }

    #[cold]
    fn claim(&self, slot: Slot) -> Option<(u32, &Estimate)> {
        let now = self.since_start(Instant::now());
        let place = self
            .estimates
            .claim(slot.0, |estimate| estimate.release(now))?;
        place.value.take_over(slot.0.get(), now);
        Some((place.index, place.value))
    }

    pub(super) fn estimate(&self, index: u32) -> Option<&Estimate> {
        self.estimates.get(index)
    }

    /// Takes what a hedge costs from both budgets, or nothing.
    pub(super) fn withdraw(
        &self,
        slot: Slot,
        own_policy: Option<&RetryPolicy>,
        uri: &http::Uri,
        now: Instant,
    ) -> Option<Permits> {
        let now = now.into_std();
        let own = self.own_budget.permit_second(slot, now).ok()?;
        let budget = match own_policy {
            Some(policy) => policy.budget(),
            None => self.retry_budget.as_ref().or(self.policy.budget()),
        };
        let retry = match budget {
            Some(budget) => Some(budget.permit_second(budget.slot(uri), now).ok()?),
            None => None,
        };
        Some(Permits { own, retry })
    }

    /// Whether a limit below has a place left besides the one that the hedge would take, as far as
    /// that is known.
    pub(super) fn has_room(&self) -> bool {
        self.free_places.as_ref().is_none_or(|free| free() > 1)
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        if refusal == Refusal::Body && !self.said.swap(true, Relaxed) {
            observe::finding(&Finding::new(
                LintCode::HedgeBeforeRecorded,
                "a request was late, and not hedged, since its body is not recorded to its end",
                "hedge bodies that are cloned or opened anew; a recorded one can only be hedged \
                 once all of it was read, and if it fits into the limit",
            ));
        }
        let counters = &self.counters.0;
        count(match refusal {
            Refusal::Budget => &counters.over_budget,
            Refusal::Body => &counters.not_repeatable,
            Refusal::NoRoom => &counters.no_room,
            Refusal::Quiet => &counters.asked_to_wait,
        });
    }

    pub(super) fn stats(&self) -> HedgeStats {
        let counters = &self.counters.0;
        HedgeStats {
            sent: counters.sent.load(Relaxed),
            won: counters.won.load(Relaxed),
            lost: counters.lost.load(Relaxed),
            failed: counters.failed.load(Relaxed),
            over_budget: counters.over_budget.load(Relaxed),
            not_repeatable: counters.not_repeatable.load(Relaxed),
            no_room: counters.no_room.load(Relaxed),
            asked_to_wait: counters.asked_to_wait.load(Relaxed),
        }
    }

    /// When a request to `uri` is late.
    pub(super) fn delay_of(&self, uri: &http::Uri) -> Option<Duration> {
        match self.delay {
            Delay::Fixed(delay) => Some(delay),
            Delay::Measured => {
                let place = self.estimates.place_of(self.scope.slot(uri).0)?;
                place.value.delay()
            }
        }
    }
}

impl Delay {
    /// Whether no hedge would be sent so soon.
    pub(super) fn is_too_short(self) -> bool {
        matches!(self, Self::Fixed(delay) if delay < FLOOR)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("delay", &self.delay)
            .field("max_extra_load", &self.load)
            .field("scope", &self.scope)
            .field("header", &self.header)
            .field("counters", &self.counters.0)
            .finish_non_exhaustive()
    }
}
