//! What the order of layers means: every claim of `guide::ordering`, shown.
//!
//! The clock is paused, so the times are exact up to the timer's millisecond.

use std::{
    collections::BTreeSet,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header::LOCATION};
use http_body_util::Full;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tower::{
    BoxError, Service, ServiceBuilder, ServiceExt,
    limit::GlobalConcurrencyLimitLayer,
    load_shed::{LoadShedLayer, error::Overloaded},
    timeout::error::Elapsed,
};
use tower_http::{
    classify::ServerErrorsFailureClass,
    follow_redirect::{
        FollowRedirectLayer,
        policy::{FilterCredentials, Limited, PolicyExt},
    },
    request_id::{MakeRequestId, RequestId, SetRequestIdLayer},
    trace::TraceLayer,
};
use tower_http_retry::{
    AttemptInfo, NeverSent, RetryError, RetryErrorKind, RetryLayer, RetryReport,
    policy::{Backoff, Idempotent, RetryPolicy, RetryPolicyBuilder, StopReason},
};

type Body = Full<Bytes>;

/// The wait before every retry.
const WAIT: Duration = Duration::from_millis(100);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn builder() -> RetryPolicyBuilder {
    RetryPolicy::builder().backoff(Backoff::constant(WAIT))
}

fn retry() -> RetryLayer<RetryPolicy> {
    RetryLayer::new(builder().build().expect("valid"))
}

fn get(path: &str) -> Request<Body> {
    request(Method::GET, path)
}

fn request(method: Method, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("http://a.test{path}"))
        .body(Body::default())
        .expect("valid")
}

/// What the upstream does with a request.
enum Answer {
    Status(u16),
    /// 302 to another place.
    Found(&'static str),
    /// Answers 200 after a while.
    After(Duration),
    /// Nobody listens.
    Refused,
}

/// A request that reached the upstream.
#[derive(Debug)]
struct Seen {
    at: Duration,
    method: Method,
    path: String,
    id: Option<HeaderValue>,
}

type Script = dyn Fn(&str, usize) -> Answer + Send + Sync;

/// A service that answers by a script and remembers what it saw. All clones are one upstream.
#[derive(Clone)]
struct Upstream {
    script: Arc<Script>,
    seen: Arc<Mutex<Vec<Seen>>>,
    started: Instant,
}

impl Upstream {
    /// `script` is told the path and how often it was asked for before.
    fn new(script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            seen: Arc::default(),
            started: Instant::now(),
        }
    }

    /// 503 for the first `n` requests to each path, then 200.
    fn failing(n: usize) -> Self {
        Self::new(move |_, before| Answer::Status(if before < n { 503 } else { 200 }))
    }

    fn paths(&self) -> Vec<String> {
        let seen = self.seen.lock().expect("not poisoned");
        seen.iter().map(|seen| seen.path.clone()).collect()
    }

    fn count(&self) -> usize {
        self.seen.lock().expect("not poisoned").len()
    }

    fn ids(&self) -> Vec<HeaderValue> {
        let seen = self.seen.lock().expect("not poisoned");
        seen.iter().filter_map(|seen| seen.id.clone()).collect()
    }

    /// The requests and when they came, as far as the timer is exact.
    #[track_caller]
    fn assert_times(&self, expected: &[(&str, u64)]) {
        let seen = self.seen.lock().expect("not poisoned");
        let found: Vec<_> = seen.iter().map(|seen| (&*seen.path, seen.at)).collect();
        let close = |at: Duration, expected: u64| at >= ms(expected) && at < ms(expected + 10);
        assert!(
            found.len() == expected.len()
                && found
                    .iter()
                    .zip(expected)
                    .all(|(found, expected)| found.0 == expected.0 && close(found.1, expected.1)),
            "expected {expected:?}, found {found:?}"
        );
    }
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Body>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let mut seen = self.seen.lock().expect("not poisoned");
        let before = seen.iter().filter(|seen| seen.path == path).count();
        let answer = (self.script)(&path, before);
        seen.push(Seen {
            at: self.started.elapsed(),
            method: request.method().clone(),
            path,
            id: request.headers().get("x-request-id").cloned(),
        });
        Box::pin(async move {
            let mut response = Response::new(Body::default());
            match answer {
                Answer::Status(status) => {
                    *response.status_mut() = StatusCode::from_u16(status).expect("valid");
                }
                Answer::Found(to) => {
                    *response.status_mut() = StatusCode::FOUND;
                    let to = HeaderValue::from_static(to);
                    response.headers_mut().insert(LOCATION, to);
                }
                Answer::After(time) => sleep(time).await,
                Answer::Refused => {
                    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                    return Err(io::Error::other(NeverSent::new(refused)));
                }
            }
            Ok(response)
        })
    }
}

fn report(response: &Response<Body>) -> &RetryReport {
    response.extensions().get().expect("a report")
}

// --- RateLimitLayer ---

#[tokio::test(start_paused = true)]
async fn rate_limit_below_counts_attempts() {
    let upstream = Upstream::failing(2);
    let stack = ServiceBuilder::new()
        .layer(retry())
        // A rate limit has one owner; the buffer is what makes it `Clone`.
        .buffer(8)
        .rate_limit(1, ms(1000))
        .service(upstream.clone());
    let response = stack.oneshot(get("/a")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    upstream.assert_times(&[("/a", 0), ("/a", 1000), ("/a", 2000)]);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_above_counts_requests() {
    let upstream = Upstream::failing(2);
    let mut stack = ServiceBuilder::new()
        .rate_limit(1, ms(1000))
        .layer(retry())
        .service(upstream.clone());
    for path in ["/a", "/b"] {
        let ready = stack.ready().await.expect("ready");
        ready.call(get(path)).await.expect("a response");
    }
    upstream.assert_times(&[
        ("/a", 0),
        ("/a", 100),
        ("/a", 200),
        ("/b", 1000),
        ("/b", 1100),
        ("/b", 1200),
    ]);
}

#[tokio::test(start_paused = true)]
async fn rate_limit_below_is_one_limit_for_all_requests() {
    let upstream = Upstream::failing(1);
    let stack = ServiceBuilder::new()
        .layer(retry())
        .buffer(8)
        .rate_limit(1, ms(1000))
        .service(upstream.clone());
    let (a, b) = tokio::join!(
        stack.clone().oneshot(get("/a")),
        stack.clone().oneshot(get("/b"))
    );
    assert!(a.is_ok() && b.is_ok());
    upstream.assert_times(&[("/a", 0), ("/b", 1000), ("/a", 2000), ("/b", 3000)]);
}

// --- ConcurrencyLimitLayer ---

#[tokio::test(start_paused = true)]
async fn concurrency_limit_below_is_free_during_waits() {
    let upstream = Upstream::failing(1);
    let stack = ServiceBuilder::new()
        .layer(retry())
        .concurrency_limit(1)
        .service(upstream.clone());
    let second = async {
        sleep(ms(50)).await;
        stack.clone().oneshot(get("/b")).await
    };
    let (a, b) = tokio::join!(stack.clone().oneshot(get("/a")), second);
    assert!(a.is_ok() && b.is_ok());
    upstream.assert_times(&[("/a", 0), ("/b", 50), ("/a", 100), ("/b", 150)]);
}

#[tokio::test(start_paused = true)]
async fn concurrency_limit_above_is_held_during_waits() {
    let upstream = Upstream::failing(1);
    let stack = ServiceBuilder::new()
        .concurrency_limit(1)
        .layer(retry())
        .service(upstream.clone());
    let second = async {
        sleep(ms(50)).await;
        stack.clone().oneshot(get("/b")).await
    };
    let (a, b) = tokio::join!(stack.clone().oneshot(get("/a")), second);
    assert!(a.is_ok() && b.is_ok());
    upstream.assert_times(&[("/a", 0), ("/a", 100), ("/b", 100), ("/b", 200)]);
}

// --- TimeoutLayer ---

#[tokio::test(start_paused = true)]
async fn timeout_above_bounds_all_attempts_and_waits() {
    let upstream = Upstream::failing(usize::MAX);
    let stack = ServiceBuilder::new()
        .timeout(ms(250))
        .layer(retry())
        .service(upstream.clone());
    let error = stack.oneshot(get("/a")).await.expect_err("too late");
    assert!(error.is::<Elapsed>());
    upstream.assert_times(&[("/a", 0), ("/a", 100), ("/a", 200)]);
    assert!(upstream.started.elapsed() < ms(260));
}

#[tokio::test(start_paused = true)]
async fn timeout_above_ends_a_request_without_a_report_and_a_deadline_with_one() {
    let told = Arc::new(AtomicUsize::new(0));
    let counting = |told: &Arc<AtomicUsize>| {
        let told = Arc::clone(told);
        retry().on_event(move |event| {
            if let tower_http_retry::RetryEvent::GaveUp(_) = event {
                told.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let hanging = || Upstream::new(|_, _| Answer::After(ms(60_000)));

    let stack = ServiceBuilder::new()
        .timeout(ms(250))
        .layer(counting(&told))
        .service(hanging());
    let error = stack.oneshot(get("/a")).await.expect_err("too late");
    assert!(error.downcast_ref::<RetryError>().is_none());
    assert_eq!(told.load(Ordering::Relaxed), 0);

    let stack = ServiceBuilder::new()
        .layer(counting(&told).deadline(ms(250)))
        .service(hanging());
    let error = stack.oneshot(get("/a")).await.expect_err("too late");
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    assert_eq!(error.report().attempt_count(), 1);
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn timeout_below_bounds_each_attempt() {
    let upstream = Upstream::new(|_, before| {
        Answer::After(if before < 2 {
            ms(60_000)
        } else {
            Duration::ZERO
        })
    });
    let stack = ServiceBuilder::new()
        .layer(retry())
        .timeout(ms(250))
        .service(upstream.clone());
    let response = stack.oneshot(get("/a")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    upstream.assert_times(&[("/a", 0), ("/a", 350), ("/a", 700)]);
}

#[tokio::test(start_paused = true)]
async fn timeout_below_does_not_count_the_wait_for_a_permit() {
    let permits = Arc::new(Semaphore::new(1));
    let upstream = Upstream::failing(0);
    let stack = ServiceBuilder::new()
        .layer(retry())
        .timeout(ms(250))
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(permits.clone()))
        .service(upstream.clone());
    let permit = permits.acquire_owned().await.expect("open");
    let freeing = async {
        sleep(ms(1000)).await;
        drop(permit);
    };
    let (response, ()) = tokio::join!(stack.oneshot(get("/a")), freeing);
    let response = response.expect("a response");
    assert!(response.extensions().get::<RetryReport>().is_none());
    upstream.assert_times(&[("/a", 1000)]);
}

#[tokio::test(start_paused = true)]
async fn timeout_above_a_buffer_counts_its_queue_and_below_it_does_not() {
    let attempts = |response: Result<Response<Body>, RetryError>| match response {
        Ok(response) => response
            .extensions()
            .get::<RetryReport>()
            .map_or(1, RetryReport::attempt_count),
        Err(error) => panic!("failed: {error}"),
    };

    let above = ServiceBuilder::new()
        .layer(retry())
        .timeout(ms(600))
        .buffer(8)
        .rate_limit(1, ms(1000))
        .service(Upstream::failing(0));
    let (_, second) = tokio::join!(
        above.clone().oneshot(get("/a")),
        above.clone().oneshot(get("/b"))
    );
    assert_eq!(attempts(second), 2);

    let below = ServiceBuilder::new()
        .layer(retry())
        .buffer(8)
        .rate_limit(1, ms(1000))
        .timeout(ms(600))
        .service(Upstream::failing(0));
    let (_, second) = tokio::join!(
        below.clone().oneshot(get("/a")),
        below.clone().oneshot(get("/b"))
    );
    assert_eq!(attempts(second), 1);
}

#[tokio::test(start_paused = true)]
async fn tower_https_timeout_below_answers_in_the_servers_name() {
    let upstream = Upstream::new(|_, _| Answer::After(ms(60_000)));
    let stack = ServiceBuilder::new()
        .layer(retry())
        .layer(tower_http::timeout::TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            ms(250),
        ))
        .service(upstream.clone());
    let response = stack.oneshot(get("/a")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(upstream.count(), 4);
    // The report cannot know that nobody answered.
    assert!(report(&response).to_string().contains("504"));
}

// --- Buffer ---

#[tokio::test(start_paused = true)]
async fn buffer_below_queues_a_retry_behind_what_came_meanwhile() {
    let upstream = Upstream::new(|path, before| {
        Answer::Status(if path == "/a" && before == 0 {
            503
        } else {
            200
        })
    });
    let stack = ServiceBuilder::new()
        .layer(retry())
        .buffer(8)
        .rate_limit(1, ms(1000))
        .service(upstream.clone());
    let later = |path, at| {
        let stack = stack.clone();
        async move {
            sleep(ms(at)).await;
            stack.oneshot(get(path)).await
        }
    };
    let (a, b, c) = tokio::join!(
        stack.clone().oneshot(get("/a")),
        later("/b", 40),
        later("/c", 60)
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    upstream.assert_times(&[("/a", 0), ("/b", 1000), ("/c", 2000), ("/a", 3000)]);
}

#[tokio::test(start_paused = true)]
async fn buffer_above_never_sees_a_retry() {
    let upstream = Upstream::failing(1);
    let stack = ServiceBuilder::new()
        .buffer(8)
        .rate_limit(1, ms(1000))
        .layer(retry())
        .service(upstream.clone());
    let (a, b) = tokio::join!(
        stack.clone().oneshot(get("/a")),
        stack.clone().oneshot(get("/b"))
    );
    assert!(a.is_ok() && b.is_ok());
    upstream.assert_times(&[("/a", 0), ("/a", 100), ("/b", 1000), ("/b", 1100)]);
}

#[tokio::test(start_paused = true)]
async fn buffer_above_hands_out_the_error_and_its_report() {
    let stack = ServiceBuilder::new()
        .buffer(8)
        .layer(retry())
        .service(Upstream::new(|_, _| Answer::Refused));
    let error: BoxError = stack.oneshot(get("/a")).await.expect_err("refused");
    let error = error.downcast::<RetryError>().expect("the layer's error");
    assert_eq!(error.report().attempt_count(), 4);
}

#[tokio::test(start_paused = true)]
async fn buffer_below_hides_no_error_from_the_classifier() {
    let upstream = Upstream::new(|_, before| match before {
        0 => Answer::Refused,
        _ => Answer::Status(200),
    });
    let stack = ServiceBuilder::new()
        .layer(retry())
        .buffer(8)
        .service(upstream.clone());
    // A refused connection is the only failure after which a POST may be sent again.
    let response = stack.oneshot(request(Method::POST, "/a")).await;
    assert_eq!(response.expect("a response").status(), StatusCode::OK);
    assert_eq!(upstream.count(), 2);
}

// --- LoadShedLayer ---

#[cfg(feature = "tower")]
#[tokio::test(start_paused = true)]
async fn load_shed_below_makes_a_refusal_a_failed_attempt_for_any_method() {
    let permits = Arc::new(Semaphore::new(1));
    let upstream = Upstream::failing(0);
    let stack = ServiceBuilder::new()
        .layer(retry())
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(permits.clone()))
        .service(upstream.clone());
    let permit = permits.acquire_owned().await.expect("open");
    let freeing = async {
        sleep(ms(150)).await;
        drop(permit);
    };
    let (response, ()) = tokio::join!(stack.oneshot(request(Method::POST, "/a")), freeing);
    let response = response.expect("a response");
    assert_eq!(report(&response).attempt_count(), 3);
    assert_eq!(report(&response).effects(), 1..=1);
    upstream.assert_times(&[("/a", 200)]);
}

#[tokio::test(start_paused = true)]
async fn load_shed_above_refuses_whole_requests_at_once() {
    let permits = Arc::new(Semaphore::new(1));
    let upstream = Upstream::failing(0);
    let stack = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(retry())
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(permits.clone()))
        .service(upstream.clone());
    let _permit = permits.acquire_owned().await.expect("open");
    let error = stack.oneshot(get("/a")).await.expect_err("refused");
    assert!(error.is::<Overloaded>());
    assert_eq!(upstream.count(), 0);
    assert_eq!(upstream.started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn load_shed_above_never_refuses_a_retry() {
    let permits = Arc::new(Semaphore::new(1));
    let upstream = Upstream::failing(1);
    let stack = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(retry())
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(permits.clone()))
        .service(upstream.clone());
    let taking = async {
        sleep(ms(50)).await;
        let _permit = permits.acquire().await.expect("open");
        sleep(ms(150)).await;
    };
    let (response, ()) = tokio::join!(stack.oneshot(get("/a")), taking);
    assert_eq!(response.expect("a response").status(), StatusCode::OK);
    upstream.assert_times(&[("/a", 0), ("/a", 200)]);
}

// --- TraceLayer ---

/// Requests and failures that a `TraceLayer` told of.
#[derive(Clone, Default)]
struct Traced {
    requests: Arc<AtomicUsize>,
    failures: Arc<AtomicUsize>,
}

impl Traced {
    fn counts(&self) -> (usize, usize) {
        let load = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (load(&self.requests), load(&self.failures))
    }
}

/// A `TraceLayer` that counts into a [`Traced`]: a macro, since its type names two closures.
macro_rules! tracing_into {
    ($traced:expr) => {{
        let (requests, failures) = ($traced.requests.clone(), $traced.failures.clone());
        TraceLayer::new_for_http()
            .on_request(move |_: &Request<Body>, _: &tracing::Span| {
                requests.fetch_add(1, Ordering::Relaxed);
            })
            .on_failure(
                move |_: ServerErrorsFailureClass, _: Duration, _: &tracing::Span| {
                    failures.fetch_add(1, Ordering::Relaxed);
                },
            )
    }};
}

#[tokio::test(start_paused = true)]
async fn trace_below_shows_each_attempt() {
    let traced = Traced::default();
    let stack = ServiceBuilder::new()
        .layer(retry())
        .layer(tracing_into!(traced))
        .service(Upstream::failing(2));
    stack.oneshot(get("/a")).await.expect("a response");
    assert_eq!(traced.counts(), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn trace_above_shows_each_request_and_no_failure_that_was_mended() {
    let traced = Traced::default();
    let stack = ServiceBuilder::new()
        .layer(tracing_into!(traced))
        .layer(retry())
        .service(Upstream::failing(2));
    stack.oneshot(get("/a")).await.expect("a response");
    assert_eq!(traced.counts(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn trace_below_can_name_the_attempt() {
    let numbers = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&numbers);
    let stack = ServiceBuilder::new()
        .layer(retry())
        .layer(
            TraceLayer::new_for_http().make_span_with(move |request: &Request<Body>| {
                let info = request.extensions().get::<AttemptInfo>();
                let number = info.map_or(1, |info| info.number);
                told.lock().expect("not poisoned").push(number);
                tracing::info_span!("attempt", number)
            }),
        )
        .service(Upstream::failing(2));
    stack.oneshot(get("/a")).await.expect("a response");
    assert_eq!(*numbers.lock().expect("not poisoned"), [1, 2, 3]);
}

// --- FollowRedirectLayer ---

/// Each of two hops fails once before it works.
fn two_hops() -> Upstream {
    Upstream::new(|path, before| match (path, before) {
        (_, 0) => Answer::Status(503),
        ("/one", _) => Answer::Found("/two"),
        _ => Answer::Status(200),
    })
}

fn once() -> RetryLayer<RetryPolicy> {
    RetryLayer::new(builder().total(1).build().expect("valid"))
}

#[tokio::test(start_paused = true)]
async fn follow_redirect_above_restarts_the_policy_for_each_hop() {
    let upstream = two_hops();
    let stack = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(once())
        .service(upstream.clone());
    let response = stack.oneshot(get("/one")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(upstream.paths(), ["/one", "/one", "/two", "/two"]);
}

#[tokio::test(start_paused = true)]
async fn follow_redirect_below_makes_its_hops_one_attempt() {
    let upstream = two_hops();
    let stack = ServiceBuilder::new()
        .layer(once())
        .layer(FollowRedirectLayer::new())
        .service(upstream.clone());
    let response = stack.oneshot(get("/one")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(report(&response).attempt_count(), 2);
    assert_eq!(upstream.paths(), ["/one", "/one", "/two"]);
}

#[tokio::test(start_paused = true)]
async fn follow_redirect_below_starts_again_from_the_first_hop() {
    let upstream = two_hops();
    let stack = ServiceBuilder::new()
        .layer(retry())
        .layer(FollowRedirectLayer::new())
        .service(upstream.clone());
    let response = stack.oneshot(get("/one")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(upstream.paths(), ["/one", "/one", "/two", "/one", "/two"]);
}

#[tokio::test(start_paused = true)]
async fn follow_redirect_above_leaves_the_report_of_the_last_hop() {
    let stack = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(retry())
        .service(two_hops());
    let response = stack.oneshot(get("/one")).await.expect("a response");
    assert_eq!(report(&response).url, "http://a.test/two");
    assert_eq!(report(&response).attempt_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn follow_redirect_above_gives_each_hop_its_own_deadline() {
    let upstream = two_hops();
    let stack = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(retry().deadline(ms(150)))
        .service(upstream.clone());
    let response = stack.oneshot(get("/one")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    upstream.assert_times(&[("/one", 0), ("/one", 100), ("/two", 100), ("/two", 200)]);
}

#[tokio::test(start_paused = true)]
async fn follow_redirect_below_can_repeat_a_post_that_was_answered() {
    // The order was taken, and the page about it is at a place where nobody listens.
    let ordered = || {
        Upstream::new(|path, _| match path {
            "/orders" => Answer::Found("/orders/1"),
            _ => Answer::Refused,
        })
    };
    let posts = |upstream: &Upstream| {
        let seen = upstream.seen.lock().expect("not poisoned");
        seen.iter()
            .filter(|seen| seen.method == Method::POST)
            .count()
    };

    let upstream = ordered();
    let stack = ServiceBuilder::new()
        .layer(retry())
        .layer(FollowRedirectLayer::new())
        .service(upstream.clone());
    let order = request(Method::POST, "/orders");
    stack.oneshot(order).await.expect_err("refused");
    assert_eq!(posts(&upstream), 4);

    let upstream = ordered();
    let stack = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(retry())
        .service(upstream.clone());
    let order = request(Method::POST, "/orders");
    stack.oneshot(order).await.expect_err("refused");
    assert_eq!(posts(&upstream), 1);
}

#[tokio::test(start_paused = true)]
async fn follow_redirect_above_takes_marks_and_policies_off_at_another_origin() {
    let moved = || {
        Upstream::new(|path, before| match path {
            "/one" => Answer::Found("http://b.test/two"),
            _ => Answer::Status(if before < 1 { 503 } else { 200 }),
        })
    };
    let unretried = RetryPolicy::builder().total(0).build().expect("valid");
    let own = |path: &str| {
        let mut request = get(path);
        request.extensions_mut().insert(unretried.clone());
        request
    };

    let upstream = moved();
    let stack = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(retry())
        .service(upstream.clone());
    let response = stack.oneshot(own("/one")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(upstream.paths(), ["/one", "/two", "/two"]);

    let upstream = moved();
    let keeping = FilterCredentials::new()
        .allow_extension::<RetryPolicy>()
        .allow_extension::<Idempotent>();
    let stack = ServiceBuilder::new()
        .layer(FollowRedirectLayer::with_policy(
            Limited::default().and::<_, Body, RetryError>(keeping),
        ))
        .layer(retry())
        .service(upstream.clone());
    let response = stack.oneshot(own("/one")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(upstream.paths(), ["/one", "/two"]);
    assert!(matches!(
        report(&response).stop,
        StopReason::CountExhausted { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn follow_redirect_below_takes_replayed_bodies() {
    let upstream = two_hops();
    let bare = upstream.clone();
    let stack = ServiceBuilder::new()
        .layer(retry().replay_bodies(1024))
        .layer(FollowRedirectLayer::new())
        .map_request(
            |request: Request<tower_http_retry::body::RecordedBody<Body>>| {
                request.map(|_| Body::default())
            },
        )
        .service(bare);
    let response = stack.oneshot(get("/one")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(upstream.paths(), ["/one", "/one", "/two", "/one", "/two"]);
}

// --- SetRequestIdLayer ---

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Clone, Default)]
struct Numbered(Arc<AtomicUsize>);

impl MakeRequestId for Numbered {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        Some(RequestId::new(HeaderValue::from(number)))
    }
}

#[tokio::test(start_paused = true)]
async fn set_request_id_above_keeps_one_id_over_all_attempts() {
    let upstream = Upstream::failing(2);
    let stack = ServiceBuilder::new()
        .layer(SetRequestIdLayer::new(X_REQUEST_ID, Numbered::default()))
        .layer(retry())
        .service(upstream.clone());
    stack.oneshot(get("/a")).await.expect("a response");
    assert_eq!(upstream.ids(), ["0", "0", "0"]);
}

#[tokio::test(start_paused = true)]
async fn set_request_id_below_gives_each_attempt_its_own() {
    let upstream = Upstream::failing(2);
    let stack = ServiceBuilder::new()
        .layer(retry())
        .layer(SetRequestIdLayer::new(X_REQUEST_ID, Numbered::default()))
        .service(upstream.clone());
    stack.oneshot(get("/a")).await.expect("a response");
    assert_eq!(upstream.ids(), ["0", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn set_request_id_above_a_redirect_keeps_the_id_over_hops_too() {
    let upstream = two_hops();
    let stack = ServiceBuilder::new()
        .layer(SetRequestIdLayer::new(X_REQUEST_ID, Numbered::default()))
        .layer(FollowRedirectLayer::new())
        .layer(retry())
        .service(upstream.clone());
    stack.oneshot(get("/one")).await.expect("a response");
    assert_eq!(upstream.ids(), ["0", "0", "0", "0"]);
}

// --- The guide itself ---

#[test]
fn the_guide_names_every_test_and_no_other() {
    let guide = include_str!("../../src/guide/ordering.rs");
    let tests = [
        include_str!("order.rs"),
        include_str!("breaker.rs"),
        include_str!("../telemetry/span.rs"),
    ];
    let is_about_order = |name: &&str| name.contains("_below_") || name.contains("_above_");
    let names: BTreeSet<&str> = tests
        .into_iter()
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("async fn ")?.strip_suffix("() {"))
        .filter(is_about_order)
        .collect();
    // In comments, which the page does not show.
    let comments = guide.lines().filter_map(|line| line.strip_prefix("// "));
    let claimed: BTreeSet<&str> = comments.filter(is_about_order).collect();
    let mut shown = guide.lines().filter(|line| line.starts_with("//!"));
    assert!(!shown.any(|line| is_about_order(&line)));
    assert!(!names.is_empty());
    assert_eq!(names, claimed);
}
