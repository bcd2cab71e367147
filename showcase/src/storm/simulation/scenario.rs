//! What all policies have to go through: the same demand, the same service, the same fault.

use std::time::Duration;

/// A demand for a service, and what happens to the service.
///
/// The numbers are for the whole of it; [`Scenario::share`] says what part is simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Callers: users, devices, threads. Each asks at random times, all of them equally often.
    pub clients: u64,
    /// Processes that the callers' requests go through, the same number of callers through each.
    /// A process has its own policy and so its own budget.
    pub processes: u64,
    /// Of so many processes one is simulated, in front of a service that is smaller by the same
    /// factor.
    pub thin: u64,
    /// First requests per second of all callers together. A failure does not keep anybody from
    /// asking again: the demand does not depend on what the service does.
    pub demand: f64,
    /// Requests per second that the healthy service answers.
    pub capacity: f64,
    /// What the service works off in this time has room in its queue; what comes when it is full
    /// is answered with 503 at once.
    pub queue: Duration,
    /// How long a client waits for the answer to an attempt. The service does not notice that it
    /// has gone.
    pub timeout: Duration,
    /// Time before the fault: longer than anything looks back.
    pub before: Duration,
    /// How long the fault lasts.
    pub fault: Duration,
    /// The part of its capacity that is left to the service during the fault. If it is nothing,
    /// all that is in the queue is lost, and every request is answered with 503 at once.
    pub left: f64,
    /// The part of its capacity that the service comes back with.
    pub cold: f64,
    /// How long it takes from there to full capacity, in a straight line.
    pub warming: Duration,
    /// Time after the fault that is looked at.
    pub after: Duration,
    /// In place of a fault: pairs of a time in seconds since the fault begins, and the part of its
    /// capacity that the service then has, connected by straight lines.
    pub curve: Vec<(f64, f64)>,
    /// Everything random follows from it.
    pub seed: u64,
}

impl Scenario {
    /// The demand goes on for so long after the time that is looked at: by then every request
    /// of that time has ended, under every policy.
    pub const TAIL: Duration = Duration::from_secs(40);

    /// More processes than this are never simulated, whatever [`thin`](Self::thin) says.
    const MOST: u64 = 100_000;

    /// Requests per second that the service can answer.
    const CAPACITY: f64 = 12_500.0;

    /// A service that is down for `outage` and then slow for a while: half of its caches are
    /// cold. How slow is chosen so that it can just be borne: without any retry no caller has to
    /// wait longer than the timeout. `load` is the demand as part of the capacity.
    pub fn outage(outage: Duration, load: f64, seed: u64) -> Self {
        Self {
            clients: 100_000,
            processes: 100,
            thin: 1,
            demand: load * Self::CAPACITY,
            capacity: Self::CAPACITY,
            queue: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            before: Duration::from_secs(120),
            fault: outage,
            left: 0.0,
            cold: 0.5,
            warming: Duration::from_secs(8),
            after: Duration::from_secs(60),
            curve: Vec::new(),
            seed,
        }
    }

    /// The same service, which is never down but has 40 % of its capacity for 3 seconds: a long
    /// pause of a garbage collector, a failover, a deployment.
    pub fn dip(load: f64, seed: u64) -> Self {
        Self {
            left: 0.4,
            cold: 1.0,
            warming: Duration::ZERO,
            ..Self::outage(Duration::from_secs(3), load, seed)
        }
    }

    /// The same for a service of another size, and callers that send `rate` requests a second
    /// through each process.
    pub fn sized(self, capacity: f64, rate: f64) -> Self {
        Self {
            demand: rate * self.processes as f64,
            capacity,
            ..self
        }
    }

    /// A fault that goes along `curve`, which is not empty. It is over when the capacity was at its
    /// lowest for the last time.
    pub fn along(self, curve: Vec<(f64, f64)>) -> Self {
        let lowest = curve.iter().map(|(_, part)| *part).fold(1.0, f64::min);
        let over = curve.iter().rfind(|(_, part)| *part == lowest);
        let fault = over.map_or(0.0, |(time, _)| *time);
        let end = curve.last().map_or(0.0, |(time, _)| *time);
        Self {
            fault: Duration::from_secs_f64(fault),
            warming: Duration::from_secs_f64(end - fault),
            left: lowest,
            after: self.after + Duration::from_secs_f64(end - fault),
            curve,
            ..self
        }
    }

    /// The same for other callers.
    pub fn with(self, clients: u64, processes: u64, thin: u64) -> Self {
        Self {
            clients,
            processes,
            thin,
            ..self
        }
    }

    /// Processes that are simulated.
    pub fn simulated(&self) -> u64 {
        (self.processes / self.thin).clamp(1, Self::MOST)
    }

    /// The part of everything that is simulated.
    pub fn share(&self) -> f64 {
        self.simulated() as f64 / self.processes as f64
    }

    /// First requests per second of one process.
    pub fn rate_per_process(&self) -> f64 {
        self.demand / self.processes as f64
    }

    /// When the fault is over.
    pub fn over(&self) -> Duration {
        self.before + self.fault
    }

    /// The end of the time that is looked at.
    pub fn end(&self) -> Duration {
        self.over() + self.after
    }

    /// What the service can do: pairs of a time in seconds and a part of the capacity, connected
    /// by straight lines. After the last one nothing changes.
    pub fn health(&self) -> Vec<(f64, f64)> {
        let fault = self.before.as_secs_f64();
        let over = self.over().as_secs_f64();
        if !self.curve.is_empty() {
            let curve = self.curve.iter().map(|(time, part)| (fault + time, *part));
            return [(0.0, 1.0), (fault, 1.0)]
                .into_iter()
                .chain(curve)
                .collect();
        }
        vec![
            (0.0, 1.0),
            (fault, 1.0),
            (fault, self.left),
            (over, self.left),
            (over, self.cold),
            (over + self.warming.as_secs_f64(), 1.0),
        ]
    }

    /// When nothing is left of the capacity: what is in the queue is lost then.
    pub(super) fn outages(&self) -> Vec<(f64, f64)> {
        let mut outages: Vec<(f64, f64)> = Vec::new();
        let health = self.health();
        for (&(from, at), &(to, then)) in health.iter().zip(health.iter().skip(1)) {
            if at > 0.0 || then > 0.0 || from == to {
                continue;
            }
            match outages.last_mut() {
                Some((_, end)) if *end == from => *end = to,
                _ => outages.push((from, to)),
            }
        }
        outages
    }
}
