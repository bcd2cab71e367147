//! What a request costs in allocations and memory, counted exactly.
//!
//! What bodies cost is in `body_allocations.rs`.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{Empty, Full};
use hyper_util::client::legacy;
use tower::{Layer, Service, ServiceExt};
use tower_http_retry::{
    RetryLayer, RetryReport,
    budget::InFlightLimit,
    policy::{Backoff, RetryPolicy},
};

type Body = Full<Bytes>;

/// Answers from a script that begins anew after its end.
#[derive(Clone)]
struct Server {
    statuses: &'static [u16],
    answered: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Service<Request<Body>> for Server {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<Body>) -> Self::Future {
        let answered = &self.answered;
        let index = answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut response = Response::new(Empty::new());
        *response.status_mut() = self.statuses[index % self.statuses.len()]
            .try_into()
            .expect("a status");
        ready(Ok(response))
    }
}

fn server(statuses: &'static [u16]) -> Server {
    Server {
        statuses,
        answered: Default::default(),
    }
}

/// Eight usual headers; values and a name are built from strings, so that a clone of any of them
/// would allocate.
fn request(method: http::Method, body: &'static [u8]) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("http://api.example.com/v1/items?fields=name".to_owned())
        .header(header::HOST, "api.example.com".to_owned())
        .header(header::USER_AGENT, HeaderValue::from_static("client/1.0"))
        .header(header::ACCEPT, "application/json".to_owned())
        .header(header::AUTHORIZATION, "Bearer abc".to_owned())
        .header(header::COOKIE, "a=1".to_owned())
        .header(header::COOKIE, "b=2".to_owned())
        .header("x-request-id".to_owned(), "4711".to_owned())
        .header("idempotency-key".to_owned(), "8e03978e".to_owned())
        .body(Body::new(Bytes::copy_from_slice(body)))
        .expect("a request")
}

/// Sends it without a runtime: whatever needs one panics, a timer for instance.
fn send<S>(service: &mut S, request: Request<Body>) -> S::Response
where
    S: Service<Request<Body>>,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(Ok(response)) => response,
        _ => panic!("not answered at once"),
    }
}

/// What the second of two requests costs; the first one fills what is recycled.
fn cost<S>(service: &mut S, request: impl Fn() -> Request<Body>) -> AllocationInfo
where
    S: Service<Request<Body>>,
{
    drop(send(service, request()));
    let request = request();
    measure(|| drop(send(service, request)))
}

#[test]
fn a_get_that_succeeds_at_once_costs_none() {
    let mut service = RetryLayer::new(RetryPolicy::default()).layer(server(&[200]));
    let info = cost(&mut service, || request(http::Method::GET, b""));
    assert_eq!(info.count_total, 0);
}

#[test]
fn a_post_that_succeeds_at_once_costs_one_for_its_body() {
    let mut service = RetryLayer::new(RetryPolicy::default()).layer(server(&[200]));
    let info = cost(&mut service, || request(http::Method::POST, &[b'x'; 1024]));
    // `Bytes` that were never cloned become shared.
    assert_eq!(info.count_total, 1);
}

#[test]
fn a_request_that_is_never_retried_costs_none() {
    let policy = RetryPolicy::builder().total(0).build().expect("valid");
    let mut service = RetryLayer::new(policy).layer(server(&[200]));
    let info = cost(&mut service, || request(http::Method::GET, b""));
    assert_eq!(info.count_total, 0);
}

#[test]
fn a_limit_of_retries_in_flight_costs_a_request_without_any_none() {
    let limit = InFlightLimit::new(10).expect("valid");
    let layer = RetryLayer::new(RetryPolicy::default()).max_retries_in_flight(limit);
    let mut service = layer.layer(server(&[200]));
    let info = cost(&mut service, || request(http::Method::GET, b""));
    assert_eq!(info.count_total, 0);
}

#[test]
fn a_value_too_long_to_be_copied_costs_one() {
    let mut service = RetryLayer::new(RetryPolicy::default()).layer(server(&[200]));
    let info = cost(&mut service, || {
        let mut request = request(http::Method::GET, b"");
        let cookie = HeaderValue::try_from("c".repeat(16 * 1024)).expect("a value");
        request.headers_mut().insert(header::COOKIE, cookie);
        request
    });
    // It becomes shared.
    assert_eq!(info.count_total, 1);
}

#[test]
fn a_failure_that_is_not_retried_costs_five() {
    for (method, status) in [(http::Method::GET, &[404]), (http::Method::POST, &[500])] {
        let mut service = RetryLayer::new(RetryPolicy::default()).layer(server(status));
        let info = cost(&mut service, || {
            let mut request = request(method.clone(), b"");
            request.headers_mut().remove("idempotency-key");
            request
        });
        // The report's URL and attempts, and three for it in the response's extensions.
        assert_eq!(info.count_total, 5);
    }
}

#[test]
fn two_retries_and_their_report_cost_seventeen() {
    let policy = RetryPolicy::builder().backoff(Backoff::none());
    let policy = policy.build().expect("valid");
    let mut service = RetryLayer::new(policy).layer(server(&[503, 503, 200]));
    let info = cost(&mut service, || {
        let mut request = request(http::Method::GET, b"");
        // Two of one name take two more in each map.
        request.headers_mut().remove(header::COOKIE);
        request
    });
    // One that the values share, and two for the map of each retry; the progress, its URL and its
    // attempts; three for the report in the response's extensions, and three for the
    // `AttemptInfo` in those of each retry, all of which `http::Extensions` asks for.
    assert_eq!(info.count_total, 1 + 2 * 2 + 3 + 3 + 2 * 3);
}

#[test]
fn a_wait_of_zero_touches_no_timer() {
    let policy = RetryPolicy::builder().backoff(Backoff::none());
    let policy = policy.build().expect("valid");
    let mut service = RetryLayer::new(policy).layer(server(&[503, 200]));
    // There is no runtime, so a timer would panic.
    let response = send(&mut service, request(http::Method::GET, b""));
    let report = response.extensions().get::<RetryReport>().expect("retried");
    assert_eq!(report.attempt_count(), 2);
}

#[test]
fn a_request_that_waits_holds_little() {
    const REQUESTS: u32 = 100;
    let policy = RetryPolicy::builder().backoff(Backoff::constant(Duration::from_secs(3600)));
    let policy = policy.build().expect("valid");
    let service = RetryLayer::new(policy).layer(server(&[503]));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let wait = || {
        runtime.block_on(async {
            for _ in 0..REQUESTS {
                let service = service.clone();
                tokio::spawn(service.oneshot(request(http::Method::GET, b"")));
            }
            tokio::task::yield_now().await;
        });
    };
    // What is recycled, and what the runtime itself allocates.
    wait();
    let bytes = measure(wait).bytes_current / i64::from(REQUESTS);
    // With the task that the runtime makes of it. `tower::retry` takes 1.8 KB.
    assert!(bytes <= 1100, "{bytes} bytes");
}

/// A small handle with the future of hyper-util's client.
#[derive(Clone)]
struct Hyper(#[expect(dead_code, reason = "only its size matters")] std::sync::Arc<()>);

impl Service<Request<Body>> for Hyper {
    type Response = Response<hyper::body::Incoming>;
    type Error = legacy::Error;
    type Future = legacy::ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), legacy::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<Body>) -> Self::Future {
        unreachable!("only sizes are looked at")
    }
}

fn size_of_future<S: Service<Request<Body>>>(_: &S) -> usize {
    size_of::<S::Future>()
}

#[test]
fn the_future_is_small() {
    let layer = RetryLayer::new(RetryPolicy::default());
    let size = size_of_future(&layer.layer(Hyper(Default::default())));
    assert!(size <= 512, "{size} bytes");
    // All of the inner service that is kept is one clone of it.
    let executor = hyper_util::rt::TokioExecutor::new();
    let client: legacy::Client<_, Body> = legacy::Client::builder(executor).build_http();
    let more = size_of_val(&client) - size_of::<Hyper>();
    let padding = 16;
    assert!(size_of_future(&layer.layer(client)) <= size + more + padding);
}
