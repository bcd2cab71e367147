//! Several servers for one service.

use std::{
    collections::HashMap,
    future::{Future, Ready, pending, ready},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{
    BoxError, Layer, Service, ServiceExt,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{Load, PeakEwma},
    service_fn,
};
use tower_http_retry::{
    NeverSent, RequestDeadline, RetryLayer, RetryReport,
    budget::{RetryBudget, Scope},
    endpoints::EndpointsLayer,
    policy::{Backoff, Note, RetryPolicy, StopReason, WaitReason},
    shared_hints::SharedHints,
    stack::{LayerOutcome, RequestState},
};

use test_support::probe::every;

const S: Duration = Duration::from_secs(1);

type Req = Request<Full<Bytes>>;
type Res = Response<Full<Bytes>>;
type Answering = Pin<Box<dyn Future<Output = Result<Res, BoxError>> + Send>>;

fn answer(status: u16) -> Answering {
    let response = Response::builder().status(status);
    let response = response.body(Full::default()).expect("a response");
    Box::pin(ready(Ok(response)))
}

fn later(status: u16, seconds: u64) -> Answering {
    let response = Response::builder()
        .status(status)
        .header(header::RETRY_AFTER, seconds);
    let response = response.body(Full::default()).expect("a response");
    Box::pin(ready(Ok(response)))
}

fn refused() -> Answering {
    let error = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    Box::pin(ready(Err(NeverSent::new(error).into())))
}

fn reset() -> Answering {
    let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Box::pin(ready(Err(error.into())))
}

fn silence() -> Answering {
    Box::pin(pending())
}

type Script = dyn Fn(usize) -> Answering + Send + Sync;

/// How often it was asked, and what it does then.
type Host = (usize, Arc<Script>);

/// A network of hosts, each of which does something with its n-th request.
#[derive(Clone, Default)]
struct Net {
    hosts: Arc<Mutex<HashMap<String, Host>>>,
    seen: Arc<Mutex<Vec<http::request::Parts>>>,
}

impl Net {
    fn host(self, host: &str, script: impl Fn(usize) -> Answering + Send + Sync + 'static) -> Self {
        let mut hosts = self.hosts.lock().expect("no panic");
        hosts.insert(host.to_owned(), (0, Arc::new(script)));
        drop(hosts);
        self
    }

    fn become_well(&self, host: &str) {
        let mut hosts = self.hosts.lock().expect("no panic");
        hosts.insert(host.to_owned(), (0, Arc::new(|_| answer(200))));
    }

    /// The hosts that were asked since the last call.
    fn asked(&self) -> Vec<String> {
        let seen = std::mem::take(&mut *self.seen.lock().expect("no panic"));
        let hosts = seen.iter().map(|parts| parts.uri.host());
        hosts.map(|host| host.expect("a host").to_owned()).collect()
    }
}

impl Service<Req> for Net {
    type Response = Res;
    type Error = BoxError;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Answering {
        let host = request.uri().host().expect("a host").to_owned();
        let mut hosts = self.hosts.lock().expect("no panic");
        let (asked, script) = hosts.get_mut(&host).expect("a host of the network");
        let answering = script(*asked);
        *asked += 1;
        let parts = request.into_parts().0;
        self.seen.lock().expect("no panic").push(parts);
        answering
    }
}

const SERVICE: &str = "http://orders.test/";
const A: &str = "http://a.test/";
const B: &str = "http://b.test/";
const C: &str = "http://c.test/v2";

fn endpoints(all: &[&str]) -> EndpointsLayer {
    EndpointsLayer::ordered(SERVICE, all).expect("valid")
}

fn get() -> Req {
    Request::get("http://orders.test/7?x=1")
        .body(Full::default())
        .expect("a request")
}

fn retries() -> RetryLayer<RetryPolicy> {
    RetryLayer::new(every(Duration::ZERO)).attempt_timeout(5 * S)
}

async fn succeed<X>(service: &X, request: Req) -> Option<RetryReport>
where
    X: Service<Req, Response = Res> + Clone,
    X::Error: std::fmt::Debug,
{
    let response = service.clone().oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    response.extensions().get().cloned()
}

fn urls(report: &RetryReport) -> Vec<&str> {
    let urls = report.attempts.iter().map(|attempt| attempt.url.as_deref());
    urls.map(|url| url.unwrap_or("the request's own")).collect()
}

#[tokio::test(start_paused = true)]
async fn each_attempt_goes_to_an_endpoint_that_the_request_was_not_sent_to() {
    let net = Net::default()
        .host("a.test", |_| answer(500))
        .host("b.test", |_| refused())
        .host("c.test", |_| answer(200));
    let service = (retries(), endpoints(&[A, B, C])).layer(net.clone());
    let policy = RetryPolicy::builder()
        .status_forcelist([500])
        .backoff(Backoff::constant(Duration::ZERO));
    let mut request = get();
    request
        .extensions_mut()
        .insert(policy.build().expect("valid"));
    let report = succeed(&service, request).await.expect("a report");
    let expected = ["http://a.test/7", "http://b.test/7", "http://c.test/v2/7"];
    assert_eq!(urls(&report), expected, "{report}");
    assert_eq!(report.url, "http://orders.test/7");
    let queries = net.seen.lock().expect("no panic");
    assert!(queries.iter().all(|parts| parts.uri.query() == Some("x=1")));
}

#[tokio::test(start_paused = true)]
async fn none_is_refused_for_want_of_an_endpoint() {
    let net = Net::default()
        .host("a.test", |_| answer(503))
        .host("b.test", |asked| answer(if asked == 0 { 503 } else { 200 }));
    let service = (retries(), endpoints(&[A, B])).layer(net.clone());
    let report = succeed(&service, get()).await.expect("a report");
    // Both were tried, so both may be tried again.
    let expected = [
        "http://a.test/7",
        "http://b.test/7",
        "http://a.test/7",
        "http://b.test/7",
    ];
    assert_eq!(urls(&report), expected, "{report}");

    let net = Net::default().host("a.test", |asked| answer(if asked < 3 { 503 } else { 200 }));
    let service = (retries(), endpoints(&[A])).layer(net);
    assert!(succeed(&service, get()).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ran_out_of_time_says_where_and_the_next_requests_go_elsewhere() {
    let net = Net::default()
        .host("a.test", |_| silence())
        .host("b.test", |_| answer(200));
    let service = (retries(), endpoints(&[A, B])).layer(net.clone());
    let report = succeed(&service, get()).await.expect("a report");
    assert_eq!(
        urls(&report),
        ["http://a.test/7", "http://b.test/7"],
        "{report}"
    );
    for _ in 0..10 {
        assert!(succeed(&service, get()).await.is_none());
    }
    assert_eq!(
        net.asked().iter().filter(|host| *host == "a.test").count(),
        1
    );

    // After five seconds one looks, and the others do not wait for what it finds.
    advance(5 * S).await;
    let mut look = task::spawn(service.clone().oneshot(get()));
    assert_pending!(look.poll());
    assert!(succeed(&service, get()).await.is_none());
    assert_eq!(net.asked(), ["a.test", "b.test"]);
    drop(look);

    // Nobody knows what it would have found.
    net.become_well("a.test");
    assert!(succeed(&service, get()).await.is_none());
    assert!(succeed(&service, get()).await.is_none());
    assert_eq!(net.asked(), ["a.test", "a.test"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_or_too_late_says_nothing_about_an_endpoint() {
    let net = Net::default()
        .host(
            "a.test",
            |asked| if asked < 2 { silence() } else { answer(200) },
        )
        .host("b.test", |_| answer(200));
    let service = (retries(), endpoints(&[A, B])).layer(net.clone());
    let mut dropped = task::spawn(service.clone().oneshot(get()));
    assert_pending!(dropped.poll());
    drop(dropped);

    let mut hurried = get();
    hurried.extensions_mut().insert(RequestDeadline::after(S));
    let error = service
        .clone()
        .oneshot(hurried)
        .await
        .expect_err("too late");
    assert_eq!(
        urls(error.report()),
        ["http://a.test/7"],
        "{}",
        error.report()
    );
    assert!(succeed(&service, get()).await.is_none());
    assert_eq!(net.asked(), ["a.test"; 3]);
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_of_when_to_come_back_holds_for_it_alone() {
    let net = Net::default()
        .host("a.test", |asked| {
            if asked == 0 {
                later(503, 30)
            } else {
                answer(200)
            }
        })
        .host("b.test", |_| answer(200));
    let retries = retries().admission(SharedHints::default());
    let service = (retries, endpoints(&[A, B])).layer(net.clone());
    let begin = Instant::now();
    let report = succeed(&service, get()).await.expect("a report");
    assert_eq!(
        urls(&report),
        ["http://a.test/7", "http://b.test/7"],
        "{report}"
    );
    assert!(
        report.attempts[0]
            .layer_notes
            .contains(&Note::HintElsewhere),
        "{report}"
    );
    // Nor does another request wait for it.
    assert!(succeed(&service, get()).await.is_none());
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(net.asked(), ["a.test", "b.test", "b.test"]);
    advance(29 * S).await;
    assert!(succeed(&service, get()).await.is_none());
    advance(S).await;
    assert!(succeed(&service, get()).await.is_none());
    assert_eq!(net.asked(), ["b.test", "a.test"]);
}

#[tokio::test(start_paused = true)]
async fn if_all_ask_to_be_left_alone_the_first_of_them_is_waited_for() {
    for (at_a, at_b, waited, asked) in [(30, 2, 2, "b.test"), (2, 30, 2, "a.test")] {
        let busy = |seconds| {
            move |asked| {
                if asked == 0 {
                    later(503, seconds)
                } else {
                    answer(200)
                }
            }
        };
        let net = Net::default()
            .host("a.test", busy(at_a))
            .host("b.test", busy(at_b));
        let service = (retries(), endpoints(&[A, B])).layer(net.clone());
        let begin = Instant::now();
        let report = succeed(&service, get()).await.expect("a report");
        assert_eq!(begin.elapsed().as_secs(), waited, "{report}");
        assert_eq!(net.asked(), ["a.test", "b.test", asked], "{report}");
        let why = report.attempts[1].wait.as_ref().map(|wait| &wait.why);
        let by_layer = matches!(why, Some(WaitReason::Opinion { by }) if by == "endpoints");
        assert_eq!(by_layer, at_a < at_b, "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_over_the_cap_ends_no_request_that_can_go_elsewhere() {
    let net = Net::default()
        .host("a.test", |_| later(503, 86_400))
        .host("b.test", |_| answer(200));
    let service = (retries(), endpoints(&[A, B])).layer(net.clone());
    let report = succeed(&service, get()).await.expect("a report");
    assert_eq!(report.attempts.len(), 2);

    let service = (retries(), endpoints(&[A])).layer(net);
    let response = service.oneshot(get()).await.expect("an answer");
    let report: &RetryReport = response.extensions().get().expect("a report");
    assert!(
        matches!(report.stop, StopReason::RetryAfterTooLong { .. }),
        "{report}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_all_ask_for_is_cut_or_refused_by_the_policy_like_any_hint() {
    let net = Net::default()
        .host("a.test", |_| later(503, 86_400))
        .host("b.test", |_| later(503, 86_400));
    let service = (retries(), endpoints(&[A, B])).layer(net.clone());
    let begin = Instant::now();
    let response = service.oneshot(get()).await.expect("an answer");
    let report: &RetryReport = response.extensions().get().expect("a report");
    assert!(
        matches!(report.stop, StopReason::RetryAfterTooLong { .. }),
        "{report}"
    );
    assert_eq!(net.asked(), ["a.test", "b.test"]);
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_applied_is_sent_to_no_other_endpoint() {
    for (fails, sent) in [(refused as fn() -> Answering, 2), (reset, 1), (silence, 1)] {
        let net = Net::default()
            .host("a.test", move |_| fails())
            .host("b.test", |_| answer(200));
        let service = (retries(), endpoints(&[A, B])).layer(net.clone());
        let mut request = get();
        *request.method_mut() = http::Method::POST;
        let result = service.oneshot(request).await;
        assert_eq!(result.is_ok(), sent == 2);
        assert_eq!(net.asked().len(), sent);
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_and_host_go_to_endpoints_and_what_is_not_for_the_service_passes_through() {
    let net = Net::default()
        .host("a.test", |_| answer(200))
        .host("elsewhere.test", |_| answer(200));
    let service = endpoints(&[A]).layer(net.clone());
    let mut request = get();
    let headers = request.headers_mut();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    headers.insert(header::HOST, HeaderValue::from_static("orders.test"));
    assert!(service.clone().oneshot(request).await.is_ok());
    for uri in ["http://elsewhere.test/7", "http://a.test/7"] {
        let mut request = get();
        *request.uri_mut() = Uri::from_static(uri);
        let response = service.clone().oneshot(request).await.expect("an answer");
        assert!(response.extensions().get::<LayerOutcome>().is_none());
    }
    let seen = net.seen.lock().expect("no panic");
    assert_eq!(seen[0].headers[header::AUTHORIZATION], "Bearer x");
    assert_eq!(seen[0].headers[header::HOST], "a.test");
    let uris: Vec<_> = seen.iter().map(|parts| parts.uri.to_string()).collect();
    let expected = [
        "http://a.test/7?x=1",
        "http://elsewhere.test/7",
        "http://a.test/7",
    ];
    assert_eq!(uris, expected);
}

#[test]
fn what_is_no_base_uri_is_named_with_what_is_allowed() {
    let none: [&str; 0] = [];
    for (service, list, error) in [
        (
            SERVICE,
            &none[..],
            "`endpoints` is empty: must be one base URI or more",
        ),
        ("orders", &[A], "`service` is \"orders\": must be `http://`"),
        (
            "/orders",
            &[A],
            "`service` is \"/orders\": must be `http://`",
        ),
        (
            SERVICE,
            &["ftp://a.test"],
            "`endpoints` is \"ftp://a.test\": must be `http://`",
        ),
        (SERVICE, &["http://a.test:port"], "must be `http://`"),
        (SERVICE, &["http://a b"], "must be `http://`"),
        (SERVICE, &["http://:80"], "must be `http://`"),
        (
            SERVICE,
            &["http://a.test?x"],
            "must be a base URI without a query",
        ),
        (
            SERVICE,
            &["http://a.test/#x"],
            "must be a base URI without a fragment",
        ),
        (
            SERVICE,
            &["http://a.test/../x"],
            "must be a path without `.` and `..`",
        ),
        (
            SERVICE,
            &["http://u:secret@a.test"],
            "user information: must be a base URI without it",
        ),
        (
            SERVICE,
            &[A, B, "http://A.test:80"],
            "\"http://A.test:80\": must be each endpoint once",
        ),
        (
            "https://orders.test",
            &[A],
            "must be `https://`, since the service has it",
        ),
    ] {
        let found = EndpointsLayer::ordered(service, list)
            .expect_err(error)
            .to_string();
        assert!(found.contains(error), "{found}");
        assert!(!found.contains("secret"), "{found}");
    }
    let found = EndpointsLayer::weighted(SERVICE, [(A, 1), (B, 0)]).expect_err("no weight");
    assert_eq!(
        found.to_string(),
        "`endpoints` is \"http://b.test/\": must be an endpoint with a weight of 1 or more",
    );
    let many = (0..65).map(|n| format!("http://{n}.test"));
    let found = EndpointsLayer::ordered(SERVICE, many).expect_err("too many");
    assert!(
        found.to_string().ends_with("64 endpoints at most"),
        "{found}"
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_are_those_of_the_endpoint_that_failed() {
    let budget = RetryBudget::builder().scope(Scope::PerAuthority).build();
    let budget = budget.expect("valid");
    let policy = RetryPolicy::builder()
        .backoff(Backoff::constant(Duration::ZERO))
        .budget(budget.clone());
    let net = Net::default()
        .host("a.test", |_| answer(503))
        .host("b.test", |_| answer(200));
    let layers = (
        RetryLayer::new(policy.build().expect("valid")),
        endpoints(&[A, B]),
    );
    let service = layers.layer(net);
    let balance = |uri: &'static str| {
        let slot = budget.slot(&Uri::from_static(uri));
        budget.balance(slot, Instant::now().into_std())
    };
    let full = balance(B);
    assert!(succeed(&service, get()).await.is_some());
    assert!(balance(A) < full, "{:?} {full:?}", balance(A));
    assert_eq!(balance(B), full);
    assert_eq!(balance(SERVICE), full);
}

#[cfg(feature = "hedge")]
#[tokio::test(start_paused = true)]
async fn a_hedge_goes_where_the_first_did_not_if_it_is_told_to() {
    use tower_http_retry::hedge::HedgeLayer;

    for (elsewhere, asked) in [(true, ["a.test", "b.test"]), (false, ["a.test", "a.test"])] {
        let net = Net::default()
            .host(
                "a.test",
                |asked| if asked == 0 { silence() } else { answer(200) },
            )
            .host("b.test", |_| answer(200));
        let policy = every(Duration::ZERO);
        let hedge = HedgeLayer::builder(&policy).fixed_delay(S);
        let hedge = if elsewhere { hedge.elsewhere() } else { hedge };
        let hedge = hedge.build().expect("valid");
        let service = (retries(), hedge, endpoints(&[A, B])).layer(net.clone());
        let report = succeed(&service, get()).await.expect("a report");
        assert_eq!(net.asked(), asked, "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_balancer_below_reads_what_was_tried_and_adds_to_it() {
    // Chooses when it is called, and so sees the request.
    let balancer = service_fn(|mut request: Req| {
        let state = RequestState::of(request.extensions()).cloned();
        let tried = state.as_ref().map(RequestState::tried).unwrap_or_default();
        let all = [A, B].map(|uri| uri.parse::<Uri>().expect("a URI"));
        let fresh = all.iter().find(|uri| !tried.contains(uri));
        let at = fresh.unwrap_or(&all[0]).clone();
        if let Some(state) = state {
            state.add_tried(at.clone());
        }
        let status = if at == all[0] { 503 } else { 200 };
        *request.uri_mut() = at.clone();
        async move {
            let mut outcome = LayerOutcome::new("balancer");
            outcome.url = Some(at);
            outcome.elsewhere = true;
            let mut response = answer(status).await?;
            response.extensions_mut().insert(outcome);
            Ok::<_, BoxError>(response)
        }
    });
    let service = retries().layer(balancer);
    let report = succeed(&service, get()).await.expect("a report");
    assert_eq!(urls(&report), [A, B], "{report}");
}

/// A server's load, before which its failures count: each as much as the time that the server asks
/// for in `Retry-After`, five minutes at most, or five seconds, and less as time goes by.
#[derive(Clone, Debug)]
struct FailuresWeigh<X> {
    inner: X,
    penalty: Arc<Mutex<Option<(Instant, Duration)>>>,
}

impl<X> FailuresWeigh<X> {
    fn new(inner: X) -> Self {
        let penalty = Arc::default();
        Self { inner, penalty }
    }
}

impl<X: Load> Load for FailuresWeigh<X> {
    type Metric = (Duration, X::Metric);

    fn load(&self) -> Self::Metric {
        let weighs = match *self.penalty.lock().expect("no panic") {
            // As `PeakEwma` forgets what it has measured.
            Some((since, charged)) => {
                charged.mul_f64((-since.elapsed().as_secs_f64() / 10.0).exp())
            }
            None => Duration::ZERO,
        };
        // In the end it is forgotten.
        let weighs = if weighs < S { Duration::ZERO } else { weighs };
        (weighs, self.inner.load())
    }
}

impl<X> Service<Req> for FailuresWeigh<X>
where
    X: Service<Req, Response = Res, Future: Send + 'static>,
{
    type Response = Res;
    type Error = X::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Res, X::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), X::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let (answer, penalty) = (self.inner.call(request), Arc::clone(&self.penalty));
        Box::pin(async move {
            let answer = answer.await;
            let asked = |response: &Res| {
                let asked = response.headers().get(header::RETRY_AFTER)?;
                let seconds = asked.to_str().ok()?.parse().ok()?;
                Some(Duration::from_secs(seconds).min(300 * S))
            };
            let charged = match &answer {
                Ok(response) if !response.status().is_server_error() => None,
                Ok(response) => Some(asked(response).unwrap_or(5 * S)),
                Err(_) => Some(5 * S),
            };
            *penalty.lock().expect("no panic") = charged.map(|it| (Instant::now(), it));
            answer
        })
    }
}

/// A server without load.
#[derive(Clone)]
struct At(u16, Arc<Mutex<usize>>);

impl Service<Req> for At {
    type Response = Res;
    type Error = BoxError;
    type Future = Ready<Result<Res, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        *self.1.lock().expect("no panic") += 1;
        let response = Response::builder().status(self.0);
        ready(Ok(response.body(Full::default()).expect("a response")))
    }
}

/// Of 100 requests to three servers, one of which always fails: how many fail, and how often it is
/// asked.
async fn asked_in_vain(failures_weigh: bool) -> (usize, usize) {
    let failing = Arc::new(Mutex::new(0));
    let servers = [503, 200, 200].map(|status| {
        let count = if status == 503 {
            Arc::clone(&failing)
        } else {
            Arc::default()
        };
        let complete = tower::load::CompleteOnResponse::default();
        FailuresWeigh::new(PeakEwma::new(At(status, count), S, 10e9, complete))
    });
    let retries = RetryLayer::new(every(Duration::ZERO));
    let failures = if failures_weigh {
        let balance = tower::buffer::Buffer::new(Balance::new(ServiceList::new(servers)), 8);
        run(retries.layer(balance)).await
    } else {
        let servers = servers.map(|server| server.inner);
        let balance = tower::buffer::Buffer::new(Balance::new(ServiceList::new(servers)), 8);
        run(retries.layer(balance)).await
    };
    let failing = failing.lock().expect("no panic");
    (failures, *failing)
}

async fn run<X>(service: X) -> usize
where
    X: Service<Req, Response = Res> + Clone,
{
    let mut failures = 0;
    for _ in 0..100 {
        let answer = service.clone().oneshot(get()).await;
        if !answer.is_ok_and(|response| response.status() == 200) {
            failures += 1;
        }
        advance(Duration::from_millis(10)).await;
    }
    failures
}

#[tokio::test(start_paused = true)]
async fn a_load_that_remembers_failures_makes_p2c_avoid_them() {
    // Which two servers are compared is drawn each time, and so one run says little.
    let (mut blind, mut told) = (0, 0);
    for _ in 0..20 {
        blind += asked_in_vain(false).await.1;
        let (failures, asked) = asked_in_vain(true).await;
        assert_eq!(failures, 0);
        assert!(asked <= 2, "{asked}");
        told += asked;
    }
    assert!(blind > 5 * told, "{blind} against {told}");
}

#[tokio::test(start_paused = true)]
async fn a_service_without_retries_above_avoids_what_fails() {
    let net = Net::default()
        .host("a.test", |_| answer(503))
        .host("b.test", |_| answer(200));
    let service = endpoints(&[A, B]).layer(net.clone());
    let mut service = task::spawn(service);
    for status in [503, 200, 200] {
        let call = service.enter(|cx, mut service| {
            assert!(service.poll_ready(cx).is_ready());
            service.call(get())
        });
        let response = assert_ready_ok!(task::spawn(call).poll());
        assert_eq!(response.status(), status);
    }
}
