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
/// Requests that ended before a first attempt.
pub(super) const UNSENT: usize = RESUMED + 1;
const LEN: usize = UNSENT + 1;

/// The place of a request's counter. That of a first try is where the shard begins.
#[inline(always)]
pub(super) fn request_cell(ending: Ending, method: usize, class: usize) -> usize {
    REQUESTS + (ending as usize * METHODS.len() + method) * CLASSES.len() + class
}

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
#[inline(always)]
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

/// All counters of one set of labels.
#[derive(Debug, Default)]
pub(super) struct Series {
    shards: OnceLock<Box<[Shard]>>,
}

/// As many shards as there are processors, up to a number above which more memory gains little.
const MOST_SHARDS: usize = 16;

thread_local! {
    /// Which shard this thread writes, before it is cut to how many there are.
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[inline]
fn shard() -> usize {
    // A thread that ends may count once more after its own memory is gone.
    let given = SHARD.try_with(Cell::get).unwrap_or(0);
    if given == usize::MAX {
        new_shard()
    } else {
        given
    }
}

#[cold]
fn new_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let given = NEXT.fetch_add(1, Relaxed) % MOST_SHARDS;
    let _ = SHARD.try_with(|shard| shard.set(given));
    given
}

impl Series {
    #[cold]
    fn make() -> Box<[Shard]> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = processors.next_power_of_two().min(MOST_SHARDS);
        let shard = |_| Shard([const { AtomicU64::new(0) }; LEN]);
        (0..shards).map(shard).collect()
    }

    /// Adds `count` to a counter.
    #[inline]
    pub(super) fn add(&self, cell: usize, count: u64) {
        let shards = self.shards.get_or_init(Self::make);
        // Their number is a power of two.
        let shard = &shards[shard() & (shards.len() - 1)];
        shard.0[cell].fetch_add(count, Relaxed);
    }

    pub(super) fn get(&self, cell: usize) -> u64 {
        let shards = self.shards.get().map_or(&[][..], |shards| shards);
        shards.iter().fold(0, |sum, shard| {
            sum.wrapping_add(shard.0[cell].load(Relaxed))
        })
    }

    /// Whether anything was ever counted.
    pub(super) fn is_used(&self) -> bool {
        self.shards.get().is_some()
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
        assert!(!series.is_used());
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    for cell in [0, KIND, LEN - 1] {
                        series.add(cell, 2);
                    }
                });
            }
        });
        for cell in [0, KIND, LEN - 1] {
            assert_eq!(series.get(cell), 80);
        }
        assert_eq!(series.get(1), 0);
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
