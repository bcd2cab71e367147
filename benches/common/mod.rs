//! The requests, the service and the peers that all benchmarks share.
#![allow(dead_code)]

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{Empty, Full};
use tower::{
    Layer, Service,
    retry::{
        Policy, Retry as TowerRetry,
        backoff::{Backoff as _, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff},
        budget::{Budget as _, TpsBudget},
    },
    util::rng::HasherRng,
};
use tower_http_retry::{
    Retry, RetryLayer,
    budget::RetryBudget,
    mounts::Mounts,
    policy::{Backoff, RetryPolicy},
};

pub(crate) type Body = Full<Bytes>;

/// A GET with eight usual headers, three of them built from strings.
#[inline(never)]
pub(crate) fn get() -> Request<Body> {
    let request = Request::get("http://api.example.com/v1/items/42?fields=name")
        .header(header::HOST, HeaderValue::from_static("api.example.com"))
        .header(header::USER_AGENT, HeaderValue::from_static("client/1.0"))
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
        .header(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("gzip, br"),
        )
        .header(
            header::ACCEPT_LANGUAGE,
            HeaderValue::from_static("en;q=0.8"),
        )
        .header(
            header::AUTHORIZATION,
            "Bearer eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJ".to_owned(),
        )
        .header(
            header::IF_NONE_MATCH,
            "\"33a64df551425fcc55e4d42a148795d9\"".to_owned(),
        )
        .header(header::COOKIE, "session=38afes7a8; theme=dark".to_owned());
    request.body(Body::default()).expect("a request")
}

/// A POST of 1 KiB that may be repeated.
#[inline(never)]
pub(crate) fn post() -> Request<Body> {
    static BODY: [u8; 1024] = [b'x'; 1024];
    let mut request = get().map(|_| Body::new(Bytes::copy_from_slice(&BODY)));
    *request.method_mut() = http::Method::POST;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert("idempotency-key", HeaderValue::from_static("8e03978e-40d5"));
    request
}

/// Answers at once, from a script that all clones go through together.
#[derive(Clone)]
pub(crate) struct Server(Arc<Script>);

struct Script {
    statuses: &'static [u16],
    answered: AtomicUsize,
    at_once: bool,
}

pub(crate) fn server(statuses: &'static [u16]) -> Server {
    Server(Arc::new(Script {
        statuses,
        answered: AtomicUsize::new(0),
        at_once: true,
    }))
}

/// Answers when it is polled the second time, as every server on a network does.
fn slow_server() -> Server {
    Server(Arc::new(Script {
        statuses: OK,
        answered: AtomicUsize::new(0),
        at_once: false,
    }))
}

/// The answer of a [`Server`].
pub(crate) struct Answer {
    response: Option<Response<Empty<Bytes>>>,
    polled: bool,
}

impl Future for Answer {
    type Output = Result<Response<Empty<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.polled {
            self.polled = true;
            return Poll::Pending;
        }
        Poll::Ready(Ok(self.response.take().expect("polled until ready")))
    }
}

impl Service<Request<Body>> for Server {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    // Not a part of its caller, so that all callers pay the same for it.
    #[inline(never)]
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        drop(black_box(request));
        let Script {
            statuses,
            answered,
            at_once,
        } = &*self.0;
        let mut status = statuses[0];
        if statuses.len() > 1 {
            status = statuses[answered.fetch_add(1, Ordering::Relaxed) % statuses.len()];
        }
        let mut response = Response::new(Empty::new());
        *response.status_mut() = status.try_into().expect("a status");
        Answer {
            response: Some(response),
            polled: *at_once,
        }
    }
}

/// Sends a request to a service that is always ready, and waits for nothing.
pub(crate) fn send<S, R>(service: &mut S, request: R) -> S::Response
where
    S: Service<R>,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    let mut answer = pin!(service.call(request));
    loop {
        match answer.as_mut().poll(&mut cx) {
            Poll::Ready(Ok(response)) => return response,
            Poll::Ready(Err(_)) => panic!("the server answers"),
            Poll::Pending => {}
        }
    }
}

// ===== tower's policies =====

/// Three retries of what is not a success.
#[derive(Clone)]
pub(crate) struct Counting(pub(crate) u32);

impl<B: Clone, D, E> Policy<Request<B>, Response<D>, E> for Counting {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<B>,
        result: &mut Result<Response<D>, E>,
    ) -> Option<Ready<()>> {
        if failed(result) && self.0 > 0 {
            self.0 -= 1;
            return Some(ready(()));
        }
        None
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

/// The same with tower's budget.
#[derive(Clone)]
pub(crate) struct Budgeted {
    left: u32,
    budget: Arc<TpsBudget>,
}

impl<B: Clone, D, E> Policy<Request<B>, Response<D>, E> for Budgeted {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<B>,
        result: &mut Result<Response<D>, E>,
    ) -> Option<Ready<()>> {
        if !failed(result) {
            self.budget.deposit();
            return None;
        }
        if self.left == 0 || !self.budget.withdraw() {
            return None;
        }
        self.left -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

/// The same with tower's budget and backoff.
#[derive(Clone)]
pub(crate) struct BackingOff {
    inner: Budgeted,
    backoff: ExponentialBackoff<HasherRng>,
}

impl<B: Clone, D, E> Policy<Request<B>, Response<D>, E> for BackingOff {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<B>,
        result: &mut Result<Response<D>, E>,
    ) -> Option<tokio::time::Sleep> {
        let _granted: Ready<()> = self.inner.retry(request, result)?;
        Some(self.backoff.next_backoff())
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

/// Never retries, and so clones nothing.
#[derive(Clone)]
pub(crate) struct Unclonable;

impl<Req, Res, E> Policy<Req, Res, E> for Unclonable {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Req, _: &mut Result<Res, E>) -> Option<Ready<()>> {
        None
    }

    fn clone_request(&mut self, _: &Req) -> Option<Req> {
        None
    }
}

fn failed<D, E>(result: &Result<Response<D>, E>) -> bool {
    !matches!(result, Ok(response) if response.status().is_success())
}

pub(crate) fn tower_counting<S>(inner: S) -> TowerRetry<Counting, S> {
    TowerRetry::new(Counting(3), inner)
}

/// Enough that no benchmark runs into it.
pub(crate) fn roomy_budget() -> Arc<TpsBudget> {
    let budget = TpsBudget::new(Duration::from_secs(10), 1_000_000_000, 1.0);
    Arc::new(budget)
}

fn budgeted() -> Budgeted {
    Budgeted {
        left: 3,
        budget: roomy_budget(),
    }
}

/// Without backoff, since one of zero still sleeps.
pub(crate) fn tower_budget<S>(inner: S) -> TowerRetry<Budgeted, S> {
    TowerRetry::new(budgeted(), inner)
}

pub(crate) fn tower_budget_backoff<S>(inner: S) -> TowerRetry<BackingOff, S> {
    tower_waiting(inner, Duration::from_millis(100), Duration::from_secs(20))
}

/// With waits between `min` and `max`.
pub(crate) fn tower_waiting<S>(
    inner: S,
    min: Duration,
    max: Duration,
) -> TowerRetry<BackingOff, S> {
    let mut maker =
        ExponentialBackoffMaker::new(min, max, 0.5, HasherRng::default()).expect("a backoff");
    let policy = BackingOff {
        inner: budgeted(),
        backoff: maker.make_backoff(),
    };
    TowerRetry::new(policy, inner)
}

// ===== ours =====

pub(crate) fn ours<S>(inner: S) -> Retry<S, RetryPolicy> {
    RetryLayer::new(RetryPolicy::default()).layer(inner)
}

/// The default policy but for the wait, and with a budget that two retries for each request
/// do not use up.
pub(crate) fn ours_at_once<S>(inner: S) -> Retry<S, RetryPolicy> {
    ours_waiting(inner, Backoff::none())
}

pub(crate) fn ours_waiting<S>(inner: S, backoff: Backoff) -> Retry<S, RetryPolicy> {
    let budget = RetryBudget::builder().ratio(10.0).capacity(100_000.0);
    let policy = RetryPolicy::builder()
        .backoff(backoff)
        .budget(budget.build().expect("a budget"));
    RetryLayer::new(policy.build().expect("a policy")).layer(inner)
}

/// A policy under which no request is ever sent again.
pub(crate) fn ours_never<S>(inner: S) -> Retry<S, RetryPolicy> {
    let policy = RetryPolicy::builder().total(0);
    RetryLayer::new(policy.build().expect("a policy")).layer(inner)
}

// ===== what is compared =====

/// Sorts the values and answers with the middle one.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Candidates that do the same job.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) candidates: Vec<Candidate>,
    /// What is subtracted from all others to see what they add.
    pub(crate) base: Option<&'static str>,
    /// What ours is compared with.
    pub(crate) peer: &'static str,
}

pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    /// Not made before it is needed: a used heap takes more instructions than a new one.
    pub(crate) make: fn() -> Run,
}

/// Does the job once.
pub(crate) type Run = Box<dyn FnMut()>;

const OURS: &str = "ours";

impl Group {
    fn new(name: &'static str, base: Option<&'static str>, peer: &'static str) -> Self {
        Self {
            name,
            candidates: Vec::new(),
            base,
            peer,
        }
    }

    fn with(mut self, name: &'static str, make: fn() -> Run) -> Self {
        self.candidates.push(Candidate { name, make });
        self
    }

    /// Prints a row for each candidate from its measure.
    pub(crate) fn print(&self, unit: &str, measures: &[f64]) {
        let of = |name| {
            let mut names = self.candidates.iter().map(|candidate| candidate.name);
            names.position(|it| it == name).map(|index| measures[index])
        };
        let base = self.base.and_then(of).unwrap_or(0.0);
        let peer = of(self.peer).unwrap_or(f64::NAN);
        println!("\n{}", self.name);
        println!("| | {unit} | added | added, against {} |", self.peer);
        println!("| --- | ---: | ---: | ---: |");
        for (candidate, measure) in self.candidates.iter().zip(measures) {
            let added = measure - base;
            let ratio = added / (peer - base);
            println!(
                "| {} | {measure:.1} | {added:.1} | {ratio:.2} |",
                candidate.name
            );
        }
    }

    /// What ours adds, as a part of what the peer adds; `None` in a group without ours.
    pub(crate) fn ratio(&self, measures: &[f64]) -> Option<f64> {
        let of = |name| {
            let mut names = self.candidates.iter().map(|candidate| candidate.name);
            names.position(|it| it == name).map(|index| measures[index])
        };
        let base = self.base.and_then(of).unwrap_or(0.0);
        Some((of(OURS)? - base) / (of(self.peer)? - base))
    }
}

/// Sends the same request again and again.
fn sending<S>(mut service: S, request: fn() -> Request<Body>) -> Run
where
    S: Service<Request<Body>> + 'static,
{
    Box::new(move || drop(black_box(send(&mut service, request()))))
}

const OK: &[u16] = &[200];
const FLAKY: &[u16] = &[503, 503, 200];
const BARE: &str = "bare service";
const TOWER: &str = "tower::retry";
const TOWER_BUDGET: &str = "tower::retry + TpsBudget + ExponentialBackoff";

/// What runs on one thread without a runtime.
pub(crate) fn groups() -> Vec<Group> {
    vec![
        Group::new("happy path, GET with 8 headers", Some(BARE), TOWER_BUDGET)
            .with(BARE, || sending(server(OK), get))
            .with(TOWER, || sending(tower_counting(server(OK)), get))
            .with(TOWER_BUDGET, || {
                sending(tower_budget_backoff(server(OK)), get)
            })
            .with(OURS, || sending(ours(server(OK)), get)),
        Group::new("happy path, POST of 1 KiB", Some(BARE), TOWER_BUDGET)
            .with(BARE, || sending(server(OK), post))
            .with(TOWER, || sending(tower_counting(server(OK)), post))
            .with(TOWER_BUDGET, || {
                sending(tower_budget_backoff(server(OK)), post)
            })
            .with(OURS, || sending(ours(server(OK)), post)),
        Group::new(
            "happy path, GET with a wait for the answer",
            Some(BARE),
            TOWER_BUDGET,
        )
        .with(BARE, || sending(slow_server(), get))
        .with(TOWER, || sending(tower_counting(slow_server()), get))
        .with(TOWER_BUDGET, || {
            sending(tower_budget_backoff(slow_server()), get)
        })
        .with(OURS, || sending(ours(slow_server()), get)),
        Group::new("a GET that is never retried", Some(BARE), TOWER)
            .with(BARE, || sending(server(OK), get))
            .with(TOWER, || {
                sending(TowerRetry::new(Unclonable, server(OK)), get)
            })
            .with(OURS, || sending(ours_never(server(OK)), get)),
        Group::new("retry path: 503, 503, 200 without a wait", None, TOWER)
            .with("three bare calls", || {
                let mut one = sending(server(FLAKY), get);
                Box::new(move || (0..3).for_each(|_| one()))
            })
            .with(TOWER, || sending(tower_counting(server(FLAKY)), get))
            // Without the backoff, since one of zero still sleeps.
            .with("tower::retry + TpsBudget", || {
                sending(tower_budget(server(FLAKY)), get)
            })
            .with(OURS, || sending(ours_at_once(server(FLAKY)), get)),
        Group::new("a deposit, budget full", Some("nothing"), "TpsBudget")
            .with("nothing", || Box::new(|| {}))
            .with("TpsBudget", || {
                let budget = roomy_budget();
                Box::new(move || black_box(&budget).deposit())
            })
            .with(OURS, || depositing(RetryBudget::default()))
            .with("ours, one for all", || depositing(RetryBudget::shared())),
        Group::new("which mount a URL belongs to", Some("nothing"), "1 mount")
            .with("nothing", || Box::new(|| {}))
            .with("1 mount", || looking_up(1))
            .with("100 mounts", || looking_up(100))
            .with("10 000 mounts", || looking_up(10_000)),
    ]
}

/// Looks for one of the longest prefixes of a table: several on each host, as an API gateway has.
fn looking_up(mounts: u32) -> Run {
    let mut table = Mounts::new();
    for number in 0..mounts {
        let prefix = format!(
            "https://host-{}.example.com/v1/service-{number}/",
            number / 10
        );
        table = table.mount(&prefix, number).expect("a prefix");
    }
    let last = mounts - 1;
    let uri = format!(
        "https://host-{}.example.com/v1/service-{last}/items/42",
        last / 10
    );
    let uri: Uri = uri.parse().expect("a URI");
    assert_eq!(table.get(&uri).map(|mount| *mount.policy()), Some(last));
    Box::new(move || {
        black_box(black_box(&table).get(&uri));
    })
}

fn depositing(budget: RetryBudget) -> Run {
    let slot = budget.slot(&Uri::from_static("http://api.example.com/"));
    Box::new(move || black_box(&budget).deposit(slot))
}
