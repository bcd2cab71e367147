//! The counters themselves: what is counted where, and in which shard.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Method, StatusCode};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    FirstTry = 0,
    Recovered = 1,
    FailedWithoutRetry = 2,
    FailedAfterRetries = 3,
    Dropped = 4,
}

pub(super) const OUTCOMES: [&str; 5] = [
    "first_try",
    "recovered",
    "failed_without_retry",
    "failed_after_retries",
    "dropped",
];

/// Those that RFC 9110 and RFC 5789 define; any other is `_OTHER`, as OpenTelemetry calls it.
pub(super) const METHODS: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE", "_OTHER",
];

/// The class of the last status; `none` if the last attempt had none.
pub(super) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why an attempt was made; see [`AttemptKind`].
pub(super) const KINDS: [&str; 7] = [
    "first",
    "retry",
    "unprocessed",
    "hedge",
    "redirect",
    "resume",
    "endpoint",
];

/// The names of stop reasons that there is room for; any further one is `_OTHER`.
pub(super) const REASONS: usize = 64;

/// In seconds.
pub(super) const WAIT_BOUNDS: [f64; 12] = [
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
const WAIT_BOUNDS_MS: [u128; 12] = [
    5, 25, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000,
];

/// gRFC A96 has the same, of retries.
pub(super) const ATTEMPT_BOUNDS: [f64; 6] = [2.0, 3.0, 4.0, 5.0, 6.0, 10.0];

/// Where each group of counters starts.
pub(super) const REQUESTS: usize = 0;
pub(super) const KIND: usize = REQUESTS + OUTCOMES.len() * METHODS.len() * CLASSES.len();
pub(super) const SUPPRESSED: usize = KIND + KINDS.len();
pub(super) const WAITS: usize = SUPPRESSED + REASONS;
pub(super) const WAITED_US: usize = WAITS + WAIT_BOUNDS.len() + 1;
pub(super) const ATTEMPTS: usize = WAITED_US + 1;
pub(super) const ATTEMPTED: usize = ATTEMPTS + ATTEMPT_BOUNDS.len() + 1;
pub(super) const HELD: usize = ATTEMPTED + 1;
pub(super) const HEDGES_WON: usize = HELD + 1;
pub(super) const HEDGES_LOST: usize = HEDGES_WON + 1;
pub(super) const REPLAYED: usize = HEDGES_LOST + 1;
pub(super) const RESUMED: usize = REPLAYED + 1;
/// Requests that have ended without an attempt of the kind `first`.
pub(super) const NOT_FIRST: usize = RESUMED + 1;
const LEN: usize = NOT_FIRST + 1;

/// The place of a request's counter.
pub(super) const fn request_cell(ending: Ending, method: usize, class: usize) -> usize {
    REQUESTS + (ending as usize * METHODS.len() + method) * CLASSES.len() + class
}

/// Those of requests that succeeded at once, by their method.
const FIRST_TRIES: [usize; METHODS.len()] = {
    let mut cells = [0; METHODS.len()];
    let mut method = 0;
    while method < METHODS.len() {
        cells[method] = request_cell(Ending::FirstTry, method, 2);
        method += 1;
    }
    cells
};

#[inline(always)]
pub(super) fn method_index(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::POST => 1,
        Method::PUT => 2,
        Method::DELETE => 3,
        Method::HEAD => 4,
        Method::PATCH => 5,
        Method::OPTIONS => 6,
        Method::CONNECT => 7,
        Method::TRACE => 8,
        _ => 9,
    }
}

/// A status from 600 on is to be treated "as if it were a 5xx" (RFC 9110, section 15).
pub(super) fn class_index(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).min(5)
}

pub(super) fn wait_bucket(wait: Duration) -> usize {
    // Rounded up, so that a wait above a bound is not counted below it.
    let millis = wait.as_nanos().div_ceil(1_000_000);
    WAIT_BOUNDS_MS
        .iter()
        .position(|bound| millis <= *bound)
        .unwrap_or(WAIT_BOUNDS_MS.len())
}

pub(super) fn attempt_bucket(attempts: u64) -> usize {
    ATTEMPT_BOUNDS
        .iter()
        .position(|bound| attempts <= *bound as u64)
        .unwrap_or(ATTEMPT_BOUNDS.len())
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The names of the stop reasons that have been met, in the order in which they were. An index into
/// it is what is counted by.
static NAMES: [OnceLock<&'static str>; REASONS - 1] = [const { OnceLock::new() }; REASONS - 1];

pub(super) fn reason_index(name: &'static str) -> usize {
    // A name that another thread enters at the same moment is found there.
    let entry = |slot: &OnceLock<&'static str>| *slot.get_or_init(|| name) == name;
    NAMES.iter().position(entry).unwrap_or(NAMES.len())
}

pub(super) fn reason_name(index: usize) -> &'static str {
    let name = NAMES.get(index).and_then(OnceLock::get);
    name.copied().unwrap_or("_OTHER")
}

/// The counters that some of the threads write.
// Two lines of the cache, since processors fetch pairs of them.
#[derive(Debug)]
#[repr(align(128))]
struct Shard([AtomicU64; LEN]);

/// Up to so many shards there is one for each processor; more would gain little for their memory.
const MOST_SHARDS: usize = 16;

fn shards() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| {
        let processors = std::thread::available_parallelism();
        processors.map_or(1, usize::from).clamp(1, MOST_SHARDS)
    })
}

/// All counters of one set of labels.
#[derive(Debug)]
pub(super) struct Counters {
    shards: Box<[Shard]>,
    /// The most first attempts that anybody was told of.
    told: AtomicU64,
}

/// That of a thread which has counted nothing yet.
const NO_SHARD: usize = usize::MAX;

thread_local! {
    /// Which shard this thread writes.
    static SHARD: Cell<usize> = const { Cell::new(NO_SHARD) };
}

#[cold]
fn new_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let given = NEXT.fetch_add(1, Relaxed) % shards();
    // A thread that ends may count once more after its own memory is gone.
    let _ = SHARD.try_with(|shard| shard.set(given));
    given
}

impl Default for Counters {
    fn default() -> Self {
        let shard = |_| Shard([const { AtomicU64::new(0) }; LEN]);
        Self {
            shards: (0..shards()).map(shard).collect(),
            told: AtomicU64::new(0),
        }
    }
}

impl Counters {
    fn cell(&self, cell: usize) -> &AtomicU64 {
        let given = SHARD.try_with(Cell::get).unwrap_or(0);
        let given = if given == NO_SHARD {
            new_shard()
        } else {
            given
        };
        &self.shards[given].0[cell]
    }

    /// Counts a request that succeeded at once, if it is one of most: with a known method and a
    /// status of 2xx, on a thread that has counted before. Nothing is called then.
    #[inline(always)]
    pub(super) fn count_first_try(&self, method: &Method, status: StatusCode) -> bool {
        let Some(cell) = FIRST_TRIES.get(method_index(method)) else {
            return false;
        };
        let is_success = status.as_u16().wrapping_sub(200) < 100;
        let shard = SHARD.try_with(Cell::get).unwrap_or(NO_SHARD);
        match self.shards.get(shard) {
            Some(shard) if is_success => {
                shard.0[*cell].fetch_add(1, Relaxed);
                true
            }
            _ => false,
        }
    }

    /// Counts one.
    pub(super) fn count(&self, cell: usize) {
        self.cell(cell).fetch_add(1, Relaxed);
    }

    /// Adds what may be any number: the highest that there is stays.
    pub(super) fn add(&self, cell: usize, count: u64) {
        let more = |before: u64| Some(before.saturating_add(count));
        let _ = self.cell(cell).fetch_update(Relaxed, Relaxed, more);
    }

    pub(super) fn get(&self, cell: usize) -> u64 {
        self.shards.iter().fold(0, |sum, shard| {
            sum.saturating_add(shard.0[cell].load(Relaxed))
        })
    }

    /// The attempts of the kind `first`: each request that has ended had one, but for those of
    /// which it is said.
    pub(super) fn firsts(&self) -> u64 {
        let ended: u64 = (REQUESTS..KIND).map(|cell| self.get(cell)).sum();
        let others = self.get(NOT_FIRST);
        let firsts = ended.saturating_sub(others);
        // What is counted meanwhile may be among the others only; what was told never shrinks.
        let firsts = self.told.fetch_max(firsts, Relaxed).max(firsts);
        firsts.saturating_add(self.get(KIND))
    }
}

/// Counters that are made when something is counted.
#[derive(Debug, Default)]
pub(super) struct Series(OnceLock<Box<Counters>>);

impl Series {
    pub(super) fn counters(&self) -> &Counters {
        self.0.get_or_init(Box::default)
    }

    /// `None` if nothing was ever counted.
    pub(super) fn used(&self) -> Option<&Counters> {
        self.0.get().map(|counters| &**counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_method_s_index_is_that_of_its_name() {
        for (index, name) in METHODS.iter().enumerate() {
            let method = Method::from_bytes(name.as_bytes()).expect("a method");
            assert_eq!(method_index(&method), index, "{name}");
        }
        let own = Method::from_bytes(b"PURGE").expect("a method");
        assert_eq!(METHODS[method_index(&own)], "_OTHER");
    }

    #[test]
    fn a_wait_is_counted_below_the_first_bound_that_it_does_not_exceed() {
        for (bound, millis) in WAIT_BOUNDS.iter().zip(WAIT_BOUNDS_MS) {
            assert_eq!((bound * 1_000.0) as u128, millis);
        }
        for (at, bound) in WAIT_BOUNDS.iter().enumerate() {
            let exact = Duration::from_secs_f64(*bound);
            assert_eq!(wait_bucket(exact), at);
            assert_eq!(wait_bucket(exact + Duration::from_nanos(1)), at + 1);
        }
        assert_eq!(wait_bucket(Duration::MAX), WAIT_BOUNDS.len());
        assert_eq!(attempt_bucket(2), 0);
        assert_eq!(attempt_bucket(7), 5);
        assert_eq!(attempt_bucket(11), 6);
    }

    #[test]
    fn each_thread_s_counts_are_in_the_sum_once() {
        let series = Series::default();
        assert!(series.used().is_none());
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    for cell in [0, KIND, LEN - 1] {
                        series.counters().count(cell);
                        series.counters().add(cell, 1);
                    }
                });
            }
        });
        let counters = series.used().expect("they were made");
        for cell in [0, KIND, LEN - 1] {
            assert_eq!(counters.get(cell), 80);
        }
        assert_eq!(counters.get(1), 0);
    }

    #[test]
    fn no_sum_wraps_and_no_number_that_was_told_shrinks() {
        let counters = Counters::default();
        for _ in 0..2 {
            counters.add(RESUMED, u64::MAX - 1);
        }
        assert_eq!(counters.get(RESUMED), u64::MAX);
        for _ in 0..3 {
            counters.count(REQUESTS);
        }
        assert_eq!(counters.firsts(), 3);
        // Another thread is about to count the request that this belongs to.
        counters.count(NOT_FIRST);
        assert_eq!(counters.firsts(), 3);
        counters.count(REQUESTS);
        counters.count(REQUESTS);
        assert_eq!(counters.firsts(), 4);
        // A layer of somebody's own.
        counters.count(KIND);
        assert_eq!(counters.firsts(), 5);
    }

    #[test]
    fn a_reason_keeps_its_index() {
        let first = reason_index("budget_exhausted");
        let second = reason_index("throttled");
        assert_ne!(first, second);
        assert_eq!(reason_index("budget_exhausted"), first);
        assert_eq!(reason_name(second), "throttled");
        assert_eq!(reason_name(REASONS - 1), "_OTHER");
    }
}
