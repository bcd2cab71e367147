//! A server that asks for a wait without end.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use http_body_util::Empty;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_http_retry::{
    BoxError, RetryLayer, RetryReport,
    policy::{HintHeader, Preset, RetryPolicy, StopReason, WaitReason},
    shared_hints::SharedHints,
};

use super::{PRESETS, builder};

/// More seconds than any number of 64 bits, than any wait, than any clock.
const ENDLESS: [&str; 5] = [
    "99999999999999999999",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775808",
    "Fri, 31 Dec 9999 23:59:59 GMT",
];

/// The report of a request to a server that answers like this for ever.
async fn send(layer: RetryLayer<RetryPolicy>, status: StatusCode, when: &str) -> RetryReport {
    let server = service_fn(|_: Request<Empty<Bytes>>| async {
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = status;
        let when = when.parse().expect("a header value");
        response.headers_mut().insert(RETRY_AFTER, when);
        Ok::<_, BoxError>(response)
    });
    let request = Request::get("http://a.test/").body(Empty::new());
    let request = request.expect("a request");
    match layer.layer(server).oneshot(request).await {
        Ok(response) => response.extensions().get().cloned().expect("a report"),
        Err(error) => error.report().clone(),
    }
}

const STATUSES: [StatusCode; 2] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::SERVICE_UNAVAILABLE,
];

#[tokio::test(start_paused = true)]
async fn the_default_preset_does_not_wait_for_ever() {
    for status in STATUSES {
        for when in ENDLESS {
            let started = Instant::now();
            let report = send(RetryLayer::new(RetryPolicy::default()), status, when).await;
            assert_eq!(started.elapsed(), Duration::ZERO, "{when}: {report}");
            assert_eq!(report.attempt_count(), 1, "{when}: {report}");
            let StopReason::RetryAfterTooLong { asked, cap } = report.stop else {
                panic!("{when}: {report}");
            };
            assert_eq!(cap, Duration::from_secs(60));
            // Centuries, whatever is left of the number.
            assert!(
                asked > Duration::from_secs(1_000_000_000),
                "{when}: {report}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_urllib3_preset_waits_for_its_cap() {
    const CAP: Duration = Duration::from_secs(6 * 3600);

    for status in STATUSES {
        for when in ENDLESS {
            let started = Instant::now();
            // The statuses are listed, or the last response would be none to be repeated.
            let policy = RetryPolicy::urllib3_builder()
                .status_forcelist([429, 503])
                .build()
                .expect("valid");
            let report = send(RetryLayer::new(policy), status, when).await;
            assert_eq!(report.attempt_count(), 11, "{when}: {report}");
            for attempt in &report.attempts[..10] {
                let wait = attempt.wait.as_ref().expect("another attempt follows");
                assert_eq!(wait.planned, CAP, "{when}");
                let why = WaitReason::ServerHintClamped(HintHeader::RetryAfter);
                assert_eq!(wait.why, why, "{when}");
            }
            let all = 10 * CAP;
            assert!((all..all + Duration::from_secs(1)).contains(&started.elapsed()));
            let name = report.stop.name();
            assert_eq!(name, "count_exhausted", "{when}: {report}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_whatever_a_server_asks_for() {
    let deadline = Duration::from_secs(5);
    for preset in PRESETS {
        for when in ENDLESS {
            let policy = builder(preset)
                .status_forcelist([503])
                .retry_after_max(Duration::MAX)
                .build();
            let layer = RetryLayer::new(policy.expect("valid")).deadline(deadline);
            let started = Instant::now();
            let report = send(layer, StatusCode::SERVICE_UNAVAILABLE, when).await;
            assert_eq!(
                started.elapsed(),
                Duration::ZERO,
                "{preset:?}, {when}: {report}"
            );
            let StopReason::DeadlineTooClose { left, needed } = report.stop else {
                panic!("{preset:?}, {when}: {report}");
            };
            assert_eq!(left, deadline);
            assert!(needed > Duration::from_secs(1_000_000_000), "{report}");
        }
    }
}

/// What one request is told holds others back, and must not do so for ever either.
#[tokio::test(start_paused = true)]
async fn no_other_request_is_held_for_ever() {
    for preset in PRESETS {
        for when in ENDLESS {
            let mut policy = builder(preset).status_forcelist([503]).total(0);
            if preset == Preset::Urllib3 {
                policy = policy.retry_after_max(Duration::MAX);
            }
            let layer =
                RetryLayer::new(policy.build().expect("valid")).admission(SharedHints::default());
            let unavailable = StatusCode::SERVICE_UNAVAILABLE;
            let first = send(layer.clone(), unavailable, when).await;
            assert_eq!(first.attempt_count(), 1);
            let started = Instant::now();
            let second = send(layer, unavailable, when).await;
            // A minute is the most that a request is held, and a tenth of it what sets it apart from
            // others; then it is sent to look.
            let held = started.elapsed();
            let within = Duration::from_secs(60)..=Duration::from_millis(66_001);
            assert!(
                within.contains(&held),
                "{preset:?}, {when}: {held:?}, {second}"
            );
            assert_eq!(second.attempt_count(), 1, "{preset:?}, {when}: {second}");
            assert_eq!(second.held, held);
        }
    }
}
