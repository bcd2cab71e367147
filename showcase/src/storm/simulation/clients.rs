//! The clients: they ask, wait, and let their policy decide what to do about a failure, in the
//! order in which the retry layer does it.

use std::{
    io,
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, Request, StatusCode};
use tower_http_retry::{
    budget::RetryPermit,
    classify::{Cause, Failure, Outcome},
    policy::{Attempt, Decision, Policy, RequestHead, RetrySession, Session},
};

use super::{
    Contender, Measured, Scenario,
    clock::Clock,
    contender::Process,
    events::{Events, Row},
    service::{Fate, Service},
};

/// Lets the clients of `scenario` go through it with the policy of `contender`.
///
/// # Errors
///
/// There is no runtime for the clock, or the settings of the contender are wrong.
pub fn run(scenario: &Scenario, contender: Contender) -> io::Result<Measured> {
    let clock = Clock::new()?;
    let _inside = clock.enter();
    let mut run = Run::new(scenario, contender, &clock)?;
    let end = scenario.end() + Scenario::TAIL;
    let mut demand = Demand::new(scenario);
    loop {
        let (at, process) = demand.next();
        let until = at.min(end);
        while let Some((now, event)) = run.events.next_until(until) {
            match event {
                Event::Retry(id) => run.send(id, now),
                Event::Ended(id, ending) => run.ended(id, ending, now),
            }
        }
        if at >= end {
            return Ok(run.measured);
        }
        run.first_request(process, at);
    }
}

/// When which process gets a request from its callers. The same for all contenders.
struct Demand {
    rng: fastrand::Rng,
    rate: f64,
    clients: u64,
    processes: u64,
    at: f64,
}

impl Demand {
    fn new(scenario: &Scenario) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(scenario.seed),
            rate: scenario.demand * scenario.share(),
            clients: (scenario.clients as f64 * scenario.share()).round() as u64,
            processes: scenario.simulated(),
            at: 0.0,
        }
    }

    /// Callers that ask at random times are together like one who asks more often (Poisson
    /// processes add up to one), and any of them may have been the one who asked.
    fn next(&mut self) -> (Duration, usize) {
        self.at -= (1.0 - self.rng.f64()).ln() / self.rate;
        let client = self.rng.u64(..self.clients);
        let process = client % self.processes;
        (Duration::from_secs_f64(self.at), process as usize)
    }
}

enum Event {
    Retry(u32),
    Ended(u32, Ending),
}

/// How an attempt ended, as far as its client can see.
#[derive(Clone, Copy)]
enum Ending {
    Answered,
    Unavailable,
    TimedOut,
    Reset,
}

/// A request from its first attempt to the end of its last.
struct Ongoing {
    session: RetrySession,
    attempts: u32,
    process: usize,
    asked: Duration,
}

struct Run<'a> {
    clock: &'a Clock,
    service: Service,
    processes: Vec<Process>,
    events: Events<Event>,
    /// By number; those that have ended make room for new ones.
    requests: Vec<Option<Ongoing>>,
    free: Vec<u32>,
    /// For the throttles.
    rng: fastrand::Rng,
    timeout: Duration,
    request: Request<()>,
    no_headers: HeaderMap,
    measured: Measured,
}

impl<'a> Run<'a> {
    fn new(scenario: &Scenario, contender: Contender, clock: &'a Clock) -> io::Result<Self> {
        let mut seeds = fastrand::Rng::with_seed(!scenario.seed);
        let rate = scenario.rate_per_process();
        let processes = (0..scenario.simulated())
            .map(|_| contender.process(rate, seeds.u64(..)))
            .collect::<io::Result<_>>()?;
        let request = Request::get("http://service.example/")
            .body(())
            .map_err(io::Error::other)?;
        Ok(Self {
            clock,
            service: Service::new(scenario),
            processes,
            events: Events::new(),
            requests: Vec::new(),
            free: Vec::new(),
            rng: seeds,
            timeout: scenario.timeout,
            request,
            no_headers: HeaderMap::new(),
            measured: Measured::new(scenario),
        })
    }

    fn first_request(&mut self, process: usize, now: Duration) {
        self.measured.at(now, |bin| bin.asked += 1);
        let instant = self.clock.follow(now);
        if self.throttled(process, instant) {
            return;
        }
        let head = RequestHead::of(&self.request);
        let request = Ongoing {
            session: self.processes[process].policy.session(&head),
            attempts: 0,
            process,
            asked: now,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.requests[id as usize] = Some(request);
                id
            }
            None => {
                self.requests.push(Some(request));
                (self.requests.len() - 1) as u32
            }
        };
        self.send(id, now);
    }

    /// Sends an attempt. How it ends is known at once, to the simulation.
    fn send(&mut self, id: u32, now: Duration) {
        let Some(request) = &mut self.requests[id as usize] else {
            unreachable!("a request is sent again before it ends")
        };
        request.attempts += 1;
        let fate = self.service.request(now);
        let queued = self.service.queued(now);
        self.measured.at(now, |bin| {
            bin.sent += 1;
            bin.queued = bin.queued.max(queued);
        });
        let gives_up = now + self.timeout;
        let (row, at, ending) = match fate {
            Fate::Unavailable => return self.ended(id, Ending::Unavailable, now),
            Fate::Lost { at } if at <= gives_up => (Row::First, at, Ending::Reset),
            Fate::Answered { at } if at <= gives_up => {
                self.measured.at(at, |bin| bin.answered += 1);
                (Row::First, at, Ending::Answered)
            }
            Fate::Answered { at } => {
                self.measured.at(at, |bin| bin.late += 1);
                (Row::Second, gives_up, Ending::TimedOut)
            }
            Fate::Lost { .. } => (Row::Second, gives_up, Ending::TimedOut),
        };
        // The service works in the order of arrival, and all clients are equally patient.
        self.events.add_to(row, at, Event::Ended(id, ending));
    }

    fn ended(&mut self, id: u32, ending: Ending, now: Duration) {
        let instant = self.clock.follow(now);
        let Some(mut request) = self.requests[id as usize].take() else {
            unreachable!("an attempt ends once")
        };
        let failure = |cause| Outcome::Error {
            failure: Failure::from(cause),
            error: None,
        };
        let outcome = match ending {
            Ending::Answered => {
                self.answered(&mut request, instant);
                self.free.push(id);
                return;
            }
            Ending::Unavailable => Outcome::Response {
                status: StatusCode::SERVICE_UNAVAILABLE,
                headers: &self.no_headers,
            },
            Ending::TimedOut => failure(Cause::AttemptTimeout),
            Ending::Reset => failure(Cause::ConnectionReset),
        };
        let attempt =
            Attempt::new(request.attempts, &Method::GET, outcome).with_elapsed(now - request.asked);
        let decision = request.session.decide(&attempt);
        match decision {
            Decision::Retry(retry) if self.may_retry(&mut request, instant) => {
                self.requests[id as usize] = Some(request);
                self.events.add(now + retry.wait, Event::Retry(id));
            }
            _ => {
                request.session.failed(instant);
                self.free.push(id);
            }
        }
    }

    fn answered(&mut self, request: &mut Ongoing, now: Instant) {
        request.session.succeeded();
        if let Some(throttle) = &self.processes[request.process].throttle {
            throttle.on_accept(throttle.slot(self.request.uri()), now);
        }
        self.measured.at(request.asked, |bin| bin.served += 1);
    }

    /// The layer's last gates, in its order: the throttle, then the budget.
    fn may_retry(&mut self, request: &mut Ongoing, now: Instant) -> bool {
        !self.throttled(request.process, now)
            && request.session.commit(now).map(RetryPermit::sent).is_ok()
    }

    /// Asks the throttle of a process, which counts the request whatever it says.
    fn throttled(&mut self, process: usize, now: Instant) -> bool {
        let Some(throttle) = &self.processes[process].throttle else {
            return false;
        };
        let slot = throttle.slot(self.request.uri());
        let rejected = throttle.should_reject(slot, now, self.rng.f64());
        throttle.on_request(slot, now);
        rejected
    }
}
