//! A request whose deadline has passed is not sent, wherever the deadline comes from.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use hyper::{body::Incoming, server, service::service_fn as serve};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    net::TcpListener,
    time::{Instant, advance},
};
use tokio_test::{assert_pending, assert_ready_err, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use tower_http_retry::{
    RequestDeadline, RetryError, RetryErrorKind, RetryLayer,
    classify::DeadlinePassed,
    policy::{RetryPolicy, StopReason},
    shared_hints::SharedHints,
    throttle::AdaptiveThrottle,
};

type Body = Full<Bytes>;

const SECOND: Duration = Duration::from_secs(1);

fn layer() -> RetryLayer<RetryPolicy> {
    RetryLayer::new(RetryPolicy::default())
}

fn post(deadline: Option<RequestDeadline>) -> Request<Body> {
    let mut request = Request::post("http://a.test/orders")
        .body(Body::from("one book"))
        .expect("a request");
    if let Some(deadline) = deadline {
        request.extensions_mut().insert(deadline);
    }
    request
}

/// Every way in which a deadline can have passed before its request is sent, and some in which it
/// has not; the layer's and the request's.
fn cases(now: Instant) -> Vec<(Option<Duration>, Option<RequestDeadline>, bool)> {
    let (at, after) = (RequestDeadline::at, RequestDeadline::after);
    let past = now - Duration::from_millis(500);
    vec![
        (None, Some(at(past)), true),
        (None, Some(at(now)), true),
        (None, Some(after(Duration::ZERO)), true),
        (Some(Duration::ZERO), None, true),
        (Some(Duration::ZERO), Some(at(past)), true),
        (Some(SECOND), Some(at(past)), true),
        (Some(SECOND), Some(after(Duration::ZERO)), true),
        (None, None, false),
        (Some(SECOND), None, false),
        (None, Some(after(Duration::from_nanos(1))), false),
        (None, Some(at(now + SECOND)), false),
        // The request's own takes the place of the layer's.
        (Some(Duration::ZERO), Some(after(SECOND)), false),
    ]
}

fn assert_unsent(error: &RetryError) {
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    let report = error.report();
    assert_eq!(report.stop.name(), "deadline_exceeded");
    assert!(matches!(report.stop, StopReason::DeadlineExceeded { .. }));
    assert_eq!(report.attempt_count(), 0);
    assert_eq!(report.effects(), 0..=0);
    assert!(error.downcast_inner::<DeadlinePassed>().is_some());
    let text = report.to_string();
    assert!(
        text.contains("\n  not sent: the deadline of 0 ms passed"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_deadline_has_passed_is_not_sent() {
    advance(SECOND).await;
    let throttle = || AdaptiveThrottle::builder().build().expect("valid");
    for (layers, own, late) in cases(Instant::now()) {
        for guarded in [false, true] {
            let mut layer = layer();
            if let Some(deadline) = layers {
                layer = layer.deadline(deadline);
            }
            if guarded {
                layer = layer
                    .admission(throttle())
                    .admission(SharedHints::default());
            }
            let calls = Arc::new(AtomicUsize::new(0));
            let inner = service_fn({
                let calls = Arc::clone(&calls);
                move |_: Request<Body>| {
                    calls.fetch_add(1, Relaxed);
                    async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
                }
            });
            let result = layer.layer(inner).oneshot(post(own)).await;
            let case = format!("{layers:?}, {own:?}, guarded {guarded}");
            assert_eq!(calls.load(Relaxed), usize::from(!late), "{case}");
            match result {
                Ok(_) => assert!(!late, "{case}"),
                Err(error) => {
                    assert!(late, "{case}: {error}");
                    assert_unsent(&error);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_sent_gives_back_what_the_service_reserved_for_it() {
    let mut service = ServiceBuilder::new()
        .layer(layer())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }));
    let late = RequestDeadline::after(Duration::ZERO);
    // Not polled and not dropped.
    let unsent = service.ready().await.expect("ready").call(post(Some(late)));
    let response = service.ready().await.expect("ready").call(post(None)).await;
    assert_eq!(response.expect("a response").status(), StatusCode::OK);
    assert_unsent(&unsent.await.expect_err("late"));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_while_the_request_is_held_back_sends_nothing() {
    let calls = Arc::new(AtomicUsize::new(0));
    let inner = service_fn({
        let calls = Arc::clone(&calls);
        move |_: Request<Body>| {
            calls.fetch_add(1, Relaxed);
            let response = Response::builder()
                .status(503)
                .header("retry-after", "2")
                .body(Empty::<Bytes>::new());
            async { Ok::<_, Infallible>(response.expect("a response")) }
        }
    });
    let service = layer().admission(SharedHints::default()).layer(inner);
    // Tells the others to wait for two seconds.
    let told = service.clone().oneshot(post(None)).await;
    assert_eq!(told.expect("a response").status(), 503);

    let deadline = RequestDeadline::after(3 * SECOND);
    let mut held = task::spawn(service.oneshot(post(Some(deadline))));
    assert_pending!(held.poll());
    // A busy runtime comes back to it too late.
    advance(4 * SECOND).await;
    let error = assert_ready_err!(held.poll());
    assert_eq!(calls.load(Relaxed), 1);
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    let deadline = 3 * SECOND;
    assert_eq!(
        *error.stop_reason(),
        StopReason::DeadlineExceeded { deadline }
    );
    assert_eq!(error.report().attempt_count(), 0);
}

#[tokio::test]
async fn a_server_with_a_pooled_connection_hears_nothing_of_a_late_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let heard = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let heard = Arc::clone(&counting);
            let service = serve(move |_: Request<Incoming>| {
                heard.fetch_add(1, Relaxed);
                async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
            });
            let io = TokioIo::new(stream);
            tokio::spawn(server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let mut client = layer().layer(client);
    let uri: http::Uri = format!("http://{address}/orders").parse().expect("a URI");
    let request = |deadline| {
        let mut request = post(deadline);
        *request.uri_mut() = uri.clone();
        request
    };
    let ready = client.ready().await.expect("ready");
    ready.call(request(None)).await.expect("a response");

    let late = RequestDeadline::at(Instant::now() - Duration::from_millis(500));
    let ready = client.ready().await.expect("ready");
    let error = ready.call(request(Some(late))).await.expect_err("late");
    assert_unsent(&error);
    // The connection is in order: what follows would follow the late request on it.
    let ready = client.ready().await.expect("ready");
    ready.call(request(None)).await.expect("a response");
    assert_eq!(heard.load(Relaxed), 2);
}
