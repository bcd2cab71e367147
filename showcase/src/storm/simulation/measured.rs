//! What is counted while the simulation runs, and what follows from it.

use std::time::Duration;

use super::Scenario;

/// A stretch of time of which everything is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// First requests: what the callers ask for.
    pub asked: u64,
    /// Of these, the ones that ended well, whenever that was.
    pub served: u64,
    /// Requests that were sent, retries too.
    pub sent: u64,
    /// Answers that somebody still waited for.
    pub answered: u64,
    /// Answers that nobody waited for any more: work in vain.
    pub late: u64,
    /// The most requests in the queue.
    pub queued: f64,
}

/// The outcome of one run, of the part that was simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    scenario: Scenario,
    bins: Vec<Bin>,
}

impl Measured {
    /// The length of a [`Bin`].
    pub const STEP: Duration = Duration::from_millis(500);

    /// The part of the requests of a bin that must end well for the service to be back.
    pub const RECOVERED: f64 = 0.95;

    pub(super) fn new(scenario: &Scenario) -> Self {
        let end = scenario.end() + Scenario::TAIL;
        Self {
            scenario: scenario.clone(),
            bins: vec![Bin::default(); Self::index(end)],
        }
    }

    fn index(at: Duration) -> usize {
        (at.as_nanos() / Self::STEP.as_nanos()) as usize
    }

    /// The bin of `at`; what happens after the end is of no interest.
    pub(super) fn at(&mut self, at: Duration, count: impl FnOnce(&mut Bin)) {
        if let Some(bin) = self.bins.get_mut(Self::index(at)) {
            count(bin);
        }
    }

    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The bins from `from` until the end, each with the time of its begin.
    pub fn since(&self, from: Duration) -> impl Iterator<Item = (Duration, &Bin)> {
        self.between(from, self.scenario.end())
    }

    fn between(&self, from: Duration, to: Duration) -> impl Iterator<Item = (Duration, &Bin)> {
        let first = Self::index(from);
        self.bins[first..Self::index(to)]
            .iter()
            .zip((first as u32..).map(|i| Self::STEP * i))
            .map(|(bin, at)| (at, bin))
    }

    /// What was sent during the fault, retries too, for each first request in it.
    pub fn amplification(&self) -> f64 {
        let fault = || self.between(self.scenario.before, self.scenario.over());
        let sent: u64 = fault().map(|(_, bin)| bin.sent).sum();
        let asked: u64 = fault().map(|(_, bin)| bin.asked).sum();
        ratio(sent, asked)
    }

    /// The most that was sent in one second from the fault on, as part of the capacity.
    pub fn peak_load(&self) -> f64 {
        let per_bin = self.scenario.capacity * self.scenario.share() * Self::STEP.as_secs_f64();
        let sent: Vec<_> = self
            .since(self.scenario.before)
            .map(|(_, bin)| bin.sent as f64 / per_bin)
            .collect();
        let second = |two: &[f64]| (two[0] + two[1]) / 2.0;
        sent.windows(2).map(second).fold(0.0, f64::max)
    }

    /// The most requests in the queue from the fault on, of the whole and not of the sample.
    pub fn peak_queue(&self) -> f64 {
        let queued = self
            .since(self.scenario.before)
            .map(|(_, bin)| bin.queued)
            .fold(0.0, f64::max);
        queued / self.scenario.share()
    }

    /// How long after the fault it took until nearly all callers got what they asked for, and
    /// went on to get it until the end; `None` if that did not happen.
    pub fn recovery(&self) -> Option<Duration> {
        let over = self.scenario.over();
        let bad = |bin: &Bin| (bin.served as f64) < Self::RECOVERED * bin.asked as f64;
        let last_bad = self.since(over).filter(|(_, bin)| bad(bin)).last();
        let recovered = last_bad.map_or(over, |(at, _)| at + Self::STEP);
        (recovered < self.scenario.end()).then(|| recovered - over)
    }

    /// The part of the callers during the fault that got what they asked for.
    pub fn served_during(&self) -> f64 {
        served(self.between(self.scenario.before, self.scenario.over()))
    }

    /// The part of the callers after the fault that got what they asked for.
    pub fn served_after(&self) -> f64 {
        served(self.since(self.scenario.over()))
    }

    /// The part of the service's work from the fault on that was done for nobody.
    pub fn wasted(&self) -> f64 {
        let bins = || self.since(self.scenario.before).map(|(_, bin)| bin);
        let late: u64 = bins().map(|bin| bin.late).sum();
        let answered: u64 = bins().map(|bin| bin.answered).sum();
        ratio(late, late + answered)
    }
}

fn served<'a>(bins: impl Iterator<Item = (Duration, &'a Bin)>) -> f64 {
    let (served, asked) = bins.fold((0, 0), |(served, asked), (_, bin)| {
        (served + bin.served, asked + bin.asked)
    });
    ratio(served, asked)
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
