//! Adaptive throttling on the client: requests that would most likely be refused by a server
//! that is overloaded are refused here, where it costs nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::Uri;

use crate::{
    budget::{
        OwnLine, Scope, Slot,
        sync::{AtomicU64, Ordering::Relaxed},
        table::Table,
    },
    dice::Dice,
    reason::{InvalidPolicy, StopReason},
    stack::{Admission, Admit, Answer, Ask, AskFor, Ticket},
};

const K: f64 = 2.0;
const WINDOW: Duration = Duration::from_secs(120);
const SLOTS: usize = 256;
const MAX_SLOTS: usize = 1 << 16;

/// Parts of the window. It slides by one part at a time.
const PARTS: usize = 12;

/// An [`Admission`]: client-side throttling as in the SRE book, chapter [Handling Overload].
///
/// Over a sliding window, 2 minutes by default, it counts for each authority the *requests* that
/// were made, also those refused here, and those the server *accepted*. A request is refused
/// with the probability
///
/// > max(0, (requests − K · accepts) / (requests + 1))
///
/// With K = 2 nothing is refused while the server accepts at least half. When it accepts nothing,
/// nearly everything is refused, but some requests still go out and find out when it is better:
/// about one in a window. So after an outage in which nothing was accepted it takes minutes until
/// all is let through again: 8 after one of a minute at 10 requests a second. With a
/// [cap](AdaptiveThrottleBuilder::max_probability) of 0.9 it is half of that; a shorter window
/// makes it sooner, too.
///
/// Accepted is what the server did not turn down for overload: a 404 is accepted, a 503 is not.
///
/// Registered with [`RetryLayer::admission`](crate::RetryLayer::admission), it is for all attempts,
/// first ones too; a [`RetryBudget`](crate::budget::RetryBudget) limits retries only. A request that
/// is dropped before it had an outcome takes its count back. Alone in a stack it is a
/// [`Layer`](tower_layer::Layer) as well; see [`Admitted`](crate::Admitted). Its counters are written on each request, without a lock: one atomic word for each
/// twelfth of the window.
///
/// # Clone
///
/// Clones share the counters.
///
/// # Example
///
/// ```
/// use tower_http_retry::throttle::AdaptiveThrottle;
///
/// let throttle = AdaptiveThrottle::builder().k(2.0).build()?;
/// let slot = throttle.slot(&http::Uri::from_static("http://example.com/"));
/// let now = tokio::time::Instant::now().into_std();
///
/// // Ten requests, none accepted.
/// for _ in 0..10 {
///     throttle.on_request(slot, now);
/// }
/// assert_eq!(throttle.probability(slot, now), 10.0 / 11.0);
/// assert!(throttle.should_reject(slot, now, 0.9));
/// assert!(!throttle.should_reject(slot, now, 0.95));
/// # Ok::<_, tower_http_retry::policy::InvalidPolicy>(())
/// ```
///
/// [Handling Overload]: https://sre.google/sre-book/handling-overload/
#[derive(Clone, Debug)]
pub struct AdaptiveThrottle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    k: f64,
    max_probability: f64,
    part_ms: u64,
    scope: Scope,
    /// What the parts are numbered from.
    origin: Instant,
    table: Table<Ring>,
    counters: OwnLine<Counters>,
    dice: Dice,
}

#[derive(Debug, Default)]
struct Counters {
    rejected: AtomicU64,
    untracked: AtomicU64,
}

/// A throttle's counters at one moment; see [`AdaptiveThrottle::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThrottleStats {
    /// Requests that were refused.
    pub rejected: u64,
    /// Requests that were not counted, and so never refused, because the table was full.
    pub untracked: u64,
    /// Keys with a request in the window.
    pub active: usize,
    /// Keys that there can be at most.
    pub slots: usize,
}

impl AdaptiveThrottle {
    /// Starts with K = 2, a window of 2 minutes, and counters for each authority.
    pub fn builder() -> AdaptiveThrottleBuilder {
        AdaptiveThrottleBuilder {
            k: K,
            max_probability: 1.0,
            window: WINDOW,
            scope: Scope::PerAuthority,
            slots: SLOTS,
            seed: None,
        }
    }

    /// The slot of a request to `uri`, for the other methods; that of a budget with the same
    /// scope will do as well.
    pub fn slot(&self, uri: &http::Uri) -> Slot {
        self.inner.scope.slot(uri)
    }

    /// Counts a request, whether it is sent or was refused by
    /// [`should_reject`](Self::should_reject), which is to be asked before.
    pub fn on_request(&self, slot: Slot, now: Instant) {
        self.count(slot, self.inner.part(now));
    }

    fn count(&self, slot: Slot, part: u64) {
        let inner = &*self.inner;
        let release = |ring: &Ring| (ring.sum(part).requests == 0).then_some(0);
        match inner.table.claim(slot.0, release) {
            Some(place) => place.value.count(part, 1, 0),
            None => {
                inner.counters.0.untracked.fetch_add(1, Relaxed);
            }
        }
    }

    /// Counts a request that the server accepted.
    pub fn on_accept(&self, slot: Slot, now: Instant) {
        let inner = &*self.inner;
        if let Some(ring) = inner.table.find(slot.0) {
            ring.count(inner.part(now), 0, 1);
        }
    }

    /// Whether to refuse a request at `now`. `random` is evenly distributed from 0 to below 1.
    pub fn should_reject(&self, slot: Slot, now: Instant, random: f64) -> bool {
        self.rejects(slot, self.inner.part(now), random)
    }

    fn rejects(&self, slot: Slot, part: u64, random: f64) -> bool {
        let rejected = random < self.probability_in(slot, part);
        if rejected {
            self.inner.counters.0.rejected.fetch_add(1, Relaxed);
        }
        rejected
    }

    /// The probability with which a request is refused at `now`: from 0 to below 1.
    pub fn probability(&self, slot: Slot, now: Instant) -> f64 {
        self.probability_in(slot, self.inner.part(now))
    }

    fn probability_in(&self, slot: Slot, part: u64) -> f64 {
        let inner = &*self.inner;
        let Some(ring) = inner.table.find(slot.0) else {
            return 0.0;
        };
        inner.probability(ring.sum(part))
    }

    /// The highest [`probability`](Self::probability) of all keys. Walks through the table.
    #[cfg(feature = "telemetry")]
    pub(crate) fn highest_probability(&self, now: Instant) -> f64 {
        let inner = &*self.inner;
        let part = inner.part(now);
        let rings = inner.table.values();
        rings
            .map(|ring| inner.probability(ring.sum(part)))
            .fold(0.0, f64::max)
    }

    /// The counters, and how many keys were active in the window before `now`. Walks through the
    /// table.
    pub fn stats(&self, now: Instant) -> ThrottleStats {
        let inner = &*self.inner;
        let part = inner.part(now);
        let active = |ring: &&Ring| ring.sum(part).requests > 0;
        ThrottleStats {
            rejected: inner.counters.0.rejected.load(Relaxed),
            untracked: inner.counters.0.untracked.load(Relaxed),
            active: inner.table.values().filter(active).count(),
            slots: inner.table.len(),
        }
    }
}

impl Admission for AdaptiveThrottle {
    fn ticket(&self, uri: &Uri) -> Ticket {
        Ticket::for_key(self.slot(uri).0.get())
    }

    fn admit(&self, ticket: &mut Ticket, ask: &Ask) -> Admit {
        // What was admitted before it waited is counted already.
        if ask.stage == AskFor::Again {
            return Admit::Now;
        }
        let slot = Slot::from_key(ticket.key);
        let part = self.inner.part(ask.now);
        let is_rejected = self.rejects(slot, part, self.inner.dice.draw());
        self.count(slot, part);
        if is_rejected {
            return Admit::Refuse(StopReason::Throttled);
        }
        ticket.memo = part.wrapping_add(1);
        Admit::Now
    }

    fn answered(&self, ticket: &mut Ticket, answer: &Answer) {
        // Nothing was counted.
        if ticket.memo == 0 {
            return;
        }
        let part = std::mem::take(&mut ticket.memo).wrapping_sub(1);
        let slot = Slot::from_key(ticket.key);
        if answer.dropped {
            if let Some(ring) = self.inner.table.find(slot.0) {
                ring.take_back(part);
            }
        } else if answer.is_accepted() {
            self.on_accept(slot, answer.now);
        }
    }
}

impl Inner {
    fn probability(&self, Counts { requests, accepts }: Counts) -> f64 {
        // 25 bits at most: exact.
        let (requests, accepts) = (requests as f64, accepts as f64);
        ((requests - self.k * accepts) / (requests + 1.0)).clamp(0.0, self.max_probability)
    }

    fn part(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin);
        let ms = elapsed
            .as_secs()
            .saturating_mul(1000)
            .saturating_add(u64::from(elapsed.subsec_millis()));
        ms / self.part_ms
    }
}

/// Builds an [`AdaptiveThrottle`].
#[derive(Clone, Debug)]
#[must_use]
pub struct AdaptiveThrottleBuilder {
    k: f64,
    max_probability: f64,
    window: Duration,
    scope: Scope,
    slots: usize,
    seed: Option<u64>,
}

impl AdaptiveThrottleBuilder {
    /// How many requests go out for each one that is accepted before any is refused. Default 2;
    /// from 1 to 1000. Less refuses sooner and wastes less of the server's work; more lets
    /// through more and notices sooner that the server is better.
    pub fn k(mut self, k: f64) -> Self {
        self.k = k;
        self
    }

    /// The highest probability with which a request is refused. Default 1, which is no cap and
    /// the book's formula; from 0 to 1. With 0.9 at least one request in ten goes out, to a
    /// server that is down as well.
    pub fn max_probability(mut self, probability: f64) -> Self {
        self.max_probability = probability;
        self
    }

    /// How far back requests count. Default 2 minutes; from 120 ms to a day. It slides by a
    /// twelfth at a time.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Which requests are counted together. Default [`Scope::PerAuthority`].
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// How many keys are counted at the same time. Default 256; from 1 to 65 536, rounded up to
    /// a power of two of at least 8. A slot takes 104 bytes. It passes to another key when it saw
    /// no request for a whole window. A key that finds none of the 8 slots where it may live is
    /// not throttled.
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// Makes the decisions of a run repeatable. Without a seed, each is drawn anew.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Builds the throttle.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of its range.
    pub fn build(self) -> Result<AdaptiveThrottle, InvalidPolicy> {
        if !(1.0..=1000.0).contains(&self.k) {
            return Err(InvalidPolicy::new("k", self.k, "from 1 to 1000"));
        }
        if !(0.0..=1.0).contains(&self.max_probability) {
            return Err(InvalidPolicy::new(
                "max_probability",
                self.max_probability,
                "from 0 to 1",
            ));
        }
        let range = Duration::from_millis(120)..=Duration::from_secs(86_400);
        if !range.contains(&self.window) {
            return Err(InvalidPolicy::new(
                "window",
                format_args!("{:?}", self.window),
                "from 120 ms to 1 day",
            ));
        }
        let slots = match self.scope {
            Scope::Shared => 1,
            Scope::PerAuthority | Scope::Key(_) => self.slots,
        };
        if !(1..=MAX_SLOTS).contains(&slots) {
            return Err(InvalidPolicy::new("slots", slots, "from 1 to 65536"));
        }
        Ok(AdaptiveThrottle {
            inner: Arc::new(Inner {
                k: self.k,
                max_probability: self.max_probability,
                part_ms: (self.window.as_millis() as u64).div_ceil(PARTS as u64),
                scope: self.scope,
                origin: tokio::time::Instant::now().into_std(),
                table: Table::new(slots),
                counters: OwnLine::default(),
                dice: Dice::new(self.seed),
            }),
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    requests: u64,
    accepts: u64,
}

/// One word of a ring: 22 bits for the part's number, 21 each for its requests and accepts.
///
/// The number wraps after 4 million parts (485 days of the default window). A word that nothing
/// was counted in for exactly that long would be taken for new: harmless, and gone a window
/// later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    number: u64,
    counts: Counts,
}

const COUNT_BITS: u32 = 21;
const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;
const MAX_NUMBER: u64 = (1 << (u64::BITS - 2 * COUNT_BITS)) - 1;

impl Part {
    fn unpack(word: u64) -> Self {
        Self {
            number: word >> (2 * COUNT_BITS),
            counts: Counts {
                requests: word >> COUNT_BITS & MAX_COUNT,
                accepts: word & MAX_COUNT,
            },
        }
    }

    fn pack(self) -> u64 {
        self.number << (2 * COUNT_BITS) | self.counts.requests << COUNT_BITS | self.counts.accepts
    }

    /// How many parts before `number` this one is; far too many if it is after it.
    fn age(self, number: u64) -> u64 {
        number.wrapping_sub(self.number) & MAX_NUMBER
    }

    /// Counts up; at the words' end both are halved, which keeps their ratio.
    fn add(&mut self, requests: u64, accepts: u64) {
        let counts = &mut self.counts;
        counts.requests += requests;
        counts.accepts += accepts;
        if counts.requests > MAX_COUNT || counts.accepts > MAX_COUNT {
            counts.requests /= 2;
            counts.accepts /= 2;
        }
    }
}

/// The parts of the window, each where its number modulo their count says. A part that has become
/// too old is not cleared: its number tells.
///
/// A thread whose clock reading is a whole window old puts an old part in the place of a new one;
/// that part's counts are lost to the sum.
///
/// Relaxed: each word is a whole in itself, and a sum over them need not be of one instant.
#[derive(Debug, Default)]
struct Ring([AtomicU64; PARTS]);

impl Ring {
    fn count(&self, number: u64, requests: u64, accepts: u64) {
        let cell = &self.0[(number % PARTS as u64) as usize];
        let mut word = cell.load(Relaxed);
        loop {
            let mut part = Part::unpack(word);
            if part.age(number) != 0 {
                part = Part {
                    number: number & MAX_NUMBER,
                    counts: Counts::default(),
                };
            }
            part.add(requests, accepts);
            match cell.compare_exchange_weak(word, part.pack(), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(newer) => word = newer,
            }
        }
    }

    /// Takes back a request that was counted in the part `number`, if that is still there.
    fn take_back(&self, number: u64) {
        let cell = &self.0[(number % PARTS as u64) as usize];
        // An error is a part that has passed on, or was halved down to nothing.
        let _ = cell.fetch_update(Relaxed, Relaxed, |word| {
            let mut part = Part::unpack(word);
            if part.age(number) != 0 || part.counts.requests == 0 {
                return None;
            }
            part.counts.requests -= 1;
            Some(part.pack())
        });
    }

    fn sum(&self, number: u64) -> Counts {
        let mut sum = Counts::default();
        for cell in &self.0 {
            let part = Part::unpack(cell.load(Relaxed));
            // Without a branch: every request sums.
            let counts = u64::from(part.age(number) < PARTS as u64);
            sum.requests += part.counts.requests * counts;
            sum.accepts += part.counts.accepts * counts;
        }
        sum
    }
}

#[cfg(test)]
mod tests;
