//! Requests are spread over what is left of a server's quota.

use std::time::{Duration, Instant};

use crate::{
    budget::{
        Slot,
        sync::{AtomicU64, Ordering::Relaxed},
    },
    policy::hints::Left,
};

/// Keys whose quotas are known at once.
const SLOTS: usize = 1024;

/// Answers that name the same end of a quota, to the second, may come in another order than they
/// were given.
const SAME_END: u64 = 1_500_000;

/// The quotas of which little is left, one for each key: lock-free, of a fixed size.
///
/// Two keys can meet in one place. The later quota then takes it, and the earlier one is
/// forgotten. A request that comes between two writes of an answer is spread a little too much or
/// too little. Neither does harm: the server has its own limit.
///
/// Times are in microseconds since the paces were made.
pub(super) struct Paces {
    origin: Instant,
    /// What is little, as a part of the quota.
    below: f64,
    places: Box<[Place]>,
}

#[derive(Default)]
struct Place {
    /// The key whose quota it is; 0 if there is none.
    owner: AtomicU64,
    /// How many requests were left at the last answer.
    left: AtomicU64,
    /// When there are more.
    end: AtomicU64,
    /// From one request to the next.
    interval: AtomicU64,
    /// When the next request may be sent.
    next: AtomicU64,
    /// Requests of all keys that meet here which have no answer yet.
    in_flight: AtomicU64,
}

impl Paces {
    pub(super) fn new(origin: Instant, below: f64) -> Self {
        Self {
            origin,
            below,
            places: (0..SLOTS).map(|_| Place::default()).collect(),
        }
    }

    pub(super) fn below(&self) -> f64 {
        self.below
    }

    /// A request is sent.
    pub(super) fn sent(&self, key: u64) {
        self.place(key).0.in_flight.fetch_add(1, Relaxed);
    }

    /// A request that was sent has ended.
    pub(super) fn ended(&self, key: u64) {
        // Never below 0: each that ends was sent.
        self.place(key).0.in_flight.fetch_sub(1, Relaxed);
    }

    /// Takes the next turn. Returns how long it is until then: zero, if enough is left, and never
    /// longer than until there is more.
    pub(super) fn take(&self, key: u64, now: Instant) -> Duration {
        let (place, owner) = self.place(key);
        let interval = place.interval.load(Relaxed);
        if interval == 0 || place.owner.load(Relaxed) != owner {
            return Duration::ZERO;
        }
        let (now, end) = (self.at(now), place.end.load(Relaxed));
        if now >= end {
            return Duration::ZERO;
        }
        let after = |next: u64| Some(next.max(now).saturating_add(interval));
        let turn = match place.next.fetch_update(Relaxed, Relaxed, after) {
            Ok(turn) | Err(turn) => turn.max(now).min(end),
        };
        Duration::from_micros(turn - now)
    }

    /// A server has said what is left of a quota, in the answer to a request that was sent.
    pub(super) fn learn(&self, key: u64, left: &[Left], now: Instant) {
        let (place, owner) = self.place(key);
        // The one that was answered is not among those that will use it up.
        let others = place.in_flight.load(Relaxed).saturating_sub(1);
        let slowest = left
            .iter()
            .filter(|left| self.is_little(left, others))
            .map(|left| (self.interval(left, others), left))
            .max_by_key(|(interval, _)| *interval);
        let is_same = place.owner.load(Relaxed) == owner;
        let Some((interval, left)) = slowest else {
            let known = place.end.load(Relaxed);
            let same_end = left
                .iter()
                .any(|left| self.end(left, now).abs_diff(known) < SAME_END);
            // An answer that was overtaken does not lift what a later one says.
            if is_same && !same_end && !left.is_empty() {
                place.interval.store(0, Relaxed);
            }
            return;
        };
        let (now, end) = (self.at(now), self.end(left, now));
        let same_end = is_same && end.abs_diff(place.end.load(Relaxed)) < SAME_END;
        if same_end && place.left.load(Relaxed) < left.requests {
            return;
        }
        place.left.store(left.requests, Relaxed);
        place.end.store(end, Relaxed);
        place.interval.store(interval, Relaxed);
        let first = now.saturating_add(interval);
        if same_end {
            // Turns that were given hold.
            let later = |next: u64| (next <= now).then_some(first);
            let _ = place.next.fetch_update(Relaxed, Relaxed, later);
        } else {
            place.next.store(first, Relaxed);
            place.owner.store(owner, Relaxed);
        }
    }

    /// Less than the part of the quota, or than those that are under way may use up.
    fn is_little(&self, left: &Left, in_flight: u64) -> bool {
        let of = left.of.unwrap_or(0) as f64;
        !left.reset.is_zero()
            && ((left.requests as f64) < self.below * of || left.requests < in_flight)
    }

    /// The time from one request to the next, if what is left is to last until there is more.
    fn interval(&self, left: &Left, in_flight: u64) -> u64 {
        let turns = left.requests.saturating_sub(in_flight).saturating_add(1);
        (micros(left.reset) / turns).max(1)
    }

    fn end(&self, left: &Left, now: Instant) -> u64 {
        self.at(now).saturating_add(micros(left.reset))
    }

    fn at(&self, time: Instant) -> u64 {
        micros(time.saturating_duration_since(self.origin))
    }

    /// A key's place, and the mark of its owner.
    fn place(&self, key: u64) -> (&Place, u64) {
        let hash = Slot::from_key(key).0.get();
        (&self.places[hash as usize % SLOTS], hash)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(retry_loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const A: u64 = 0x1234_5678_9abc_def0;
    /// In the same place.
    const B: u64 = 0x5678_5678_9abc_def0;

    fn paces() -> (Paces, Instant) {
        let now = tokio::time::Instant::now().into_std();
        (Paces::new(now, 0.1), now)
    }

    fn left(requests: u64, seconds: u64, of: Option<u64>) -> [Left; 1] {
        [Left {
            requests,
            reset: Duration::from_secs(seconds),
            of,
        }]
    }

    #[test]
    fn turns_are_spread_over_what_is_left_once_that_is_little() {
        let (paces, now) = paces();
        paces.learn(A, &left(10, 60, Some(100)), now);
        assert_eq!(paces.take(A, now), Duration::ZERO, "a tenth is not little");
        paces.learn(A, &left(9, 60, Some(100)), now);
        let turns: Vec<_> = (0..12).map(|_| paces.take(A, now).as_secs()).collect();
        // The last ones are when there is more, and never later.
        assert_eq!(turns, [6, 12, 18, 24, 30, 36, 42, 48, 54, 60, 60, 60]);
        assert_eq!(paces.take(B, now), Duration::ZERO, "another key's");
        assert_eq!(paces.take(A, now + 60 * SECOND), Duration::ZERO);
    }

    #[test]
    fn what_is_under_way_counts_where_the_quota_is_not_said() {
        let (paces, now) = paces();
        for _ in 0..5 {
            paces.sent(A);
        }
        paces.learn(A, &left(4, 10, None), now);
        assert_eq!(
            paces.take(A, now),
            Duration::ZERO,
            "enough for the other four"
        );
        paces.learn(A, &left(3, 10, None), now);
        assert_eq!(paces.take(A, now), 10 * SECOND, "less than they may use up");
        for _ in 0..4 {
            paces.ended(A);
        }
        paces.learn(A, &left(1, 8, None), now + 2 * SECOND);
        let waits = [0; 2].map(|_| paces.take(A, now + 12 * SECOND));
        assert_eq!(waits, [Duration::ZERO; 2], "it is over");
    }

    #[test]
    fn an_answer_that_was_overtaken_changes_nothing_and_a_new_quota_does() {
        let (paces, now) = paces();
        paces.learn(A, &left(4, 50, Some(100)), now);
        for old in [left(50, 50, Some(100)), left(5, 50, Some(100))] {
            paces.learn(A, &old, now);
        }
        assert_eq!(paces.take(A, now), 10 * SECOND);
        paces.learn(A, &[], now);
        assert_eq!(paces.take(A, now), 20 * SECOND, "nothing was said");
        paces.learn(A, &left(99, 60, Some(100)), now + 20 * SECOND);
        assert_eq!(paces.take(A, now + 20 * SECOND), Duration::ZERO);
    }

    #[test]
    fn no_quota_is_too_strange() {
        let (paces, now) = paces();
        for requests in [0, 1, u64::MAX] {
            for seconds in [0, 1, u64::MAX / 4] {
                for of in [None, Some(0), Some(u64::MAX)] {
                    let quota = Left {
                        requests,
                        reset: Duration::from_secs(seconds),
                        of,
                    };
                    paces.learn(A, &[quota], now);
                    for _ in 0..3 {
                        assert!(paces.take(A, now) <= Duration::from_secs(seconds));
                    }
                }
            }
        }
    }
}
