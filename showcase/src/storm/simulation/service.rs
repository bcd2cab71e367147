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
    /// When it is down.
    down: Vec<(f64, f64)>,
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
        Self {
            stretches: stretches(&scenario.health(), capacity),
            room: capacity * scenario.queue.as_secs_f64(),
            down: scenario.outages(),
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
        // The next one: those that are over do nothing.
        let next = self.down.iter().find(|(_, up)| now < *up);
        if let Some(&(down, up)) = next {
            if (down..up).contains(&now) {
                return Fate::Unavailable;
            }
            let lost = self.done_by(down);
            if accepted > lost {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 requests per second, room for 20, an outage from second 100 to 110, and then 10
    /// seconds from half to full capacity.
    fn service() -> Service {
        let scenario = Scenario {
            capacity: 10.0,
            queue: Duration::from_secs(2),
            before: Duration::from_secs(100),
            warming: Duration::from_secs(10),
            ..Scenario::outage(Duration::from_secs(10), 0.8, 0)
        };
        Service::new(&scenario)
    }

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// When a request that arrives at `now` is answered.
    fn answered(service: &mut Service, now: f64) -> f64 {
        match service.request(at(now)) {
            Fate::Answered { at } => at.as_secs_f64(),
            other => panic!("{other:?}"),
        }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn requests_are_answered_one_after_the_other() {
        let mut service = service();
        assert!(near(answered(&mut service, 5.0), 5.1));
        assert!(near(answered(&mut service, 5.05), 5.2));
        assert!(near(answered(&mut service, 5.05), 5.3));
        assert!(near(service.queued(at(5.1)), 2.0));
        assert!(near(service.queued(at(6.0)), 0.0));
        assert!(near(answered(&mut service, 6.0), 6.1));
    }

    #[test]
    fn what_finds_the_queue_full_is_refused() {
        let mut service = service();
        let accepted = (0..100)
            .take_while(|_| service.request(at(1.0)) != Fate::Unavailable)
            .count();
        assert_eq!(accepted, 20);
        // One has been answered.
        assert!(near(answered(&mut service, 1.11), 3.1));
        assert_eq!(service.request(at(1.11)), Fate::Unavailable);
    }

    #[test]
    fn an_outage_takes_the_queue_with_it() {
        let mut service = service();
        assert!(near(answered(&mut service, 99.85), 99.95));
        for _ in 0..5 {
            let fate = service.request(at(99.85));
            assert_eq!(fate, Fate::Lost { at: at(100.0) });
        }
        for now in [100.0, 105.0, 109.9] {
            assert_eq!(service.request(at(now)), Fate::Unavailable);
        }
        // With half of the capacity, and then a little more.
        let first = answered(&mut service, 110.0);
        assert!((110.19..110.2).contains(&first), "{first}");
    }

    #[test]
    fn work_and_time_are_inverse() {
        let service = service();
        // 10 seconds at 75 % in the mean.
        assert!(near(service.done_by(110.0), 1000.0));
        assert!(near(service.done_by(120.0), 1075.0));
        assert!(near(service.done_by(121.0), 1085.0));
        for time in [0.0, 1.5, 99.9, 110.1, 113.0, 119.9, 120.1, 500.0] {
            let there_and_back = service.time_of(service.done_by(time));
            assert!(near(there_and_back, time), "{time} {there_and_back}");
        }
    }

    #[test]
    fn what_waits_in_a_dip_is_answered_later() {
        let scenario = Scenario {
            capacity: 10.0,
            before: Duration::from_secs(100),
            ..Scenario::dip(0.8, 0)
        };
        let mut service = Service::new(&scenario);
        assert!(near(answered(&mut service, 100.0), 100.25));
        for _ in 0..11 {
            answered(&mut service, 100.0);
        }
        // 12 of them in the 3 seconds, and then 10 a second.
        assert!(near(answered(&mut service, 100.0), 103.1));
    }
}
