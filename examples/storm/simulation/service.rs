//! A service that answers one request after the other, in the order of their arrival.

use std::time::Duration;

use super::Scenario;

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    /// 503, at once: the service is down, or its queue is full.
    Unavailable,
    /// It will be answered at this time.
    Answered { at: Duration },
    /// It will be in the queue when the service goes down at this time.
    Lost { at: Duration },
}

/// The queue, as one number.
///
/// A request is one unit of work, and how much work can be done until when depends on nothing
/// that the clients do. So the time of a request's answer is known when it arrives: it is the
/// time by which everything that is ahead of it, and itself, can have been done.
#[derive(Debug)]
pub(super) struct Service {
    stretches: Vec<Stretch>,
    /// Requests that have room in the queue.
    room: f64,
    /// When it is down, if it ever is.
    down: Option<(f64, f64)>,
    /// All work that was accepted so far.
    accepted: f64,
}

/// A stretch of time in which the capacity changes evenly.
#[derive(Debug)]
struct Stretch {
    begin: f64,
    /// What can have been done by the begin.
    done: f64,
    rate: f64,
    /// By how much the rate grows in a second.
    growth: f64,
}

impl Service {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let capacity = scenario.capacity * scenario.share();
        let fault = (scenario.before.as_secs_f64(), scenario.over().as_secs_f64());
        Self {
            stretches: stretches(&scenario.health(), capacity),
            room: capacity * scenario.queue.as_secs_f64(),
            down: (scenario.left == 0.0).then_some(fault),
            accepted: 0.0,
        }
    }

    pub(super) fn request(&mut self, now: Duration) -> Fate {
        let now = now.as_secs_f64();
        let done = self.done_by(now);
        let ahead = self.accepted.max(done);
        if ahead - done + 1.0 > self.room {
            return Fate::Unavailable;
        }
        let accepted = ahead + 1.0;
        if let Some((down, up)) = self.down {
            if (down..up).contains(&now) {
                return Fate::Unavailable;
            }
            let lost = self.done_by(down);
            if now < down && accepted > lost {
                // Nothing of it is left to be done when the service is up again.
                self.accepted = lost;
                let at = Duration::from_secs_f64(down);
                return Fate::Lost { at };
            }
        }
        self.accepted = accepted;
        let at = Duration::from_secs_f64(self.time_of(accepted));
        Fate::Answered { at }
    }

    /// Requests in the queue.
    pub(super) fn queued(&self, now: Duration) -> f64 {
        (self.accepted - self.done_by(now.as_secs_f64())).max(0.0)
    }

    /// The work that can have been done by `time`: the integral of the capacity.
    fn done_by(&self, time: f64) -> f64 {
        let stretch = self.last(|stretch| stretch.begin <= time);
        let x = time - stretch.begin;
        stretch.done + x * (stretch.rate + stretch.growth * x / 2.0)
    }

    /// The inverse of [`done_by`](Self::done_by).
    fn time_of(&self, work: f64) -> f64 {
        let stretch = self.last(|stretch| stretch.done < work);
        let work = work - stretch.done;
        let x = if stretch.growth == 0.0 {
            work / stretch.rate
        } else {
            let (rate, growth) = (stretch.rate, stretch.growth);
            ((rate * rate + 2.0 * growth * work).sqrt() - rate) / growth
        };
        stretch.begin + x
    }

    fn last(&self, begins_before: impl Fn(&Stretch) -> bool) -> &Stretch {
        let last = self
            .stretches
            .iter()
            .rfind(|stretch| begins_before(stretch));
        last.unwrap_or(&self.stretches[0])
    }
}

/// What lies between the points of [`Scenario::health`], and behind the last one.
fn stretches(health: &[(f64, f64)], capacity: f64) -> Vec<Stretch> {
    let mut done = 0.0;
    let mut stretches = Vec::new();
    for (i, &(begin, rate)) in health.iter().enumerate() {
        let (end, next) = health.get(i + 1).copied().unwrap_or((f64::INFINITY, rate));
        let length = end - begin;
        if length == 0.0 {
            continue;
        }
        stretches.push(Stretch {
            begin,
            done,
            rate: rate * capacity,
            growth: (next - rate) * capacity / length,
        });
        done += length * (rate + next) / 2.0 * capacity;
    }
    stretches
}
