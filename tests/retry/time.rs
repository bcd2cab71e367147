//! Deadlines and attempt timeouts, to the millisecond.

use std::{error::Error, time::Duration};

use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use tokio::time::{self, Instant};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower_http_retry::{
    AttemptOutcome, DrainLimit, RetryErrorKind, RetryLayer, RetryReport,
    classify::{AttemptTimedOut, Cause, DeadlinePassed, FailureKind},
    policy::{Backoff, Gate, LimitKind, RetryAfterMode, RetryPolicy, StopReason},
};
use tower_test::mock::{self, Handle};

use test_support::probe::{
    Bookkeeper, MS, Req, Res, Step, Tracked, answer, assert_nothing_sent, every, get, is_ok,
    report, request, reset, sent, start, with_body,
};
use test_support::trip::Trip;

/// Polls the future until it has sent an attempt, answers it after `took`, and polls again.
macro_rules! attempt {
    ($future:ident, $handle:ident, $took:expr, $respond:ident => $answer:expr) => {{
        assert_pending!($future.poll());
        let (_, $respond) = sent(&mut $handle);
        time::advance($took).await;
        assert_pending!($future.poll());
        $answer;
        $future.poll()
    }};
}

/// Waits of `wait`, and no limit but the layer's own.
fn forever(wait: Duration) -> RetryPolicy {
    RetryPolicy::builder()
        .total(None)
        .backoff(Backoff::constant(wait))
        .build()
        .expect("a valid policy")
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_pass_the_deadline_is_not_begun() {
    let layer = RetryLayer::new(every(100 * MS)).deadline(250 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let begin = Instant::now();
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        let polled =
            attempt!(future, handle, 10 * MS, respond => respond.send_response(answer(503)));
        assert_pending!(polled);
        time::advance(100 * MS).await;
    }
    let polled = attempt!(future, handle, 20 * MS, respond => respond.send_response(answer(503)));
    let response = assert_ready_ok!(polled, "it stops in the same moment");
    assert_eq!(begin.elapsed(), 240 * MS);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let report = report(&response);
    assert_eq!(
        report.stop,
        StopReason::DeadlineTooClose {
            left: 10 * MS,
            // The wait, and the quickest attempt so far.
            needed: 110 * MS,
        }
    );
    assert_eq!(report.elapsed, 240 * MS);
    let gates = report
        .attempts
        .iter()
        .map(|attempt| attempt.gates.get(Gate::Deadline));
    assert!(gates.eq([Some(true), Some(true), Some(false)]));
    assert_eq!(report.attempts[2].wait, None);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_handed_out_as_it_was_when_the_deadline_is_too_close() {
    let layer = RetryLayer::new(every(100 * MS)).deadline(250 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        assert_pending!(attempt!(future, handle, MS, respond => respond.send_error(reset())));
        time::advance(100 * MS).await;
    }
    let error =
        assert_ready_err!(attempt!(future, handle, MS, respond => respond.send_error(reset())));
    assert_eq!(error.kind(), RetryErrorKind::Failed);
    assert_eq!(error.stop_reason().name(), "deadline_too_close");
    assert!(error.downcast_inner::<std::io::Error>().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_server_is_not_begun_either() {
    let layer = RetryLayer::new(every(100 * MS)).deadline(5000 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    let later = || {
        let mut response = answer(503);
        let header = HeaderValue::from_static("2");
        response.headers_mut().insert("retry-after", header);
        response
    };
    for _ in 0..2 {
        assert_pending!(attempt!(future, handle, MS, respond => respond.send_response(later())));
        time::advance(2000 * MS).await;
    }
    let response =
        assert_ready_ok!(attempt!(future, handle, MS, respond => respond.send_response(later())));
    assert_eq!(
        report(&response).stop,
        StopReason::DeadlineTooClose {
            left: 997 * MS,
            needed: 2001 * MS,
        }
    );
}

#[tokio::test(start_paused = true)]
async fn the_least_time_of_an_attempt_counts_before_a_wait() {
    // After the third failure 150 ms are left.
    for (min_attempt, stops) in [(49, false), (50, true), (51, true)] {
        let layer = RetryLayer::new(every(100 * MS))
            .deadline(350 * MS)
            .min_attempt(min_attempt * MS);
        let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
        let mut future = start(&mut service, get());
        for _ in 0..2 {
            assert_pending!(future.poll());
            sent(&mut handle).1.send_response(answer(503));
            assert_pending!(future.poll());
            time::advance(100 * MS).await;
        }
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        if stops {
            let response = assert_ready_ok!(future.poll());
            assert_eq!(
                report(&response).stop,
                StopReason::DeadlineTooClose {
                    left: 150 * MS,
                    needed: (100 + min_attempt) * MS,
                }
            );
        } else {
            assert_pending!(future.poll(), "{min_attempt}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_quickest_attempt_is_the_measure_where_the_least_time_is_less() {
    let layer = RetryLayer::new(every(100 * MS))
        .deadline(400 * MS)
        .min_attempt(10 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(
        attempt!(future, handle, 30 * MS, respond => respond.send_response(answer(503)))
    );
    time::advance(100 * MS).await;
    assert_pending!(
        attempt!(future, handle, 20 * MS, respond => respond.send_response(answer(503)))
    );
    time::advance(100 * MS).await;
    let polled = attempt!(future, handle, 30 * MS, respond => respond.send_response(answer(503)));
    // At 280 ms: 120 left, and 100 + 20 needed.
    let response = assert_ready_ok!(polled);
    assert_eq!(
        report(&response).stop,
        StopReason::DeadlineTooClose {
            left: 120 * MS,
            needed: 120 * MS,
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_during_any_attempt_ends_it() {
    for failures in 0..3 {
        let layer = RetryLayer::new(every(100 * MS)).deadline(450 * MS);
        let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
        let begin = Instant::now();
        let mut future = start(&mut service, get());
        for _ in 0..failures {
            assert_pending!(future.poll());
            sent(&mut handle).1.send_error(reset());
            assert_pending!(future.poll());
            time::advance(100 * MS).await;
        }
        assert_pending!(future.poll());
        let _unanswered = sent(&mut handle);
        time::advance(449 * MS - begin.elapsed()).await;
        assert_pending!(future.poll());
        time::advance(MS).await;
        let error = assert_ready_err!(future.poll());

        assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
        let deadline = 450 * MS;
        assert_eq!(
            *error.stop_reason(),
            StopReason::DeadlineExceeded { deadline }
        );
        let report = error.report();
        assert_eq!(report.attempt_count(), failures as usize + 1);
        assert_eq!(report.elapsed, deadline);
        let last = report.attempts.last().expect("some");
        assert_eq!(last.number, failures + 1);
        assert_eq!(last.started, failures * 100 * MS);
        assert_eq!(last.took, deadline - failures * 100 * MS);
        assert_eq!(last.gates.get(Gate::Deadline), Some(false));
        assert!(matches!(
            last.outcome,
            AttemptOutcome::Failed {
                kind: FailureKind::Read,
                ..
            }
        ));
        let source = error.source().expect("one");
        if failures == 0 {
            let passed = source.downcast_ref::<DeadlinePassed>().expect("it");
            assert_eq!(passed.deadline(), deadline);
        } else {
            // Nobody knows what the last attempt would have said; what is known is kept.
            assert!(source.is::<std::io::Error>());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_while_the_service_is_not_ready_ends_the_wait_for_it() {
    for failures in 1..=3 {
        let layer = RetryLayer::new(every(100 * MS)).deadline(450 * MS);
        let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
        let begin = Instant::now();
        let mut future = start(&mut service, get());
        for n in 1..=failures {
            assert_pending!(future.poll());
            let (_, respond) = sent(&mut handle);
            if n == failures {
                handle.allow(0);
            }
            respond.send_error(reset());
            assert_pending!(future.poll());
            time::advance(100 * MS).await;
        }
        assert_pending!(future.poll());
        time::advance(449 * MS - begin.elapsed()).await;
        assert_pending!(future.poll());
        assert_nothing_sent(&mut handle);
        time::advance(MS).await;
        let error = assert_ready_err!(future.poll());
        assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
        // The attempt that was not sent is not listed.
        assert_eq!(error.report().attempt_count(), failures);
        assert_eq!(error.report().elapsed, 450 * MS);
        assert!(error.downcast_inner::<std::io::Error>().is_some());
        assert_nothing_sent(&mut handle);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_becomes_ready_at_the_deadline_is_not_called() {
    let layer = RetryLayer::new(every(100 * MS)).deadline(150 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let (_, respond) = sent(&mut handle);
    handle.allow(0);
    respond.send_response(answer(503));
    assert_pending!(future.poll());
    time::advance(100 * MS).await;
    assert_pending!(future.poll());
    time::advance(50 * MS).await;
    handle.allow(9);
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    assert_nothing_sent(&mut handle);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_ends_each_attempt_and_is_charged_to_read() {
    let policy = RetryPolicy::builder()
        .read(2)
        .backoff(Backoff::constant(100 * MS))
        .build()
        .expect("valid");
    let layer = RetryLayer::new(policy).attempt_timeout(50 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    let mut unanswered = Vec::new();
    for _ in 0..2 {
        assert_pending!(future.poll());
        unanswered.push(sent(&mut handle));
        time::advance(49 * MS).await;
        assert_pending!(future.poll());
        time::advance(MS).await;
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    unanswered.push(sent(&mut handle));
    time::advance(50 * MS).await;
    let error = assert_ready_err!(future.poll());

    assert_eq!(error.kind(), RetryErrorKind::AttemptTimeout);
    let kind = LimitKind::Read;
    assert_eq!(
        *error.stop_reason(),
        StopReason::CountExhausted { kind, limit: 2 }
    );
    let timed_out = error.downcast_inner::<AttemptTimedOut>().expect("it");
    assert_eq!(timed_out.after(), 50 * MS);
    assert!(
        error
            .source()
            .is_some_and(|source| source.is::<AttemptTimedOut>())
    );
    for (n, attempt) in error.report().attempts.iter().enumerate() {
        let n = u32::try_from(n).expect("few");
        assert_eq!((attempt.started, attempt.took), (n * 150 * MS, 50 * MS));
        let AttemptOutcome::Failed {
            kind, cause, error, ..
        } = &attempt.outcome
        else {
            panic!("{attempt:?}");
        };
        assert_eq!((*kind, *cause), (FailureKind::Read, Cause::AttemptTimeout));
        assert_eq!(error, "no response within 50 ms");
        let charged = attempt.wait.as_ref().map(|wait| wait.charged);
        assert_eq!(charged, (n < 2).then_some(Some(LimitKind::Read)));
    }
    assert_eq!(error.report().elapsed, 350 * MS);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_timed_out_may_have_been_applied_so_its_method_is_asked() {
    let layer = RetryLayer::new(every(100 * MS)).attempt_timeout(50 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, request("POST"));
    assert_pending!(future.poll());
    let _unanswered = sent(&mut handle);
    time::advance(50 * MS).await;
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::AttemptTimeout);
    assert_eq!(error.stop_reason().name(), "method_not_allowed");
    assert_eq!(error.report().effects(), 0..=1);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_an_attempt_starts_with_its_call_and_not_with_a_wait() {
    let layer = RetryLayer::new(every(1000 * MS)).attempt_timeout(50 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for _ in 0..3 {
        let polled =
            attempt!(future, handle, 49 * MS, respond => respond.send_response(answer(503)));
        assert_pending!(polled);
        time::advance(1000 * MS).await;
    }
    let response = assert_ready_ok!(
        attempt!(future, handle, 49 * MS, respond => respond.send_response(answer(200)))
    );
    assert!(is_ok(&response));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_from_the_call_and_not_from_the_first_poll() {
    let layer = RetryLayer::new(every(100 * MS)).deadline(100 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    time::advance(60 * MS).await;
    assert_pending!(future.poll());
    let _unanswered = sent(&mut handle);
    time::advance(40 * MS).await;
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_shortens_an_attempt() {
    let layer = RetryLayer::new(every(100 * MS))
        .attempt_timeout(100 * MS)
        .deadline(250 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    let _unanswered = sent(&mut handle);
    time::advance(49 * MS).await;
    assert_pending!(future.poll());
    time::advance(MS).await;
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    assert_eq!(error.report().attempts[2].took, 50 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_falls_on_the_deadline_is_the_deadline() {
    let layer = RetryLayer::new(every(100 * MS))
        .attempt_timeout(50 * MS)
        .deadline(50 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let _unanswered = sent(&mut handle);
    time::advance(50 * MS).await;
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn a_response_whose_head_came_in_time_is_never_cut_off() {
    let layer = RetryLayer::new(every(10 * MS))
        .attempt_timeout(50 * MS)
        .deadline(100 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let begin = Instant::now();
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        assert_pending!(
            attempt!(future, handle, 10 * MS, respond => respond.send_response(answer(503)))
        );
        time::advance(10 * MS).await;
    }
    let body = Tracked::new([
        Step::Data(b"slow"),
        Step::Pause(10_000 * MS),
        Step::Data(b" and whole"),
    ]);
    let polled =
        attempt!(future, handle, 49 * MS, respond => respond.send_response(with_body(200, body)));
    let response = assert_ready_ok!(polled);
    let body = response.into_body().collect().await.expect("whole");
    assert_eq!(body.to_bytes(), "slow and whole");
    assert_eq!(begin.elapsed(), 10_089 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_there_when_its_time_is_up_counts() {
    for limit in [
        RetryLayer::new(every(100 * MS)).attempt_timeout(50 * MS),
        RetryLayer::new(every(100 * MS)).deadline(50 * MS),
    ] {
        let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(limit);
        let mut future = start(&mut service, get());
        assert_pending!(future.poll());
        let (_, respond) = sent(&mut handle);
        time::advance(50 * MS).await;
        respond.send_response(answer(200));
        assert!(is_ok(&assert_ready_ok!(future.poll())));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_of_no_time_is_answered_at_once_or_not_and_a_deadline_of_none_sends_nothing() {
    let layer = RetryLayer::new(every(Duration::ZERO)).attempt_timeout(Duration::ZERO);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    sent(&mut handle).1.send_response(answer(503));
    let error = assert_ready_err!(poll_to_end(&mut future).await);
    assert_eq!(error.kind(), RetryErrorKind::AttemptTimeout);
    assert_eq!(error.report().attempt_count(), 4);
    assert_eq!(error.report().elapsed, Duration::ZERO);

    // A deadline that has passed lets nothing through.
    let layer = RetryLayer::new(every(Duration::ZERO)).deadline(Duration::ZERO);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    assert_eq!(error.report().attempt_count(), 0);
    assert_nothing_sent(&mut handle);
}

/// Polls until the future is done with timers that are due.
async fn poll_to_end<F: Future>(future: &mut task::Spawn<F>) -> std::task::Poll<F::Output> {
    for _ in 0..10 {
        let polled = future.poll();
        if polled.is_ready() {
            return polled;
        }
        tokio::task::yield_now().await;
    }
    future.poll()
}

/// Goes through three failures, the last of them with the service not ready, and ends well.
async fn three_failures_and_a_success(
    layer: RetryLayer<RetryPolicy>,
    wait: Duration,
) -> RetryReport {
    let (mut service, mut handle): (_, Handle<Req, Res>) = mock::spawn_layer(layer);
    let mut future = start(&mut service, get());
    for _ in 0..3 {
        assert_pending!(future.poll());
        let (_, respond) = sent(&mut handle);
        time::advance(5 * MS).await;
        assert_pending!(future.poll());
        handle.allow(0);
        let body = Tracked::new([Step::Pause(wait / 2), Step::Data(b"a")]);
        respond.send_response(with_body(503, body));
        assert_pending!(future.poll());
        time::advance(wait / 2).await;
        assert_pending!(future.poll());
        time::advance(wait / 2).await;
        assert_pending!(future.poll(), "the service is not ready");
        time::advance(wait).await;
        assert_pending!(future.poll());
        handle.allow(1);
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    let response = assert_ready_ok!(future.poll());
    report(&response).clone()
}

#[tokio::test(start_paused = true)]
async fn the_longest_durations_are_no_limits_and_do_not_panic() {
    const YEARS: Duration = Duration::from_secs(500 * 365 * 24 * 60 * 60);
    for long in [Duration::MAX, Duration::from_secs(u64::MAX / 2), YEARS] {
        let layer = RetryLayer::new(every(100 * MS))
            .attempt_timeout(long)
            .deadline(long)
            .drain(DrainLimit {
                bytes: u64::MAX,
                time: long,
            });
        let report = three_failures_and_a_success(layer, 100 * MS).await;
        assert_eq!(report.attempt_count(), 4);
        assert_eq!(report.elapsed, 615 * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_least_time_of_an_attempt_stops_at_the_first_failure() {
    let layer = RetryLayer::new(every(100 * MS))
        .deadline(1000 * MS)
        .min_attempt(Duration::MAX);
    let mut trip = Trip::start(layer);
    let response = trip.end(503).expect("a response");
    let stop = StopReason::DeadlineTooClose {
        left: 1000 * MS,
        needed: Duration::MAX,
    };
    assert_eq!(report(&response).stop, stop);
    assert!(
        report(&response)
            .to_string()
            .contains("the deadline is too close")
    );
}

#[tokio::test(start_paused = true)]
async fn the_longest_wait_waits_and_does_not_panic() {
    let hinted = RetryPolicy::builder()
        .retry_after_max(f64::MAX)
        .retry_after_mode(RetryAfterMode::Clamp)
        .build()
        .expect("valid");
    let mut later = answer(503);
    let header = HeaderValue::from_static("18446744073709551615");
    later.headers_mut().insert("retry-after", header);
    for (policy, failure) in [(forever(Duration::MAX), answer(503)), (hinted, later)] {
        let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(policy));
        let mut future = start(&mut service, get());
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(failure);
        assert_pending!(future.poll());
        time::advance(Duration::from_secs(365 * 24 * 60 * 60)).await;
        assert_pending!(future.poll());
        assert_nothing_sent(&mut handle);
    }
}

#[tokio::test(start_paused = true)]
async fn limits_hold_for_a_policy_of_the_users_own() {
    let layer = RetryLayer::new(Bookkeeper::new(Duration::MAX, u32::MAX)).deadline(100 * MS);
    let mut trip = Trip::start(layer);
    let response = trip.end(503).expect("a response");
    assert_eq!(
        report(&response).stop,
        StopReason::DeadlineTooClose {
            left: 100 * MS,
            needed: Duration::MAX,
        }
    );
}
