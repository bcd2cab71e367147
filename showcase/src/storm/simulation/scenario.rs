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
    pub fn health(&self) -> [(f64, f64); 6] {
        let fault = self.before.as_secs_f64();
        let over = self.over().as_secs_f64();
        [
            (0.0, 1.0),
            (fault, 1.0),
            (fault, self.left),
            (over, self.left),
            (over, self.cold),
            (over + self.warming.as_secs_f64(), 1.0),
        ]
    }
}
