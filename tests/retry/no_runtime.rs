//! Where nothing is waited for, no timer is touched: these tests run outside of any runtime.

use std::{cell::Cell, time::Duration};

use http::StatusCode;
use tokio_test::{assert_pending, assert_ready_ok};
use tower_http_retry::{
    RetryLayer,
    policy::{Decision, Policy, RetryDecision, WaitReason, policy_fn},
};
use tower_test::mock;

use test_support::probe::{
    Bookkeeper, MS, Req, Res, Step, Tracked, answer, every, get, is_ok, report, reset, sent, start,
    with_body,
};
use test_support::trip::Trip;

fn assert_no_runtime() {
    assert!(tokio::runtime::Handle::try_current().is_err());
}

/// Two failures and a success, in three polls.
fn two_failures_and_a_success<P: Policy + Clone>(layer: RetryLayer<P>) {
    assert_no_runtime();
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    let body = Tracked::new([Step::Data(b"an error page"), Step::Trailers]);
    let watch = body.watch();
    sent(&mut handle).1.send_response(with_body(503, body));
    assert_pending!(future.poll());
    assert!(watch.ended() && watch.dropped());
    sent(&mut handle).1.send_response(answer(503));
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    let response = assert_ready_ok!(future.poll());
    let report = report(&response);
    assert_eq!(report.attempt_count(), 3);
    assert_eq!(report.waited(), Duration::ZERO);
    for attempt in &report.attempts[..2] {
        let wait = attempt.wait.as_ref().expect("another attempt followed");
        assert_eq!(wait.why, WaitReason::Immediate);
    }
}

#[test]
fn retries_without_a_wait_need_no_runtime() {
    two_failures_and_a_success(RetryLayer::new(every(Duration::ZERO)));
    two_failures_and_a_success(RetryLayer::new(Bookkeeper::new(Duration::ZERO, 9)));
    two_failures_and_a_success(RetryLayer::new(policy_fn(|_| {
        Decision::Retry(RetryDecision::after(Duration::ZERO))
    })));
}

#[test]
fn errors_that_are_retried_without_a_wait_need_no_runtime() {
    assert_no_runtime();
    let layer = RetryLayer::new(every(Duration::ZERO));
    let mut trip = Trip::start(layer);
    for _ in 0..3 {
        trip.fail(reset());
    }
    let response = trip.end(200).expect("a response");
    assert_eq!(report(&response).attempt_count(), 4);
}

#[test]
fn time_limits_need_no_runtime_where_every_answer_is_there_at_once() {
    assert_no_runtime();
    let statuses = Cell::new([503, 503, 200].into_iter());
    let service = tower::service_fn(|_: Req| {
        let mut left = statuses.take();
        let status = left.next().expect("no fourth attempt");
        statuses.set(left);
        let body = Tracked::new([Step::Data(b"a")]);
        std::future::ready(Ok::<_, std::convert::Infallible>(with_body(status, body)))
    });
    let layer = RetryLayer::new(every(Duration::ZERO))
        .attempt_timeout(50 * MS)
        .deadline(3_600_000 * MS);
    let mut service = mock::Spawn::new(tower::Layer::layer(&layer, service));
    let response = assert_ready_ok!(start(&mut service, get()).poll());
    assert_eq!(report(&response).attempt_count(), 3);
}

#[test]
fn a_success_needs_no_runtime_whatever_was_configured() {
    assert_no_runtime();
    let layer = RetryLayer::new(every(3_600_000 * MS))
        .attempt_timeout(50 * MS)
        .deadline(3_600_000 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    sent(&mut handle).1.send_response(answer(200));
    assert!(is_ok(&assert_ready_ok!(future.poll())));
    let mut future = start(&mut service, get());
    sent(&mut handle).1.send_response(answer(404));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

// What the tests above would run into.
#[test]
#[should_panic(expected = "no reactor running")]
fn a_wait_needs_a_runtime() {
    assert_no_runtime();
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(MS)));
    let mut future = start(&mut service, get());
    sent(&mut handle).1.send_response(answer(503));
    assert_pending!(future.poll());
}
