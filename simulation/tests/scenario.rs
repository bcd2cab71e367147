//! What a seed stands for: hosts, requests, how the server behaves, and what befalls the network.

use std::{ops::RangeInclusive, time::Duration};

use http::{HeaderName, Method};
use tower_http_retry::{
    budget::RetryBudget,
    policy::{Backoff, InvalidPolicy, Jitter, RetryAfterMode, RetryPolicy},
    throttle::AdaptiveThrottle,
};

use crate::{body::Content, dice::Dice, sabotage::Sabotage};

/// The request's number.
pub(crate) const REQUEST: HeaderName = HeaderName::from_static("x-sim-request");
/// How many attempts there were before.
pub(crate) const ATTEMPT: HeaderName = HeaderName::from_static("x-sim-attempt");
/// The number of bytes in a response's body.
pub(crate) const LENGTH: HeaderName = HeaderName::from_static("x-sim-length");

/// What a server answers that is not meant on this connection.
pub(crate) const MISDIRECTED: u16 = 421;

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    /// The step of the network's time.
    pub(crate) tick: Duration,
    pub(crate) latency: RangeInclusive<Duration>,
    /// How likely a link that lost a message works again for the next one.
    pub(crate) repair_rate: f64,
    pub(crate) http2: bool,
    pub(crate) server: Server,
    pub(crate) clients: Vec<Client>,
    pub(crate) requests: Vec<Request>,
    /// In the order of their times.
    pub(crate) faults: Vec<(Duration, Fault)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) keep_alive: bool,
    pub(crate) max_streams: Option<u32>,
    /// Whether its responses have a `Date`.
    pub(crate) tells_time: bool,
    /// What is wrong with its clock, in seconds.
    pub(crate) clock: i64,
    /// Whether a request is worked on to its end although the client has gone.
    pub(crate) detached: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) policy: Rules,
    pub(crate) rewind: Rewind,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    /// Whether POST and PATCH are given idempotency keys.
    pub(crate) gives_keys: bool,
    pub(crate) share_hints: bool,
    pub(crate) throttle: bool,
    pub(crate) retries_in_flight: Option<u32>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) drains: bool,
    /// What is wrong with its clock, in seconds.
    pub(crate) clock: i64,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) keeps_idle: bool,
    pub(crate) sends_canceled_again: bool,
    pub(crate) ping: Option<Duration>,
    /// Whether connections that failed are left.
    pub(crate) leaves: bool,
    /// Whether the server has two names, of which each attempt takes the other.
    pub(crate) two_names: bool,
    /// After what time an attempt is sent a second time.
    pub(crate) hedges: Option<Duration>,
}

/// How a client sends a body again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rewind {
    Clone,
    Replay(u64),
    Reopen,
}

impl Rewind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clone => "clone",
            Self::Replay(_) => "replay",
            Self::Reopen => "reopen",
        }
    }
}

/// The settings of a policy, as the checks know them.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) urllib3: bool,
    pub(crate) total: u32,
    pub(crate) read: Option<u32>,
    pub(crate) connect: Option<u32>,
    pub(crate) status: Option<u32>,
    pub(crate) unprocessed: u32,
    pub(crate) listed: Vec<u16>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) respects_hints: bool,
    pub(crate) hint_max: Duration,
    pub(crate) clamps: bool,
    pub(crate) raises: bool,
    pub(crate) budget: Option<Budget>,
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) ratio: f64,
    pub(crate) per_second: f64,
    pub(crate) capacity: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: u32,
    pub(crate) client: usize,
    pub(crate) at: Duration,
    pub(crate) method: Method,
    pub(crate) content: Content,
    pub(crate) key: Key,
    pub(crate) deadline: Option<Duration>,
    /// When the caller loses patience.
    pub(crate) cancel: Option<Duration>,
    /// How the server treats its arrivals, one after the other; a further one goes well.
    pub(crate) script: Vec<Step>,
}

/// How the caller says that a request may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    None,
    /// With an `Idempotency-Key`.
    Header,
    /// With an `Idempotent` extension.
    Mark,
}

/// How the server treats one arrival of a request.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) reads: Reads,
    pub(crate) thinks: Duration,
    /// Whether it does what it was asked to.
    pub(crate) applies: bool,
    pub(crate) answer: Answer,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Reads {
    Everything,
    AtMost(usize),
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Status {
        status: u16,
        hint: Option<Hint>,
        content: Content,
    },
    /// Ends the connection under HTTP/1.1, the stream with `INTERNAL_ERROR` under HTTP/2.
    Close,
    /// Ends the stream with this code.
    Reset(h2::Reason),
    /// Never answers.
    Hang,
}

/// When to come back, by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    Seconds(u64),
    Milliseconds(u64),
    /// The date this many seconds after the server's time.
    Date(i64),
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    Hold(usize),
    Release(usize),
    Partition(usize),
    Repair(usize),
    /// Nothing gets from the client to the server.
    Mute(usize),
    Unmute(usize),
    /// Nothing gets from the server to the client.
    Deafen(usize),
    Undeafen(usize),
    /// Loses each message with this likelihood.
    Lose(usize, f64),
    LoseNothing(usize),
    Slow(usize, Duration),
    Crash,
    Restart,
    /// The server ends its connections once their requests are answered.
    Drain,
    /// A client's wall clock is set forth or back by this many seconds.
    ClientClock(usize, i64),
    ServerClock(i64),
}

impl Scenario {
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::with_seed(seed);
        let dice = &mut dice;
        let http2 = dice.chance(45);
        let most = dice.pick(&[2, 10, 40]);
        let clients: Vec<_> = (0..dice.pick(&[1, 1, 1, 2]))
            .map(|_| client(dice))
            .collect();
        let mut requests = Vec::new();
        for (index, client) in clients.iter().enumerate() {
            let busy = dice.number(0..=2500);
            for _ in 0..dice.number(1..=6) {
                let id = u32::try_from(requests.len()).expect("a few requests");
                requests.push(request(dice, id, index, client, http2, busy));
            }
        }
        let mut scenario = Self {
            seed,
            tick: Duration::from_millis(dice.pick(&[1, 2, 5, 5, 5, 10])),
            latency: Duration::from_millis(dice.number(0..=most / 2))..=Duration::from_millis(most),
            repair_rate: dice.pick(&[1.0, 0.5, 0.1]),
            http2,
            server: Server {
                keep_alive: dice.chance(85),
                max_streams: dice.maybe(40, |dice| dice.pick(&[1, 2, 3])),
                tells_time: dice.chance(60),
                clock: dice.pick(&[0, 0, 0, -7, 3600]),
                detached: dice.chance(50),
            },
            faults: faults(dice, clients.len()),
            clients,
            requests,
        };
        scenario.place(&mut Dice::with_seed(!seed));
        scenario
    }

    /// Puts layers below the retries that send an attempt elsewhere.
    fn place(&mut self, dice: &mut Dice) {
        for client in &mut self.clients {
            client.leaves = dice.chance(40);
            client.two_names = dice.chance(35);
            client.hedges = dice.maybe(45, |dice| dice.ms(5..=300));
        }
        for request in &mut self.requests {
            for step in request.script.iter_mut().take(2) {
                if dice.chance(10) {
                    step.applies = false;
                    step.answer = Answer::Status {
                        status: MISDIRECTED,
                        hint: None,
                        content: response_content(dice),
                    };
                }
            }
        }
    }

    /// When the network is whole again.
    pub(crate) fn healed(&self) -> Duration {
        self.faults
            .last()
            .map_or(Duration::ZERO, |(until, _)| *until)
    }

    pub(crate) fn client_of(&self, request: &Request) -> &Client {
        &self.clients[request.client]
    }
}

fn client(dice: &mut Dice) -> Client {
    let mut policy = rules(dice);
    let attempt_timeout = dice.maybe(60, |dice| dice.ms(100..=1500));
    let deadline = match attempt_timeout {
        Some(_) => dice.maybe(75, |dice| dice.ms(200..=5000)),
        // One of the two, or a request that hangs would never end.
        None => Some(dice.ms(200..=4000)),
    };
    if deadline.is_none() {
        // Nothing else bounds the time of these.
        policy.total = policy.total.min(4);
        policy.hint_max = policy.hint_max.min(Duration::from_secs(3));
    }
    Client {
        policy,
        rewind: match dice.weighted(&[40, 45, 15]) {
            0 => Rewind::Clone,
            1 => Rewind::Replay(dice.pick(&[0, 1000, 20_000, 1 << 20])),
            _ => Rewind::Reopen,
        },
        attempt_timeout,
        deadline,
        gives_keys: dice.chance(25),
        share_hints: dice.chance(15),
        throttle: dice.chance(6),
        retries_in_flight: dice.maybe(15, |dice| dice.pick(&[1, 2])),
        concurrency: dice.maybe(20, |dice| dice.pick(&[1, 2, 3])),
        drains: dice.chance(80),
        clock: dice.pick(&[0, 0, 0, 2, -7200]),
        connect_timeout: dice.maybe(30, |dice| dice.ms(50..=500)),
        keeps_idle: dice.chance(85),
        sends_canceled_again: dice.chance(60),
        ping: dice.maybe(20, |dice| dice.ms(100..=300)),
        leaves: false,
        two_names: false,
        hedges: None,
    }
}

fn rules(dice: &mut Dice) -> Rules {
    let urllib3 = dice.chance(40);
    let seed = dice.number(0..=u64::MAX);
    let plain = if urllib3 {
        Rules {
            urllib3,
            total: 10,
            read: None,
            connect: None,
            status: None,
            unprocessed: 0,
            listed: Vec::new(),
            backoff: None,
            respects_hints: true,
            hint_max: Duration::from_secs(21_600),
            clamps: true,
            raises: true,
            budget: None,
            seed,
        }
    } else {
        Rules {
            urllib3,
            total: 3,
            read: None,
            connect: None,
            status: None,
            unprocessed: 2,
            listed: vec![408, 425, 429, 500, 502, 503, 504],
            backoff: None,
            respects_hints: true,
            hint_max: Duration::from_secs(60),
            clamps: false,
            raises: false,
            budget: Some(Budget {
                ratio: 0.2,
                per_second: 10.0,
                capacity: 100.0,
            }),
            seed,
        }
    };
    if dice.chance(35) {
        return plain;
    }
    Rules {
        total: dice.pick(&[0, 1, 2, 3, 5, plain.total]),
        read: dice.maybe(20, |dice| dice.pick(&[0, 1, 2])),
        connect: dice.maybe(20, |dice| dice.pick(&[0, 1, 2])),
        status: dice.maybe(20, |dice| dice.pick(&[0, 1, 2])),
        unprocessed: if urllib3 { 0 } else { dice.pick(&[0, 1, 2]) },
        listed: if dice.chance(60) {
            vec![429, 500, 502, 503, 504]
        } else {
            plain.listed
        },
        backoff: dice.maybe(70, |dice| {
            let base = dice.ms(1..=300);
            match dice.weighted(&[4, 2, 1]) {
                0 => Backoff::exponential(base)
                    .max(Duration::from_secs(2))
                    .jitter(dice.pick(&[Jitter::Full, Jitter::Equal, Jitter::None])),
                1 => Backoff::constant(base),
                _ => Backoff::none(),
            }
        }),
        respects_hints: dice.chance(85),
        hint_max: Duration::from_secs(dice.pick(&[1, 3, 60])),
        clamps: dice.chance(50),
        raises: dice.chance(50),
        budget: dice.maybe(50, |dice| Budget {
            ratio: dice.pick(&[0.1, 0.5]),
            per_second: dice.pick(&[0.0, 0.5]),
            capacity: dice.pick(&[1.0, 2.0, 5.0]),
        }),
        ..plain
    }
}

fn request(
    dice: &mut Dice,
    id: u32,
    index: usize,
    client: &Client,
    http2: bool,
    busy: u64,
) -> Request {
    use Method as M;
    let method = dice.pick(&[
        M::GET,
        M::GET,
        M::HEAD,
        M::PUT,
        M::PUT,
        M::DELETE,
        M::OPTIONS,
        M::POST,
        M::POST,
        M::POST,
        M::PATCH,
    ]);
    let content = if matches!(method, M::PUT | M::POST | M::PATCH) {
        request_content(dice, id)
    } else {
        Content::new(id, 0)
    };
    let key = if matches!(method, M::POST | M::PATCH) {
        match dice.weighted(&[65, 25, 10]) {
            0 => Key::None,
            1 => Key::Header,
            _ => Key::Mark,
        }
    } else {
        Key::None
    };
    Request {
        id,
        client: index,
        at: dice.ms(0..=busy),
        method,
        content,
        key,
        deadline: (client.deadline.is_some() && dice.chance(15)).then(|| dice.ms(100..=3000)),
        cancel: dice.maybe(8, |dice| dice.ms(0..=1500)),
        script: (0..dice.pick(&[0, 1, 1, 2, 3, 5]))
            .map(|_| step(dice, http2))
            .collect(),
    }
}

fn request_content(dice: &mut Dice, id: u32) -> Content {
    let most = dice.pick(&[20, 2000, 2000, 30_000, 150_000]);
    let length = dice.size(0..=most);
    let mut content = Content::new(id, length);
    if dice.chance(50) {
        let pause = if dice.chance(50) {
            dice.ms(0..=100)
        } else {
            Duration::ZERO
        };
        content = content.in_chunks(length / dice.size(1..=5), pause);
    }
    match dice.weighted(&[55, 25, 15, 5]) {
        0 => content,
        1 => content.of_unknown_length(),
        2 => content.with_trailer(id),
        _ => {
            let at = dice.size(0..=length);
            content.failing_at(at)
        }
    }
}

fn step(dice: &mut Dice, http2: bool) -> Step {
    let thinks = if dice.chance(60) {
        dice.ms(0..=120)
    } else {
        Duration::ZERO
    };
    let whole = |applies, answer| Step {
        reads: Reads::Everything,
        thinks,
        applies,
        answer,
    };
    match dice.weighted(&[20, 30, 10, 12, 8, 6, 5, 5, if http2 { 15 } else { 0 }]) {
        0 => whole(true, well(dice)),
        1 => whole(false, bad(dice)),
        // Done, and yet it says that it failed.
        2 => whole(true, bad(dice)),
        3 => whole(true, Answer::Close),
        4 => whole(false, Answer::Close),
        5 => Step {
            reads: Reads::AtMost(dice.size(0..=4000)),
            thinks,
            applies: false,
            answer: Answer::Close,
        },
        // Before the request has arrived.
        6 => Step {
            reads: Reads::AtMost(dice.size(0..=4000)),
            thinks,
            applies: false,
            answer: bad(dice),
        },
        7 => whole(dice.chance(50), Answer::Hang),
        _ => {
            let reason = dice.pick(&[
                h2::Reason::REFUSED_STREAM,
                h2::Reason::REFUSED_STREAM,
                h2::Reason::INTERNAL_ERROR,
                h2::Reason::ENHANCE_YOUR_CALM,
            ]);
            // What was refused was not done (RFC 9113, section 8.7).
            let applies = reason != h2::Reason::REFUSED_STREAM && dice.chance(50);
            whole(applies, Answer::Reset(reason))
        }
    }
}

fn response_content(dice: &mut Dice) -> Content {
    let most = dice.pick(&[0, 100, 100, 3000, 100_000]);
    let length = dice.size(0..=most);
    let content = Content::new(0, length);
    match dice.weighted(&[70, 10, 10, 10]) {
        0 => content,
        1 => content.of_unknown_length(),
        2 => content.in_chunks(length / 3, dice.ms(0..=200)),
        _ => {
            let at = dice.size(0..=length);
            content.failing_at(at)
        }
    }
}

/// What a request is answered that went well.
pub(crate) fn well(dice: &mut Dice) -> Answer {
    Answer::Status {
        status: dice.pick(&[200, 200, 201]),
        hint: None,
        content: response_content(dice),
    }
}

fn bad(dice: &mut Dice) -> Answer {
    let status = dice.pick(&[
        400, 404, 408, 409, 413, 429, 429, 429, 500, 500, 502, 503, 503, 503, 503, 504,
    ]);
    let hinted = if matches!(status, 413 | 429 | 503) {
        75
    } else {
        10
    };
    Answer::Status {
        status,
        hint: dice.maybe(hinted, |dice| match dice.weighted(&[5, 2, 4, 1]) {
            0 => Hint::Seconds(dice.pick(&[0, 1, 1, 2, 3, 5, 120])),
            1 => Hint::Milliseconds(dice.number(0..=1500)),
            2 => Hint::Date(dice.pick(&[-1, 0, 1, 2, 3, 4, 100])),
            _ => Hint::Unreadable,
        }),
        content: response_content(dice),
    }
}

fn faults(dice: &mut Dice, clients: usize) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    for client in 0..clients {
        // One after the other: a link is in one state at a time.
        let mut at = dice.ms(0..=800);
        for _ in 0..dice.pick(&[0, 0, 1, 1, 2, 3]) {
            let until = at + dice.ms(1..=700);
            let (begins, ends) = match dice.weighted(&[3, 3, 2, 2, 3]) {
                0 => (Fault::Hold(client), Fault::Release(client)),
                1 => (Fault::Partition(client), Fault::Repair(client)),
                2 => (Fault::Mute(client), Fault::Unmute(client)),
                3 => (Fault::Deafen(client), Fault::Undeafen(client)),
                _ => {
                    let rate = dice.pick(&[0.02, 0.1, 0.5]);
                    (Fault::Lose(client, rate), Fault::LoseNothing(client))
                }
            };
            faults.extend([(at, begins), (until, ends)]);
            at = until + dice.ms(1..=500);
        }
        if dice.chance(20) {
            let slow = dice.ms(1..=400);
            faults.push((dice.ms(0..=2000), Fault::Slow(client, slow)));
        }
        if dice.chance(30) {
            let jump = dice.pick(&[-3600, -5, -1, 1, 5, 3600]);
            faults.push((dice.ms(0..=2500), Fault::ClientClock(client, jump)));
        }
    }
    let mut at = dice.ms(0..=1500);
    for _ in 0..dice.pick(&[0, 0, 1, 1, 2]) {
        let until = at + dice.ms(1..=800);
        faults.extend([(at, Fault::Crash), (until, Fault::Restart)]);
        if dice.chance(30) {
            // It loses its power: nobody is told that the connections are gone.
            for client in 0..clients {
                let just_before = at.saturating_sub(Duration::from_millis(1));
                faults.push((just_before, Fault::Partition(client)));
                faults.push((at + Duration::from_millis(1), Fault::Repair(client)));
            }
        }
        at = until + dice.ms(1..=700);
    }
    if dice.chance(20) {
        faults.push((dice.ms(0..=2000), Fault::Drain));
    }
    if dice.chance(15) {
        let jump = dice.pick(&[-3600, -2, 2, 3600]);
        faults.push((dice.ms(0..=2000), Fault::ServerClock(jump)));
    }
    faults.sort_by_key(|(at, _)| *at);
    // However the faults overlapped, in the end all is well.
    let end = faults.last().map_or(Duration::ZERO, |(at, _)| *at);
    for client in 0..clients {
        faults.extend([
            (end, Fault::LoseNothing(client)),
            (end, Fault::Release(client)),
        ]);
    }
    faults
}

impl Rules {
    pub(crate) fn policy(&self, sabotage: Option<Sabotage>) -> Result<RetryPolicy, InvalidPolicy> {
        let builder = if self.urllib3 {
            RetryPolicy::urllib3_builder()
        } else {
            RetryPolicy::builder()
        };
        let mut builder = builder
            .total(self.total + u32::from(sabotage == Some(Sabotage::OneRetryTooMany)))
            .read(self.read)
            .connect(self.connect)
            .status(self.status)
            .unprocessed(self.unprocessed)
            .status_forcelist(self.listed.iter().copied())
            .respect_retry_after_header(
                self.respects_hints && sabotage != Some(Sabotage::DeafToHints),
            )
            .retry_after_max(self.hint_max.as_secs_f64())
            .retry_after_mode(if self.clamps {
                RetryAfterMode::Clamp
            } else {
                RetryAfterMode::GiveUp
            })
            .raise_on_status(self.raises)
            .budget(self.budget.map(Budget::build).transpose()?)
            .seed(self.seed);
        if let Some(backoff) = &self.backoff {
            builder = builder.backoff(backoff.clone());
        }
        if sabotage == Some(Sabotage::RepeatsEverything) {
            builder = builder.allowed_methods(tower_http_retry::policy::Methods::any());
        }
        builder.build()
    }
}

impl Budget {
    fn build(self) -> Result<RetryBudget, InvalidPolicy> {
        RetryBudget::builder()
            .ratio(self.ratio)
            .min_per_second(self.per_second)
            .capacity(self.capacity)
            .build()
    }
}

impl Client {
    pub(crate) fn adaptive_throttle(&self) -> Result<Option<AdaptiveThrottle>, InvalidPolicy> {
        let throttle = AdaptiveThrottle::builder().k(1.1);
        self.throttle.then(|| throttle.build()).transpose()
    }
}
