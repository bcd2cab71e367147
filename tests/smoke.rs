//! The layer in its smallest setting: a mock below, a paused clock.

use std::{convert::Infallible, time::Duration};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_http_retry::{
    RetryLayer, RetryReport,
    policy::{Backoff, RetryPolicy, StopReason},
};

type Body = Full<bytes::Bytes>;

fn quick() -> RetryPolicy {
    RetryPolicy::builder()
        .backoff(Backoff::constant(Duration::from_millis(100)))
        .build()
        .expect("valid")
}

#[tokio::test(start_paused = true)]
async fn a_503_is_sent_again_and_the_report_tells() {
    let mut left = 2;
    let flaky = service_fn(move |_: Request<Body>| {
        let status = if left > 0 { 503 } else { 200 };
        left -= 1;
        async move {
            Ok::<_, Infallible>(
                Response::builder()
                    .status(status)
                    .body(Empty::<bytes::Bytes>::new())
                    .expect("valid"),
            )
        }
    });
    // Cloning a closure copies its counter, so the mock is shared.
    let flaky = tower::buffer::Buffer::new(flaky, 8);
    let start = Instant::now();
    let response = RetryLayer::new(quick())
        .layer(flaky)
        .oneshot(
            Request::get("http://a.test/x?secret=1")
                .body(Body::default())
                .expect("valid"),
        )
        .await
        .expect("succeeds");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(start.elapsed(), Duration::from_millis(200));
    let report = response.extensions().get::<RetryReport>().expect("there");
    assert_eq!(report.attempt_count(), 3);
    assert_eq!(report.stop, StopReason::Succeeded);
    println!("{report}");
}

#[tokio::test(start_paused = true)]
async fn a_post_is_not_sent_again_and_the_report_says_why() {
    let failing = service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(
            Response::builder()
                .status(503)
                .body(Empty::<bytes::Bytes>::new())
                .expect("valid"),
        )
    });
    let response = RetryLayer::new(quick())
        .layer(failing)
        .oneshot(
            Request::post("http://a.test/x")
                .body(Body::default())
                .expect("valid"),
        )
        .await
        .expect("a response");
    let report = response.extensions().get::<RetryReport>().expect("there");
    assert_eq!(
        report.stop,
        StopReason::MethodNotAllowed {
            method: Method::POST
        }
    );
    println!("{report}");
}
