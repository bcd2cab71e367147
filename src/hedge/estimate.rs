//! How long requests usually take: one histogram for each scope, without locks.
//!
//! A scope's memory is fixed: two generations of some hundred counters, which take turns, so that
//! what was long ago is forgotten. What a request reads is one word, the percentile as it was found
//! last; it is found anew by the request that brings the next sample in so many.
//!
//! All orderings are relaxed. A count that goes to the wrong generation, or to a scope that has
//! just taken over the place of another, is one of hundreds.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Below so many samples there is no estimate.
pub(super) const LEAST_SAMPLES: u32 = 50;
/// No hedge is sent sooner.
pub(super) const FLOOR: Duration = Duration::from_millis(1);

/// A counter covers a sixteenth of its value, so that an estimate is at most that much too long.
const PARTS_BITS: u32 = 4;
const PARTS: usize = 1 << PARTS_BITS;
/// Times are counted in units of 64 µs: what is shorter than 16 of them, about a millisecond, is
/// all the same here.
const UNIT_BITS: u32 = 6;
/// Up to 67 seconds; longer is as good as never.
const OCTAVES: usize = 16;
const BUCKETS: usize = 1 + OCTAVES * PARTS + 1;

/// A generation ends after this time, if it has so many samples …
const GENERATION: Duration = Duration::from_secs(10);
const MANY: u32 = 1000;
/// … or else after this time, if it has enough for an estimate.
const LONG_GENERATION: Duration = Duration::from_secs(60);
/// A scope without news for so long gives its place to another, if there is no other place.
const IDLE: Duration = Duration::from_secs(120);

/// The longest and the shortest stretch of samples after which the estimate is found anew.
const MOST_NEWS: u32 = 256;
const LEAST_NEWS: u32 = 32;

/// How long the requests of one scope take.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    /// The percentile in microseconds; 0 if there is none.
    delay: AtomicU64,
    /// The key whose samples these are.
    owner: AtomicU64,
    /// When the estimate was last found anew, in milliseconds.
    seen: AtomicU64,
    /// Before this time, in milliseconds, the server asked for nothing to be sent.
    quiet_until: AtomicU64,
    /// Made for the first sample.
    histogram: OnceLock<Box<Histogram>>,
}

#[derive(Debug)]
struct Histogram {
    generations: [Generation; 2],
    /// The one that samples go to, as its lowest bit.
    current: AtomicU32,
    /// When it began, in milliseconds.
    began: AtomicU64,
    /// Whether somebody finds the estimate anew.
    busy: AtomicBool,
}

#[derive(Debug)]
struct Generation {
    buckets: [AtomicU32; BUCKETS],
    samples: AtomicU32,
    /// The number of samples at which the estimate is found anew.
    next: AtomicU32,
}

impl Generation {
    fn new() -> Self {
        Self {
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            samples: AtomicU32::new(0),
            next: AtomicU32::new(LEAST_NEWS),
        }
    }

    fn clear(&self) {
        self.buckets
            .iter()
            .for_each(|count| count.store(0, Relaxed));
        self.samples.store(0, Relaxed);
        self.next.store(LEAST_NEWS, Relaxed);
    }
}

/// The counter for a time.
fn bucket(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let units = micros >> UNIT_BITS;
    if units < PARTS as u64 {
        return 0;
    }
    let octave = units.ilog2() - PARTS_BITS;
    let part = (units >> octave) as usize & (PARTS - 1);
    (1 + octave as usize * PARTS + part).min(BUCKETS - 1)
}

/// The time that a counter's times are shorter than; `None` of the last one, which has no end.
fn end(bucket: usize) -> Option<Duration> {
    if bucket == BUCKETS - 1 {
        return None;
    }
    let units = match bucket.checked_sub(1) {
        None => PARTS as u64,
        Some(index) => ((PARTS + index % PARTS + 1) as u64) << (index / PARTS),
    };
    Some(Duration::from_micros(units << UNIT_BITS))
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Estimate {
    /// The time after which a request is late; `None` as long as that is not known.
    #[inline]
    pub(super) fn delay(&self) -> Option<Duration> {
        match self.delay.load(Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// Whether the place may pass to another scope at this time, and how much it would lose.
    pub(super) fn release(&self, now: Duration) -> Option<u32> {
        let idle = millis(now).saturating_sub(self.seen.load(Relaxed));
        (idle >= millis(IDLE)).then(|| u32::MAX - u32::try_from(idle).unwrap_or(u32::MAX))
    }

    /// The place belongs to `key` from now on; what it held of another is forgotten.
    pub(super) fn take_over(&self, key: u64, now: Duration) {
        let before = self.owner.swap(key, Relaxed);
        if before == key {
            return;
        }
        self.seen.store(millis(now), Relaxed);
        self.delay.store(0, Relaxed);
        self.quiet_until.store(0, Relaxed);
        if let Some(histogram) = self.histogram.get() {
            histogram.generations.iter().for_each(Generation::clear);
            histogram.began.store(millis(now), Relaxed);
        }
    }

    /// A request took this long, or, if it was given up, at least so long. `now` is asked for only
    /// if the estimate is to be found anew.
    #[inline]
    pub(super) fn record(&self, took: Duration, load: f64, now: impl FnOnce() -> Duration) {
        match self.histogram.get() {
            Some(histogram) => {
                let current = histogram.current.load(Relaxed) as usize & 1;
                let generation = &histogram.generations[current];
                generation.buckets[bucket(took)].fetch_add(1, Relaxed);
                let samples = generation.samples.fetch_add(1, Relaxed).saturating_add(1);
                if samples >= generation.next.load(Relaxed) {
                    self.find_anew(histogram, load, now());
                }
            }
            None => self.record_first(took, now()),
        }
    }

    #[cold]
    fn record_first(&self, took: Duration, now: Duration) {
        self.seen.store(millis(now), Relaxed);
        let histogram = self.histogram.get_or_init(|| {
            Box::new(Histogram {
                generations: [Generation::new(), Generation::new()],
                current: AtomicU32::new(0),
                began: AtomicU64::new(millis(now)),
                busy: AtomicBool::new(false),
            })
        });
        let current = histogram.current.load(Relaxed) as usize & 1;
        let generation = &histogram.generations[current];
        generation.buckets[bucket(took)].fetch_add(1, Relaxed);
        generation.samples.fetch_add(1, Relaxed);
    }

    /// Finds the time that the part `load` of the samples exceeds.
    #[cold]
    fn find_anew(&self, histogram: &Histogram, load: f64, now: Duration) {
        // Whoever comes in the meantime goes by what was found before.
        if histogram.busy.swap(true, Relaxed) {
            return;
        }
        self.seen.store(millis(now), Relaxed);
        let current = histogram.current.load(Relaxed) as usize & 1;
        let [this, last] = [current, 1 - current].map(|at| &histogram.generations[at]);
        let news = this.samples.load(Relaxed);
        let total = news.saturating_add(last.samples.load(Relaxed));
        if total >= LEAST_SAMPLES {
            let delay = percentile([this, last], total, load);
            self.delay.store(delay.unwrap_or(0), Relaxed);
        }
        let missing = LEAST_SAMPLES.saturating_sub(total);
        let next = match missing {
            0 => (news / 8).clamp(LEAST_NEWS, MOST_NEWS),
            missing => missing,
        };
        this.next.store(news.saturating_add(next), Relaxed);
        let age = millis(now).saturating_sub(histogram.began.load(Relaxed));
        let is_over = age >= millis(GENERATION) && news >= MANY
            || age >= millis(LONG_GENERATION) && news >= LEAST_SAMPLES;
        if is_over {
            last.clear();
            histogram.began.store(millis(now), Relaxed);
            histogram.current.store(1 - current as u32, Relaxed);
        }
        histogram.busy.store(false, Relaxed);
    }

    /// The server asked for nothing to be sent before `until`.
    pub(super) fn quiet(&self, until: Duration) {
        self.quiet_until.fetch_max(millis(until), Relaxed);
    }

    pub(super) fn is_quiet(&self, now: Duration) -> bool {
        millis(now) < self.quiet_until.load(Relaxed)
    }
}

/// The time, in microseconds, that at most the part `load` of all samples exceeds. `None` if it is
/// longer than what can be told apart.
fn percentile(generations: [&Generation; 2], total: u32, load: f64) -> Option<u64> {
    let allowed = (f64::from(total) * load) as u64;
    let mut above = 0;
    for at in (0..BUCKETS).rev() {
        let [this, last] = generations.map(|all| all.buckets[at].load(Relaxed));
        above += u64::from(this) + u64::from(last);
        if above > allowed {
            let end = end(at)?.max(FLOOR);
            return u64::try_from(end.as_micros()).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn filled(times: impl IntoIterator<Item = Duration>) -> Estimate {
        let estimate = Estimate::default();
        for took in times {
            estimate.record(took, 0.05, || Duration::ZERO);
        }
        estimate
    }

    #[test]
    fn a_counter_ends_within_a_sixteenth_of_what_it_counts() {
        let times = (0..670_000).map(|tenths| Duration::from_micros(tenths * 100));
        for time in times {
            let end = end(bucket(time)).expect("less than a minute");
            assert!(end > time, "{time:?} ends at {end:?}");
            let most = time + time / 16 + Duration::from_micros(64);
            assert!(time < 2 * MS || end <= most, "{time:?} ends at {end:?}");
        }
        for time in [Duration::from_secs(68), Duration::MAX] {
            assert_eq!(end(bucket(time)), None, "{time:?}");
        }
    }

    #[test]
    fn there_is_no_estimate_before_fifty_samples() {
        assert_eq!(filled(vec![20 * MS; 49]).delay(), None);
        let delay = filled(vec![20 * MS; 50]).delay().expect("fifty");
        assert!((20 * MS..22 * MS).contains(&delay), "{delay:?}");
    }

    #[test]
    fn at_most_one_in_twenty_takes_longer_than_the_estimate() {
        // From 1 to 100 ms, each as often as the others. A counter there is 4 ms wide.
        let times = (0..2000_u32).map(|at| MS * (1 + at * 37 % 100));
        let delay = filled(times.clone()).delay().expect("enough");
        let late = times.filter(|time| *time >= delay).count();
        assert!((20..=100).contains(&late), "{late} of 2000 at {delay:?}");
    }

    #[test]
    fn no_hedge_is_sent_sooner_than_after_a_millisecond() {
        let delay = filled(vec![Duration::ZERO; 100]).delay().expect("enough");
        assert!((MS..2 * MS).contains(&delay), "{delay:?}");
    }

    #[test]
    fn where_too_many_take_forever_there_is_no_estimate() {
        let times = (0..200).map(|at| if at % 10 == 0 { 99 * SECOND } else { MS });
        assert_eq!(filled(times).delay(), None);
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let estimate = filled(vec![200 * MS; 3000]);
        let slow = estimate.delay().expect("enough");
        assert!(slow > 200 * MS);
        // Each generation is a time of its own.
        for at in 1..=3 {
            for _ in 0..2000 {
                estimate.record(10 * MS, 0.05, || at * 11 * SECOND);
            }
        }
        let fast = estimate.delay().expect("enough");
        assert!(fast < 12 * MS, "{fast:?}");
    }

    #[test]
    fn another_scope_in_the_same_place_starts_anew() {
        let estimate = filled(vec![20 * MS; 100]);
        estimate.take_over(7, SECOND);
        assert_eq!(estimate.delay(), None);
        for _ in 0..49 {
            estimate.record(MS, 0.05, || SECOND);
        }
        assert_eq!(estimate.delay(), None);
        estimate.take_over(7, SECOND);
        estimate.record(MS, 0.05, || SECOND);
        assert!(estimate.delay().is_some());
        assert_eq!(estimate.release(2 * SECOND), None);
        assert!(estimate.release(1000 * SECOND).is_some());
    }

    #[test]
    fn a_scope_takes_less_than_two_and_a_half_kibibytes() {
        assert!(size_of::<Histogram>() < 2560, "{}", size_of::<Histogram>());
        assert!(size_of::<Estimate>() <= 64, "{}", size_of::<Estimate>());
    }
}
