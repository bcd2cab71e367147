//! A token bucket in one atomic word.
//!
//! The low 28 bits hold what is *missing* from the full bucket, in thousandths of a token; the
//! high 36 bits hold the tick (10 ms) up to which the minimum rate has been credited. So a word
//! of zeros is a full bucket, and "is it full" is one load and one mask.
//!
//! All orderings are relaxed: the word is the bucket's whole state, a read-modify-write always
//! sees the newest value of its own word, and no other memory is read on the strength of it.

use std::time::{Duration, Instant};

use super::sync::{AtomicU64, Ordering::Relaxed};

/// Parts that a token is counted in: ratios and costs are exact to three decimals.
pub(super) const UNITS_PER_TOKEN: u32 = 1000;

const MISSING_BITS: u32 = 28;
const MISSING: u64 = (1 << MISSING_BITS) - 1;

/// The largest capacity, cost, deposit, or rate a second, in units: 268 435.455 tokens.
pub(super) const MAX_UNITS: u32 = MISSING as u32;

/// A moment, in ticks since the budget was built. 36 bits of them last for 21 years, after which
/// the minimum rate is credited no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(u64);

impl Tick {
    const PER_SECOND: u64 = 100;
    const NANOS: u32 = 1_000_000_000 / Self::PER_SECOND as u32;
    const MAX: u64 = (1 << (u64::BITS - MISSING_BITS)) - 1;

    /// The tick that `now` lies in; the first one if the clock went back before `origin`.
    pub(super) fn since(origin: Instant, now: Instant) -> Self {
        Self::after(now.saturating_duration_since(origin))
    }

    pub(super) fn after(elapsed: Duration) -> Self {
        let ticks = elapsed
            .as_secs()
            .saturating_mul(Self::PER_SECOND)
            .saturating_add(u64::from(elapsed.subsec_nanos() / Self::NANOS));
        Self(ticks.min(Self::MAX))
    }

    /// Whether at least `wait` lies between `earlier` and this tick.
    pub(super) fn is_past(self, earlier: Self, wait: Duration) -> bool {
        self.0.saturating_sub(earlier.0) >= Self::after(wait).0
    }
}

/// What a bucket holds and how it refills, in units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    pub(super) capacity: u32,
    /// Units a second.
    pub(super) rate: u32,
}

impl Limits {
    /// Units earned from `last` to `now`: the difference of two points on one fixed staircase,
    /// so that however the time is cut up, the parts add up to the whole without a remainder.
    fn earned(self, last: Tick, now: Tick) -> u64 {
        // 36 + 28 bits: the products fit.
        let up_to = |tick: Tick| tick.0 * u64::from(self.rate) / Tick::PER_SECOND;
        up_to(now).saturating_sub(up_to(last))
    }
}

/// The word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    missing: u32,
    last: Tick,
}

impl State {
    fn unpack(word: u64) -> Self {
        Self {
            missing: (word & MISSING) as u32,
            last: Tick(word >> MISSING_BITS),
        }
    }

    fn pack(self) -> u64 {
        self.last.0 << MISSING_BITS | u64::from(self.missing)
    }

    /// With the minimum rate credited up to `now`; unchanged if `now` is not later.
    fn at(self, limits: Limits, now: Tick) -> Self {
        if now <= self.last {
            return self;
        }
        let missing = u64::from(self.missing).saturating_sub(limits.earned(self.last, now));
        Self {
            missing: missing as u32,
            last: now,
        }
    }

    fn balance(self, limits: Limits) -> u32 {
        limits.capacity.saturating_sub(self.missing)
    }
}

/// A token bucket; it starts full.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

impl Bucket {
    /// Adds `amount`, up to the capacity. A full bucket is only looked at.
    #[inline]
    pub(super) fn deposit(&self, amount: u32) {
        let word = self.0.load(Relaxed);
        if word & MISSING != 0 {
            self.fill(word, amount);
        }
    }

    #[inline(never)]
    fn fill(&self, mut word: u64, amount: u32) {
        loop {
            let added = u64::from(amount).min(word & MISSING);
            if added == 0 {
                return;
            }
            match self
                .0
                .compare_exchange_weak(word, word - added, Relaxed, Relaxed)
            {
                Ok(_) => return,
                Err(newer) => word = newer,
            }
        }
    }

    /// Takes `cost`, or says how much there is if that is less.
    pub(super) fn withdraw(&self, limits: Limits, cost: u32, now: Tick) -> Result<(), u32> {
        self.update(limits, now, |state| {
            let balance = state.balance(limits);
            if balance < cost {
                return Err(balance);
            }
            state.missing += cost;
            Ok(())
        })
    }

    /// Takes `cost`, or what there is of it, and answers whether more than `floor` is left.
    pub(super) fn charge(
        &self,
        limits: Limits,
        cost: u32,
        floor: u32,
        now: Tick,
    ) -> Result<(), u32> {
        self.update(limits, now, |state| {
            state.missing = state.missing.saturating_add(cost).min(limits.capacity);
            let balance = state.balance(limits);
            if balance > floor {
                Ok(())
            } else {
                Err(balance)
            }
        })
    }

    /// Credits the time, applies `change` and keeps the outcome, also that of a refusal: the
    /// last tick tells later whether a bucket is still in use.
    fn update<R>(&self, limits: Limits, now: Tick, change: impl Fn(&mut State) -> R) -> R {
        let mut word = self.0.load(Relaxed);
        loop {
            let mut state = State::unpack(word).at(limits, now);
            let answer = change(&mut state);
            let new = state.pack();
            if new == word {
                return answer;
            }
            match self.0.compare_exchange_weak(word, new, Relaxed, Relaxed) {
                Ok(_) => return answer,
                Err(newer) => word = newer,
            }
        }
    }

    /// What could be withdrawn at `now`.
    pub(super) fn balance(&self, limits: Limits, now: Tick) -> u32 {
        State::unpack(self.0.load(Relaxed))
            .at(limits, now)
            .balance(limits)
    }

    /// When it was last withdrawn from, or refused.
    pub(super) fn last_used(&self) -> Tick {
        State::unpack(self.0.load(Relaxed)).last
    }
}

#[cfg(test)]
mod tests;
