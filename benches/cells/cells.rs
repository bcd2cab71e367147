//! What is measured: each cell varies one thing, and some the two that matter together.

use std::time::Duration;

use http::Request;
use tower::{Layer, Service};
use tower_http_retry::{
    OwnHeader, RequestDeadline, RetryLayer,
    body::Rewind,
    budget::{InFlightLimit, RetryBudget},
    classify::{Opinion, Outcome},
    hedge::HedgeLayer,
    mounts::Mounts,
    policy::{
        Attempt, Backoff, Decision, Idempotent, Policy, RetryDecision, RetryPolicy, SharedPolicy,
        StopDecision, StopReason, policy_fn,
    },
    shared_hints::SharedHints,
    throttle::AdaptiveThrottle,
};

use crate::{
    peers, work,
    work::{Answer, BARE, Body, Dress, MADE, Made, Server, mixed, post, send},
};

/// One comparison.
pub(crate) struct Cell {
    pub(crate) name: String,
    work: Work,
    ours: Box<dyn Fn(Server) -> Box<dyn Sender>>,
    /// Compared with `tower::retry` that never clones a request.
    never: bool,
}

/// What is sent and answered.
struct Work {
    request: Box<dyn Fn() -> Request<Body>>,
    /// How each attempt is answered.
    answers: &'static [u16],
    dress: Dress,
    at_once: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Candidate {
    /// The service alone, called as often as it is called below the layers.
    Bare,
    Peer,
    Ours,
}

pub(crate) const CANDIDATES: [Candidate; 3] = [Candidate::Bare, Candidate::Peer, Candidate::Ours];

/// Sends what was prepared.
pub(crate) trait Sender {
    fn send(&mut self, request: Request<Body>) -> Answer;
}

impl<S: Service<Request<Body>, Response = Answer>> Sender for S {
    fn send(&mut self, request: Request<Body>) -> Answer {
        send(self, request)
    }
}

/// A candidate at work.
pub(crate) struct Job<'a> {
    work: &'a Work,
    server: Server,
    sender: Box<dyn Sender>,
    /// Requests that are sent for one that a layer gets.
    calls: usize,
    requests: Vec<Request<Body>>,
}

impl Cell {
    pub(crate) fn job(&self, candidate: Candidate) -> Job<'_> {
        let server = Server::new(self.work.at_once);
        let below = server.clone();
        let sender: Box<dyn Sender> = match candidate {
            Candidate::Bare => Box::new(below),
            Candidate::Peer if self.never => Box::new(peers::never(below)),
            Candidate::Peer => Box::new(peers::peer(below)),
            Candidate::Ours => (self.ours)(below),
        };
        Job {
            work: &self.work,
            server,
            sender,
            calls: match candidate {
                Candidate::Bare => self.work.answers.len(),
                Candidate::Peer | Candidate::Ours => 1,
            },
            requests: Vec::new(),
        }
    }
}

impl Job<'_> {
    /// Makes all that so many times of [`run`](Self::run) need.
    pub(crate) fn prepare(&mut self, times: usize) {
        for _ in 0..times {
            for _ in 0..self.calls {
                self.requests.push((self.work.request)());
            }
            for status in self.work.answers {
                self.server.prepare(*status, self.work.dress);
            }
        }
    }

    pub(crate) fn run(&mut self) {
        for _ in 0..self.calls {
            let request = self.requests.pop().expect("prepared");
            drop(std::hint::black_box(self.sender.send(request)));
        }
    }
}

const OK: &[u16] = &[200];

fn layered<P, R>(layer: RetryLayer<P, R>) -> Box<dyn Fn(Server) -> Box<dyn Sender>>
where
    P: Policy + Clone + 'static,
    P::Session: 'static,
    R: Rewind<Body> + Clone + 'static,
    RetryLayer<P, R>: Layer<Server, Service = tower_http_retry::Retry<Server, P, R>>,
    tower_http_retry::Retry<Server, P, R>: Service<Request<Body>, Response = Answer>,
{
    Box::new(move |server| Box::new(layer.layer(server)))
}

fn default() -> RetryLayer<RetryPolicy> {
    RetryLayer::new(RetryPolicy::default())
}

fn cell(
    name: impl Into<String>,
    request: impl Fn() -> Request<Body> + 'static,
    ours: Box<dyn Fn(Server) -> Box<dyn Sender>>,
) -> Cell {
    Cell {
        name: name.into(),
        work: Work {
            request: Box::new(request),
            answers: OK,
            dress: BARE,
            at_once: true,
        },
        ours,
        never: false,
    }
}

impl Cell {
    fn answered(mut self, answers: &'static [u16], dress: Dress) -> Self {
        self.work.answers = answers;
        self.work.dress = dress;
        self
    }
}

pub(crate) fn all() -> Vec<Cell> {
    let mut cells = requests();
    cells.extend(policies());
    cells.extend(options());
    cells.extend(outcomes());
    cells.extend(hedges());
    cells
}

/// The default policy, and a 200 without anything.
fn requests() -> Vec<Cell> {
    let happy = |name: &str, request: fn() -> Request<Body>| {
        cell(format!("200: {name}"), request, layered(default()))
    };
    let mut cells = vec![
        happy("no header", || work::with_headers(0, Made::Standard)),
        happy("8 mixed headers", mixed),
        happy("8 mixed headers, URI of 30 B", work::with_short_uri),
        happy("8 mixed headers, URI of 1.3 KB", work::with_long_uri),
        happy("8 mixed headers, cookie of 64 B", || work::with_cookie(64)),
        happy("8 mixed headers, cookie of 4 KiB", || {
            work::with_cookie(4 * 1024)
        }),
        happy("8 mixed headers, cookie of 16 KiB", || {
            work::with_cookie(16 * 1024)
        }),
        happy("8 mixed headers, 1 extension", || work::with_extensions(1)),
        happy("8 mixed headers, 3 extensions", || work::with_extensions(3)),
        happy("8 mixed headers, a RequestDeadline", || {
            let mut request = mixed();
            let deadline = RequestDeadline::after(Duration::from_secs(60));
            request.extensions_mut().insert(deadline);
            request
        }),
        happy("8 mixed headers, marked Idempotent", || {
            let mut request = mixed();
            request.extensions_mut().insert(Idempotent);
            request
        }),
        happy("POST of 1 KiB with a key", || post(true)),
        happy("POST of 1 KiB", || post(false)),
    ];
    for count in [3, 8, 20, 60] {
        for (made, text) in MADE {
            cells.push(cell(
                format!("200: {count} headers: {text}"),
                move || work::with_headers(count, made),
                layered(default()),
            ));
        }
    }
    let mut waits = happy("8 mixed headers, answered when polled again", mixed);
    waits.work.at_once = false;
    cells.push(waits);
    cells
}

/// A [`HedgeLayer`] alone, which has seen enough requests to know what is late.
fn hedges() -> Vec<Cell> {
    let hedged = |name: &str, request: fn() -> Request<Body>| {
        let ours = Box::new(|server: Server| -> Box<dyn Sender> {
            let layer = HedgeLayer::new(&RetryPolicy::default());
            let mut service = layer.layer(server.clone());
            for _ in 0..100 {
                server.prepare(200, BARE);
                drop(send(&mut service, mixed()));
            }
            assert!(layer.delay(mixed().uri()).is_some(), "enough requests");
            Box::new(service)
        });
        cell(format!("hedge: {name}"), request, ours)
    };
    vec![
        hedged("a GET that is answered at once", mixed),
        hedged("a POST, which may not be hedged", || post(false)),
    ]
}

fn never() -> RetryPolicy {
    let policy = RetryPolicy::builder().total(0);
    policy.build().expect("a policy")
}

fn closure() -> impl Policy<Session: 'static> + Clone {
    policy_fn(|attempt: &Attempt<'_>| {
        let transient = match attempt.outcome() {
            Outcome::Response { status, .. } => status.is_server_error(),
            _ => true,
        };
        if !transient {
            Decision::Accept
        } else if attempt.number() < 4 {
            Decision::Retry(RetryDecision::after(Duration::ZERO))
        } else {
            Decision::Stop(StopDecision::because(StopReason::Custom(
                "three are enough".into(),
            )))
        }
    })
}

/// Prefixes as an API gateway has them, several on each host; the request's is among them.
fn mounts(count: usize) -> Mounts<RetryPolicy> {
    // One budget for all: what is compared is how a policy is found.
    let policy = RetryPolicy::default();
    let mounts = Mounts::new().mount("http://api.example.com/v1/", policy.clone());
    (1..count).fold(mounts.expect("a prefix"), |mounts, number| {
        let prefix = format!("http://host-{}.example.com/service-{number}/", number / 10);
        mounts.mount(&prefix, policy.clone()).expect("a prefix")
    })
}

fn policies() -> Vec<Cell> {
    let mut cells = vec![
        cell(
            "200: policy urllib3()",
            mixed,
            layered(RetryLayer::new(RetryPolicy::urllib3())),
        ),
        cell(
            "200: policy is a closure",
            mixed,
            layered(RetryLayer::new(closure())),
        ),
        cell(
            "200: policy is a SharedPolicy",
            mixed,
            layered(RetryLayer::new(SharedPolicy::new(RetryPolicy::default()))),
        ),
        cell(
            "200: a SharedPolicy in the request's extensions",
            || {
                thread_local! {
                    static OWN: SharedPolicy = SharedPolicy::new(RetryPolicy::default());
                }
                let mut request = mixed();
                request.extensions_mut().insert(OWN.with(Clone::clone));
                request
            },
            layered(default()),
        ),
    ];
    for count in [1, 100, 10_000] {
        cells.push(cell(
            format!("200: policy is one of {count} Mounts"),
            mixed,
            // Made when it is needed: the largest takes a while.
            Box::new(move |server| Box::new(RetryLayer::new(mounts(count)).layer(server))),
        ));
        cells.push(
            cell(
                format!("404: none of {count} Mounts fits"),
                mixed,
                Box::new(move |server| {
                    let table = Mounts::new().fallback(RetryPolicy::default());
                    let table = (0..count).fold(table, |mounts, number| {
                        let prefix = format!("http://host-{number}.example.com/");
                        let policy = RetryPolicy::builder().budget(None).build();
                        let policy = policy.expect("a policy");
                        mounts.mount(&prefix, policy).expect("a prefix")
                    });
                    Box::new(RetryLayer::new(table).layer(server))
                }),
            )
            .answered(&[404], BARE),
        );
    }
    for (name, answers) in [("200", OK), ("404", &[404][..])] {
        let mut never = cell(
            format!("{name}: policy with total(0)"),
            mixed,
            layered(RetryLayer::new(never())),
        );
        never.never = true;
        cells.push(never.answered(answers, BARE));
    }
    cells
}

/// Each option of the layer on a GET that succeeds at once.
fn options() -> Vec<Cell> {
    let option = |name: &str, layer: RetryLayer<RetryPolicy>| {
        cell(format!("200: {name}"), mixed, layered(layer))
    };
    let long = Duration::from_secs(60);
    let opinion = |_: &Outcome<'_>| Opinion::NoOpinion;
    let in_flight = InFlightLimit::new(100).expect("a limit");
    let throttle = AdaptiveThrottle::builder().build().expect("a throttle");
    vec![
        option("attempt_timeout", default().attempt_timeout(long)),
        option("deadline", default().deadline(long)),
        option(
            "min_attempt",
            default().deadline(long).min_attempt(long / 2),
        ),
        option("drain", default().drain(64 * 1024)),
        option("on_event", default().on_event(|_| {})),
        option("before_retry", default().before_retry(|_, _| ())),
        option(
            "attempt_header",
            default().attempt_header(OwnHeader::try_from("retry-attempt").expect("a name")),
        ),
        option("one classifier", default().classify(opinion)),
        option(
            "three classifiers",
            default()
                .classify(opinion)
                .classify(opinion)
                .classify(opinion),
        ),
        option(
            "idempotency keys, which a GET does not need",
            default().idempotency_keys_with(|| "8e03978e-40d5".to_owned()),
        ),
        option(
            "max_retries_in_flight",
            default().max_retries_in_flight(in_flight),
        ),
        option("shared hints", default().admission(SharedHints::default())),
        option("adaptive throttle", default().admission(throttle)),
        option(
            "wall_clock",
            default().wall_clock(std::time::SystemTime::now),
        ),
        cell(
            "200: replay_bodies",
            mixed,
            layered(default().replay_bodies(64 * 1024)),
        ),
    ]
}

/// Outcomes and what responses look like.
fn outcomes() -> Vec<Cell> {
    let dresses = [
        ("bare responses", BARE),
        (
            "5 response headers and an extension",
            Dress {
                headers: 5,
                extension: true,
            },
        ),
        (
            "15 response headers and an extension",
            Dress {
                headers: 15,
                extension: true,
            },
        ),
    ];
    // The default but for the wait, and with a budget that two retries for each request do not use
    // up.
    let at_once = || {
        let budget = RetryBudget::builder().ratio(10.0).capacity(100_000.0);
        let policy = RetryPolicy::builder()
            .backoff(Backoff::none())
            .budget(budget.build().expect("a budget"));
        layered(RetryLayer::new(policy.build().expect("a policy")))
    };
    let mut cells = Vec::new();
    for (text, dress) in dresses {
        if dress.headers > 0 {
            cells.push(cell(format!("200: {text}"), mixed, layered(default())).answered(OK, dress));
        }
        for status in [&[304][..], &[404]] {
            let name = format!("{}: {text}", status[0]);
            cells.push(cell(name, mixed, layered(default())).answered(status, dress));
        }
        let name = format!("POST 500: {text}");
        cells.push(cell(name, || post(false), layered(default())).answered(&[500], dress));
        for (name, answers) in [
            ("503, 200", &[503, 200][..]),
            ("503, 503, 200", &[503, 503, 200]),
        ] {
            cells.push(cell(format!("{name}: {text}"), mixed, at_once()).answered(answers, dress));
        }
    }
    type Make = fn() -> Request<Body>;
    let requests: [(&str, Make); 6] = [
        ("no header", || work::with_headers(0, Made::Standard)),
        ("20 headers from strings", || {
            work::with_headers(20, Made::Strings)
        }),
        ("20 headers that are slices", || {
            work::with_headers(20, Made::Slices)
        }),
        ("60 custom headers", || work::with_headers(60, Made::Custom)),
        ("a cookie of 16 KiB", || work::with_cookie(16 * 1024)),
        ("3 extensions", || work::with_extensions(3)),
    ];
    for (text, request) in requests {
        let name = format!("503, 503, 200: request with {text}");
        cells.push(cell(name, request, at_once()).answered(&[503, 503, 200], BARE));
    }
    cells
}
