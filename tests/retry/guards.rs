//! The adaptive throttle and the limit of retries in flight, through the layer.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneService};
use tower_http_retry::{
    RetryError, RetryErrorKind, RetryLayer, RetryReport,
    budget::InFlightLimit,
    policy::{Backoff, Gate, RetryPolicy, StopReason},
    throttle::AdaptiveThrottle,
};

type Server = BoxCloneService<Request<Full<Bytes>>, Response<Empty<Bytes>>, Infallible>;
type Answer = Result<Response<Empty<Bytes>>, RetryError>;

fn policy(retries: u32) -> RetryPolicy {
    let backoff = Backoff::constant(Duration::from_millis(100));
    let policy = RetryPolicy::builder().total(retries).backoff(backoff);
    policy.budget(None).build().expect("valid")
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).expect("valid")
}

/// A server that answers every request to a host with that status, and counts them.
fn server() -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let service = BoxCloneService::new(service_fn(move |request: Request<Full<Bytes>>| {
        counter.fetch_add(1, SeqCst);
        let status = match request.uri().host() {
            Some("down.test") => 503,
            Some("missing.test") => 404,
            _ => 200,
        };
        let response = Response::builder().status(status).body(Empty::new());
        async move { Ok(response.expect("valid")) }
    }));
    (service, count)
}

fn reason(answer: &Answer) -> StopReason {
    match answer {
        Ok(response) => match response.extensions().get::<RetryReport>() {
            Some(report) => report.stop.clone(),
            None => StopReason::Succeeded,
        },
        Err(error) => error.stop_reason().clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_turns_everything_down_is_hardly_asked() {
    let throttle = AdaptiveThrottle::builder().build().expect("valid");
    let layer = RetryLayer::new(policy(0)).admission(throttle.clone());
    let (server, count) = server();
    let mut stack = layer.layer(server);
    let mut throttled = 0;
    for _ in 0..1000 {
        let answer = stack
            .ready()
            .await
            .expect("ready")
            .call(get("http://down.test/"))
            .await;
        if let Err(error) = &answer {
            assert_eq!(error.kind(), RetryErrorKind::Throttled);
            assert_eq!(error.stop_reason(), &StopReason::Throttled);
            assert!(error.report().attempts.is_empty());
            assert!(error.to_string().contains("throttle"), "{error}");
            throttled += 1;
        }
    }
    let sent = count.load(SeqCst);
    assert_eq!(sent + throttled, 1000);
    // Without accepts, the n-th request is sent with probability 1 / (n + 1): about 7 of 1000.
    assert!((1..60).contains(&sent), "{sent} were sent");

    // Another authority has its own count.
    let other = stack
        .ready()
        .await
        .expect("ready")
        .call(get("http://up.test/"))
        .await;
    assert_eq!(reason(&other), StopReason::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_is_never_throttled_whatever_it_answers() {
    let throttle = AdaptiveThrottle::builder().build().expect("valid");
    let (server, count) = server();
    let stack = RetryLayer::new(policy(0)).admission(throttle).layer(server);
    for uri in ["http://up.test/", "http://missing.test/"] {
        for _ in 0..200 {
            let answer = stack.clone().oneshot(get(uri)).await;
            assert!(answer.is_ok());
        }
    }
    assert_eq!(count.load(SeqCst), 400);
}

#[tokio::test(start_paused = true)]
async fn retries_are_throttled_too_and_the_last_response_is_returned() {
    let throttle = AdaptiveThrottle::builder().build().expect("valid");
    let (server, count) = server();
    let stack = RetryLayer::new(policy(50))
        .admission(throttle)
        .layer(server);
    let answer = stack.oneshot(get("http://down.test/")).await;
    assert_eq!(reason(&answer), StopReason::Throttled);
    let response = answer.expect("the last response");
    let report: &RetryReport = response.extensions().get().expect("there");
    let last = report.attempts.last().expect("one");
    assert_eq!(last.gates.get(Gate::Throttle), Some(false));
    assert!(count.load(SeqCst) < 50);
}

#[tokio::test(start_paused = true)]
async fn no_more_retries_are_in_flight_than_allowed() {
    let limit = InFlightLimit::new(2).expect("valid");
    let (server, count) = server();
    let layer = RetryLayer::new(policy(2)).max_retries_in_flight(limit.clone());
    let stack = layer.layer(server);
    let requests = (0..5).map(|_| stack.clone().oneshot(get("http://down.test/")));
    let answers = join_all(requests).await;
    let refused = StopReason::TooManyInFlight { max: 2 };
    let refused = answers
        .iter()
        .filter(|answer| reason(answer) == refused)
        .count();
    // Two are sent three times, the others once.
    assert_eq!((refused, count.load(SeqCst)), (3, 9));
    assert_eq!(limit.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_retry_gives_its_place_back() {
    let limit = InFlightLimit::new(1).expect("valid");
    let (server, _) = server();
    let stack = RetryLayer::new(policy(3))
        .max_retries_in_flight(limit.clone())
        .layer(server);
    let request = stack.oneshot(get("http://down.test/"));
    let cancelled = tokio::time::timeout(Duration::from_millis(50), request).await;
    assert!(cancelled.is_err(), "it waits for its retry");
    assert_eq!(limit.in_flight(), 0);
}
