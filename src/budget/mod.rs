//! Overload protection that all requests share: never a retry storm.
//!
//! Counts limit what one request may do; they cannot see that ten thousand others do the same.
//! A [`RetryBudget`] can: every success earns a fraction of a retry, every retry spends one, and
//! so that a client can retry at all when nothing succeeds, each request that fails earns a
//! smaller fraction. When a service is down, that is all that is earned, and retries stop by
//! themselves.
//!
//! # How much it lets through
//!
//! A bucket starts full. In any stretch of time with *s* successes, *f* requests that failed and
//! asked for a retry, and *t* seconds, it grants retries that cost at most
//!
//! > capacity + ratio · *s* + min_ratio · *f* + min_per_second · *t*
//!
//! tokens (rounded up to a thousandth), whatever the order of events and the number of threads.
//! The arithmetic is exact, in thousandths of a token: a ratio of 0.6 is 60 %.
//!
//! # What it costs
//!
//! A bucket is one atomic word. A success that finds it full reads that word and writes nothing:
//! no lock, no clock, no allocation and no shared write. With a budget per authority, only
//! authorities that needed a retry lately have a bucket; for the others a success is one read as
//! well. See [`RetryBudgetBuilder::slots`] for how their number is bounded.
//!
//! # Two more limits
//!
//! [`AdaptiveThrottle`](crate::throttle::AdaptiveThrottle) refuses requests, first attempts too, to a server that refuses most of
//! them anyway. [`InFlightLimit`] caps how many retries run at once. Both are optional.
//!
//! # Differences from `tower::retry::budget`
//!
//! - `TpsBudget` divides one by the ratio and cuts off the rest, which makes 0.6 and 0.9 both
//!   100 % and 0.4 50 % ([tower-rs/tower#857]). Here the ratio is kept as it is.
//! - `TpsBudget` takes a mutex and reads the clock on each success.
//! - A `TpsBudget` deposit is forgotten after its ttl. Here what is saved is bounded by the
//!   capacity and not by age.
//! - Budgets here know authorities, and costs by the kind of failure.
//!
//! Either can stand in for the other: with the `tower` feature, `RetryBudget::from_tower` takes
//! any `Budget` of tower's, and [`RetryBudget`] implements that trait.
//!
//! [tower-rs/tower#857]: https://github.com/tower-rs/tower/issues/857

mod bucket;
mod builder;
mod in_flight;
mod permit;
mod scope;
pub(crate) mod sync;
pub(crate) mod table;
#[cfg(feature = "tower")]
mod tower;
#[cfg(feature = "serde")]
mod written;

pub(crate) use self::in_flight::InFlightPlace;
#[cfg(feature = "mounts")]
pub(crate) use self::scope::KeyHasher;
#[cfg(feature = "mounts")]
pub(crate) use self::scope::host_and_port;
#[cfg(feature = "serde")]
pub(crate) use self::written::{BudgetKind, Written};
pub use self::{
    builder::RetryBudgetBuilder, in_flight::InFlightLimit, permit::RetryPermit, scope::Scope,
};
// What tests and simulations of this workspace drive a budget with, and no API.
#[doc(hidden)]
pub use self::scope::Slot;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    bucket::{Bucket, Limits, Tick, UNITS_PER_TOKEN},
    sync::{AtomicU64, Ordering::Relaxed},
    table::{Place, Table},
};
pub use crate::reason::Refused;
use crate::reason::{FailureKind, InvalidPolicy};

// What is refused is told in thousandths.
const _: () = assert!(UNITS_PER_TOKEN == 1000);

/// How long after its last use a bucket that is not full may pass to another key. Only matters
/// where the minimum rate does not fill it sooner.
const IDLE: Duration = Duration::from_secs(60);

/// A limit on the retries of many requests together; see the [module](self).
///
/// # Clone
///
/// Clones share the budget, also between layers.
///
/// # Example
///
/// ```
/// use std::time::Instant;
/// use tower_http_retry::{budget::RetryBudget, classify::FailureKind};
///
/// let budget = RetryBudget::builder()
///     .ratio(0.2)
///     .min_per_second(0)
///     .capacity(1)
///     .build()?;
/// let now = tokio::time::Instant::now().into_std();
/// let slot = budget.slot(&http::Uri::from_static("http://example.com/"));
///
/// // The bucket starts full: one retry is granted. The next has to be earned.
/// assert!(budget.withdraw(slot, FailureKind::Status, false, now).is_ok());
/// assert!(budget.withdraw(slot, FailureKind::Status, false, now).is_err());
/// for _ in 0..5 {
///     budget.deposit(slot);
/// }
/// assert!(budget.withdraw(slot, FailureKind::Status, false, now).is_ok());
/// # Ok::<_, tower_http_retry::policy::InvalidPolicy>(())
/// ```
#[derive(Clone, Debug)]
pub struct RetryBudget {
    inner: Arc<Inner>,
}

struct Inner {
    rules: Rules,
    scope: Scope,
    /// What the buckets' ticks count from.
    origin: Instant,
    store: Store,
    counters: OwnLine<Counters>,
}

/// Keeps a value that is written apart from those that are only read.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct OwnLine<T>(pub(crate) T);

#[derive(Debug)]
enum Store {
    One(OwnLine<Bucket>),
    Many(Table<Bucket>),
    #[cfg(feature = "tower")]
    Foreign(tower::Foreign),
}

/// Written only where a retry is asked for.
#[derive(Debug, Default)]
struct Counters {
    granted: AtomicU64,
    refused: AtomicU64,
    refunded: AtomicU64,
    borrowed: AtomicU64,
}

/// The settings, in units.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rules {
    limits: Limits,
    deposit: u32,
    /// What a request that fails earns.
    min_deposit: u32,
    costs: Costs,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Costs {
    connect: u32,
    read: u32,
    status: u32,
    other: u32,
    throttled: Option<u32>,
}

impl Costs {
    fn of(&self, kind: FailureKind, throttled: bool) -> u32 {
        match self.throttled {
            Some(cost) if throttled => cost,
            _ => match kind {
                FailureKind::Connect => self.connect,
                FailureKind::Read => self.read,
                FailureKind::Status => self.status,
                FailureKind::Other => self.other,
            },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A retry takes its cost if it is there.
    Plain,
    /// The same, and a success of a retry gives its cost back in place of the deposit.
    GivesBack,
    /// Each failure is charged; retries are granted while more than this is left.
    Threshold(u32),
}

/// What a granted retry took from the budget: may be given back once, see
/// [`RetryBudget::refund`].
///
/// Dropping it gives nothing back, which is right for a retry that was sent.
#[derive(Debug)]
#[doc(hidden)]
pub struct Withdrawal {
    index: u32,
    units: u32,
}

/// A budget's counters at one moment; see [`RetryBudget::stats`].
///
/// Deposits are not counted: that would be a shared write on each success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetStats {
    /// Retries that were granted.
    pub granted: u64,
    /// Retries that were refused.
    pub refused: u64,
    /// Granted retries that were given back.
    pub refunded: u64,
    /// Requests for a retry that had to use another key's bucket because the table was full.
    pub borrowed: u64,
    /// Buckets that are not full: keys that have lately retried more than they earned.
    pub active: usize,
    /// Buckets that there can be at most.
    pub slots: usize,
}

fn tokens(units: u32) -> f64 {
    f64::from(units) / f64::from(UNITS_PER_TOKEN)
}

/// Two budgets are equal if they have the same settings; what is left in them does not matter.
impl PartialEq for RetryBudget {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&*self.inner, &*other.inner);
        Arc::ptr_eq(&self.inner, &other.inner) || a.rules == b.rules && a.scope == b.scope
    }
}

impl RetryBudget {
    /// Starts with the default's settings; see [`RetryBudget::default`].
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder::new()
    }

    /// The default's settings with one bucket for all requests.
    pub fn shared() -> Self {
        Self::builder().scope(Scope::Shared).build_unchecked()
    }

    /// The quota of the AWS SDKs' standard mode, specification 2.1: a bucket of 500 tokens; a
    /// retry after throttling costs 5, any other 14; a success at the first attempt earns 1, a
    /// success of a retry gets back what that retry cost ([`RetryBudget::deposit_retried`]).
    /// There is no minimum rate: when all is spent, only successes help.
    pub fn aws() -> Self {
        RetryBudgetBuilder::aws().build_unchecked()
    }

    /// gRPC's `retryThrottling` ([gRFC A6]): the bucket starts with `max_tokens`, each failure
    /// takes one, each success earns `token_ratio`, and retries are granted while more than half
    /// of `max_tokens` is left. As there, `token_ratio` is cut to three decimals.
    ///
    /// A failure counts whether or not it is followed by a retry: see [`RetryBudget::failed`];
    /// and so a retry that is cancelled gives nothing back.
    ///
    /// # Errors
    ///
    /// `max_tokens` must be from 1 to 1000, `token_ratio` from 0.001 to 1000.
    ///
    /// [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
    pub fn grpc(max_tokens: u32, token_ratio: f64) -> Result<Self, InvalidPolicy> {
        RetryBudgetBuilder::grpc(max_tokens, token_ratio).build()
    }

    /// A full budget with the same settings for a single request of a dry run. `None` if the
    /// budget is another library's, whose settings are not known.
    pub(crate) fn fresh(&self) -> Option<Self> {
        match &self.inner.store {
            Store::One(_) | Store::Many(_) => Some(Inner::new(
                self.inner.rules,
                Scope::Shared,
                Store::One(OwnLine::default()),
            )),
            #[cfg(feature = "tower")]
            Store::Foreign(_) => None,
        }
    }

    /// A full budget of the same size with the same settings. `None` if the budget is another
    /// library's.
    #[cfg(feature = "shadow")]
    pub(crate) fn copy(&self) -> Option<Self> {
        let store = match &self.inner.store {
            Store::One(_) => Store::One(OwnLine::default()),
            Store::Many(table) => Store::Many(Table::new(table.len())),
            #[cfg(feature = "tower")]
            Store::Foreign(_) => return None,
        };
        let scope = self.inner.scope.clone();
        Some(Inner::new(self.inner.rules, scope, store))
    }

    /// The slot of a request to `uri`, for the other methods.
    #[inline]
    #[doc(hidden)]
    pub fn slot(&self, uri: &http::Uri) -> Slot {
        self.inner.scope.slot(uri)
    }

    /// Whether requests count that could not be retried in any case: they do to gRPC, "regardless
    /// of service or method invoked" (gRFC A6).
    pub(crate) fn counts_every_request(&self) -> bool {
        matches!(self.inner.rules.mode, Mode::Threshold(_))
    }

    /// Which requests share a bucket.
    #[doc(hidden)]
    pub fn scope(&self) -> &Scope {
        &self.inner.scope
    }

    /// Earns the ratio: to be called for each success of a request that could have been retried.
    /// A layer does so; one that could not, because of [`RetryDisabled`](crate::policy::RetryDisabled)
    /// or a `total` of 0, for instance, earns nothing for others.
    ///
    /// If the bucket is full this reads one word and writes nothing.
    #[inline(always)]
    #[doc(hidden)]
    pub fn deposit(&self, slot: Slot) {
        match &self.inner.store {
            Store::One(bucket) => bucket.0.deposit(self.inner.rules.deposit),
            // A key without a bucket has a full one. One that uses another's earns nothing:
            // it would earn for that other.
            Store::Many(table) => {
                if let Some(bucket) = table.find(slot.0) {
                    bucket.deposit(self.inner.rules.deposit);
                }
            }
            #[cfg(feature = "tower")]
            Store::Foreign(budget) => budget.deposit(),
        }
    }

    /// Earns the minimum: to be called once for each request that fails, before its first retry
    /// is asked for.
    pub(crate) fn deposit_failed(&self, slot: Slot) {
        let amount = self.inner.rules.min_deposit;
        match &self.inner.store {
            Store::One(bucket) => bucket.0.deposit(amount),
            Store::Many(table) => {
                if let Some(bucket) = table.find(slot.0) {
                    bucket.deposit(amount);
                }
            }
            #[cfg(feature = "tower")]
            Store::Foreign(_) => {}
        }
    }

    /// The same for a success of a retry, where `last` is what that retry took. Differs from
    /// [`deposit`](Self::deposit) only with [`RetryBudget::aws`].
    #[inline(never)]
    #[doc(hidden)]
    pub fn deposit_retried(&self, slot: Slot, last: Withdrawal) {
        match (self.inner.rules.mode, self.inner.bucket(last.index)) {
            (Mode::GivesBack, Some(bucket)) => bucket.deposit(last.units),
            _ => self.deposit(slot),
        }
    }

    /// Asks for a retry after a failure of `kind`; `throttled` says that the server asked for
    /// less load (429, for instance). `now` is the time by the caller's clock, tokio's in
    /// production; a clock that goes back does no harm.
    ///
    /// # Errors
    ///
    /// [`Refused`] if the budget does not allow it.
    #[doc(hidden)]
    pub fn withdraw(
        &self,
        slot: Slot,
        kind: FailureKind,
        throttled: bool,
        now: Instant,
    ) -> Result<Withdrawal, Refused> {
        let inner = &*self.inner;
        let answer = inner.withdraw(slot, inner.rules.costs.of(kind, throttled), now);
        let counters = &inner.counters.0;
        match &answer {
            Ok(_) => counters.granted.fetch_add(1, Relaxed),
            Err(_) => counters.refused.fetch_add(1, Relaxed),
        };
        answer
    }

    /// Asks for a retry as [`withdraw`](Self::withdraw) does. What it took is also kept by the
    /// session, for [`deposit_retried`](Self::deposit_retried).
    pub(crate) fn permit(
        &self,
        slot: Slot,
        kind: FailureKind,
        throttled: bool,
        now: Instant,
    ) -> Result<(RetryPermit, Withdrawal), Refused> {
        let taken = self.withdraw(slot, kind, throttled, now)?;
        let copy = Withdrawal { ..taken };
        Ok((RetryPermit::of(self.clone(), taken), copy))
    }

    /// Asks for a request that is sent beside another one, which has not failed: a hedge. Dropped
    /// unsent, the permit gives back what it took.
    ///
    /// gRPC's throttling charges failures, of which this is none: it is refused where retries would
    /// be, and takes nothing (gRFC A6, "Throttling Retry Attempts and Hedged RPCs").
    #[cfg(feature = "hedge")]
    pub(crate) fn permit_second(&self, slot: Slot, now: Instant) -> Result<RetryPermit, Refused> {
        let Mode::Threshold(floor) = self.inner.rules.mode else {
            let taken = self.withdraw(slot, FailureKind::Read, false, now)?;
            return Ok(RetryPermit::of(self.clone(), taken));
        };
        match self.balance(slot, now) {
            Some(balance) if balance <= tokens(floor) => Err(Refused::thousandths(
                (balance * f64::from(UNITS_PER_TOKEN)) as u32,
                floor,
            )),
            _ => Ok(RetryPermit::free()),
        }
    }

    /// Counts a failure for which no retry is asked, for instance because the request has none
    /// left. Matters only with [`RetryBudget::grpc`], where each failure is charged;
    /// [`withdraw`](Self::withdraw) has already done it for those that ask.
    #[doc(hidden)]
    pub fn failed(&self, slot: Slot, now: Instant) {
        let inner = &*self.inner;
        if let Mode::Threshold(_) = inner.rules.mode {
            // The answer is of no interest: nothing is asked for.
            let _ = inner.withdraw(slot, inner.rules.costs.other, now);
        }
    }

    /// Gives back what a retry took that was never sent, for instance because the caller gave up
    /// during the wait.
    ///
    /// A bucket never holds more than its capacity. A budget of tower's cannot take back and
    /// does not.
    #[doc(hidden)]
    pub fn refund(&self, withdrawal: Withdrawal) {
        let inner = &*self.inner;
        if let Some(bucket) = inner.bucket(withdrawal.index) {
            bucket.deposit(withdrawal.units);
        }
        inner.counters.0.refunded.fetch_add(1, Relaxed);
    }

    /// The tokens that `slot` has at `now`. `None` if the budget is another library's.
    #[doc(hidden)]
    pub fn balance(&self, slot: Slot, now: Instant) -> Option<f64> {
        let inner = &*self.inner;
        let limits = inner.rules.limits;
        let bucket = match &inner.store {
            Store::One(bucket) => Some(&bucket.0),
            Store::Many(table) => table.find(slot.0),
            #[cfg(feature = "tower")]
            Store::Foreign(_) => return None,
        };
        Some(tokens(bucket.map_or(limits.capacity, |bucket| {
            bucket.balance(limits, inner.tick(now))
        })))
    }

    /// What is left at `now` in the bucket that has least, of a full one. `None` if the budget is
    /// another library's. Walks through the table.
    #[cfg(feature = "telemetry")]
    pub(crate) fn lowest_fullness(&self, now: Instant) -> Option<f64> {
        let (inner, capacity) = (&*self.inner, self.capacity()?);
        let (limits, tick) = (inner.rules.limits, inner.tick(now));
        let balance = |bucket: &Bucket| bucket.balance(limits, tick);
        let lowest = match &inner.store {
            Store::One(bucket) => Some(balance(&bucket.0)),
            Store::Many(table) => table.values().map(balance).min(),
            #[cfg(feature = "tower")]
            Store::Foreign(_) => return None,
        };
        // A budget that was never asked is full.
        Some(lowest.map_or(1.0, |lowest| tokens(lowest) / capacity))
    }

    /// The tokens that a request earns that fails. `None` if the budget is another library's.
    pub(crate) fn min_ratio(&self) -> Option<f64> {
        match &self.inner.store {
            Store::One(_) | Store::Many(_) => Some(tokens(self.inner.rules.min_deposit)),
            #[cfg(feature = "tower")]
            Store::Foreign(_) => None,
        }
    }

    /// The tokens that a full bucket holds. `None` if the budget is another library's.
    pub fn capacity(&self) -> Option<f64> {
        match &self.inner.store {
            Store::One(_) | Store::Many(_) => Some(tokens(self.inner.rules.limits.capacity)),
            #[cfg(feature = "tower")]
            Store::Foreign(_) => None,
        }
    }

    /// The counters, and how many buckets are in use at `now`. Walks through the table.
    pub fn stats(&self, now: Instant) -> BudgetStats {
        let inner = &*self.inner;
        let limits = inner.rules.limits;
        let tick = inner.tick(now);
        let in_use = |bucket: &Bucket| bucket.balance(limits, tick) < limits.capacity;
        let (active, slots) = match &inner.store {
            Store::One(bucket) => (usize::from(in_use(&bucket.0)), 1),
            Store::Many(table) => (table.values().filter(|b| in_use(b)).count(), table.len()),
            #[cfg(feature = "tower")]
            Store::Foreign(_) => (0, 0),
        };
        let counters = &inner.counters.0;
        BudgetStats {
            granted: counters.granted.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            refunded: counters.refunded.load(Relaxed),
            borrowed: counters.borrowed.load(Relaxed),
            active,
            slots,
        }
    }
}

impl Default for RetryBudget {
    /// 20 % extra load: a ratio of 0.2, 0.1 for each request that fails and a token in 200 seconds,
    /// a capacity of 20 tokens, a retry costs 1, one bucket per authority.
    fn default() -> Self {
        Self::builder().build_unchecked()
    }
}

impl Inner {
    // Makes the handle at once: nothing else owns one of these.
    #[expect(clippy::new_ret_no_self)]
    fn new(rules: Rules, scope: Scope, store: Store) -> RetryBudget {
        RetryBudget {
            inner: Arc::new(Self {
                rules,
                scope,
                origin: tokio::time::Instant::now().into_std(),
                store,
                counters: OwnLine::default(),
            }),
        }
    }

    fn tick(&self, now: Instant) -> Tick {
        Tick::since(self.origin, now)
    }

    fn withdraw(&self, slot: Slot, cost: u32, now: Instant) -> Result<Withdrawal, Refused> {
        let tick = self.tick(now);
        let (index, bucket) = match &self.store {
            Store::One(bucket) => (0, &bucket.0),
            Store::Many(table) => {
                let place = self.claim(table, slot, tick);
                (place.index, place.value)
            }
            #[cfg(feature = "tower")]
            Store::Foreign(budget) => return budget.withdraw(),
        };
        let limits = self.rules.limits;
        let (outcome, units, needed) = match self.rules.mode {
            Mode::Plain | Mode::GivesBack => (bucket.withdraw(limits, cost, tick), cost, cost),
            Mode::Threshold(floor) => (bucket.charge(limits, cost, floor, tick), 0, floor),
        };
        match outcome {
            Ok(()) => Ok(Withdrawal { index, units }),
            Err(balance) => Err(Refused::thousandths(balance, needed)),
        }
    }

    fn claim<'a>(&self, table: &'a Table<Bucket>, slot: Slot, tick: Tick) -> Place<'a, Bucket> {
        let limits = self.rules.limits;
        // A full bucket says nothing about its key, so nothing is lost with it. One that is not
        // full passes on what it holds: were it filled, new keys could be used to make tokens.
        let release = |bucket: &Bucket| {
            let missing = limits.capacity - bucket.balance(limits, tick);
            (missing == 0 || tick.is_past(bucket.last_used(), IDLE)).then_some(missing)
        };
        table.claim(slot.0, release).unwrap_or_else(|| {
            self.counters.0.borrowed.fetch_add(1, Relaxed);
            table.borrow(slot.0)
        })
    }

    fn bucket(&self, index: u32) -> Option<&Bucket> {
        match &self.store {
            Store::One(bucket) => Some(&bucket.0),
            Store::Many(table) => table.get(index),
            #[cfg(feature = "tower")]
            Store::Foreign(_) => None,
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the table: it has a thousand entries.
        f.debug_struct("Inner")
            .field("rules", &self.rules)
            .field("scope", &self.scope)
            .field("counters", &self.counters.0)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
