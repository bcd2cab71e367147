//! Rule 6: the inner service is polled ready before every attempt, never during a wait, and its
//! refusal hides nothing.

use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use http::StatusCode;
use tokio::time::{self, Instant};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt};
use tower_http_retry::{
    AttemptOutcome, RetryErrorKind, RetryLayer,
    classify::{Cause, FailureKind},
    policy::StopReason,
};
use tower_test::mock;

use test_support::probe::{
    Ending, MS, Probe, Req, Res, answer, assert_nothing_sent, every, get, is_ok, report, reset,
    sent, start,
};

fn four_endings() -> [Ending; 4] {
    [
        Ending::Status(503),
        Ending::Error(reset()),
        Ending::Status(429),
        Ending::Status(200),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_made_on_an_instance_that_was_polled_ready_after_the_wait() {
    let start = Instant::now();
    let probe = Probe::new(100 * MS, four_endings());
    let observer = probe.observer();
    let service = RetryLayer::new(every(100 * MS)).layer(probe);
    let response = service.oneshot(get()).await.expect("a response");
    assert!(is_ok(&response));

    let (called, at): (Vec<_>, Vec<_>) = observer.calls().into_iter().unzip();
    assert_eq!(observer.readied(), called, "one permit for each attempt");
    // Each attempt takes a millisecond.
    let at: Vec<_> = at.iter().map(|at| at.duration_since(start)).collect();
    assert_eq!(at, [0, 101, 202, 303].map(|n| n * MS));
    assert_eq!(observer.permits(), 0);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "called without a permit")]
async fn the_probe_catches_a_clone_that_is_called_unready() {
    let mut probe = Probe::new(100 * MS, four_endings());
    probe.ready().await.expect("ready");
    let _call = probe.clone().call(get());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "called without a permit")]
async fn the_probe_catches_a_second_call_on_one_permit() {
    let mut probe = Probe::new(100 * MS, four_endings());
    probe.ready().await.expect("ready");
    probe.call(get()).await.expect("a response");
    time::sleep(100 * MS).await;
    let _call = probe.call(get());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "polled ready during the wait")]
async fn the_probe_catches_a_permit_that_is_taken_before_the_wait() {
    let mut probe = Probe::new(100 * MS, four_endings());
    let mut other = probe.clone();
    probe.ready().await.expect("ready");
    probe.call(get()).await.expect("a response");
    time::sleep(99 * MS).await;
    other.ready().await.expect("ready");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "called during the wait")]
async fn the_probe_catches_a_permit_that_was_taken_before_the_failure() {
    let mut probe = Probe::new(100 * MS, four_endings());
    let mut other = probe.clone();
    probe.ready().await.expect("ready");
    other.ready().await.expect("ready");
    probe.call(get()).await.expect("a response");
    let _call = other.call(get());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "a permit was kept during the wait")]
async fn the_probe_catches_a_future_that_is_kept_during_the_wait() {
    let mut probe = Probe::new(100 * MS, four_endings());
    probe.ready().await.expect("ready");
    let mut call = probe.call(get());
    let response = (&mut call).await;
    time::sleep(100 * MS).await;
    drop((call, response));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_holds_every_retry_back() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(100 * MS)));
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    for _ in 0..3 {
        let (_, respond) = sent(&mut handle);
        handle.allow(0);
        respond.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
        assert_pending!(future.poll());
        time::advance(10_000 * MS).await;
        assert_pending!(future.poll());
        assert_nothing_sent(&mut handle);

        handle.allow(1);
        assert!(future.is_woken(), "the service's wakeup is passed on");
        assert_pending!(future.poll());
    }
    sent(&mut handle).1.send_response(answer(200));
    let response = assert_ready_ok!(future.poll());
    let started: Vec<_> = report(&response)
        .attempts
        .iter()
        .map(|attempt| attempt.started)
        .collect();
    assert_eq!(started, [0, 10_100, 20_200, 30_300].map(|n| n * MS));
}

#[tokio::test(start_paused = true)]
async fn a_service_is_not_asked_before_the_wait_is_over() {
    for failures in 1..=3 {
        let (mut service, mut handle) =
            mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(100 * MS)));
        let mut future = start(&mut service, get());
        for n in 1..=failures {
            assert_pending!(future.poll());
            sent(&mut handle).1.send_response(answer(503));
            if n < failures {
                assert_pending!(future.poll());
                time::advance(100 * MS).await;
            }
        }
        // Whoever asks next is told of the error.
        handle.send_error("broken");
        assert_pending!(future.poll());
        time::advance(99 * MS).await;
        assert_pending!(future.poll());
        time::advance(MS).await;
        let error = assert_ready_err!(future.poll());
        assert_eq!(error.kind(), RetryErrorKind::NotReady);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_readiness_before_any_retry_keeps_the_error_that_the_retry_was_for() {
    for failures in 1..=3 {
        let (mut service, mut handle) =
            mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(100 * MS)));
        let mut future = start(&mut service, get());
        for _ in 1..failures {
            assert_pending!(future.poll());
            sent(&mut handle).1.send_response(answer(503));
            assert_pending!(future.poll());
            time::advance(100 * MS).await;
        }
        assert_pending!(future.poll());
        sent(&mut handle).1.send_error(reset());
        assert_pending!(future.poll());
        handle.send_error(io::Error::other("semaphore closed"));
        time::advance(100 * MS).await;
        let error = assert_ready_err!(future.poll());
        assert_nothing_sent(&mut handle);

        assert_eq!(error.kind(), RetryErrorKind::NotReady);
        assert_eq!(*error.stop_reason(), StopReason::NotReady);
        let source = error.source().expect("the failure");
        let source = source.downcast_ref::<io::Error>().expect("as it was");
        assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
        let readiness = error.readiness_error().expect("the new one");
        assert_eq!(readiness.to_string(), "semaphore closed");

        let report = error.report();
        assert_eq!(report.attempt_count(), failures);
        assert_eq!(
            report.elapsed,
            100 * MS * u32::try_from(failures).expect("few")
        );
        let last = report.attempts.last().expect("some");
        assert!(matches!(
            last.outcome,
            AttemptOutcome::Failed {
                kind: FailureKind::Read,
                cause: Cause::ConnectionReset,
                ..
            }
        ));
        let text = error.to_string();
        for part in [
            "failed to become ready",
            "semaphore closed",
            "connection reset",
        ] {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
        let inner = error.into_inner().expect("the failure");
        assert!(inner.to_string().contains("reset"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_readiness_before_any_retry_keeps_the_status_that_the_retry_was_for() {
    for failures in 1..=3 {
        let (mut service, mut handle) =
            mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(100 * MS)));
        let mut future = start(&mut service, get());
        for _ in 1..failures {
            assert_pending!(future.poll());
            sent(&mut handle).1.send_error(reset());
            assert_pending!(future.poll());
            time::advance(100 * MS).await;
        }
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(502));
        assert_pending!(future.poll());
        handle.send_error("semaphore closed");
        time::advance(100 * MS).await;
        let error = assert_ready_err!(future.poll());

        assert_eq!(error.kind(), RetryErrorKind::NotReady);
        // An answer is no error, so the only one there is stands in the chain, and not one of an
        // attempt before.
        assert_eq!(error.source().expect("one").to_string(), "semaphore closed");
        let last = error.report().attempts.last().expect("some");
        assert_eq!(
            last.outcome,
            AttemptOutcome::Response(StatusCode::BAD_GATEWAY)
        );
        assert_eq!(error.report().attempt_count(), failures);
        let text = error.to_string();
        assert!(
            text.contains("semaphore closed") && text.contains("502"),
            "{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_readiness_before_the_first_attempt_is_an_error_and_not_retried() {
    let events = Arc::new(AtomicU32::new(0));
    let layer = RetryLayer::new(every(100 * MS)).on_event({
        let events = Arc::clone(&events);
        move |_| {
            events.fetch_add(1, Relaxed);
        }
    });
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    for text in ["one", "two", "three"] {
        handle.send_error(text);
        let error = assert_ready_err!(service.poll_ready::<Req>());
        assert_eq!(error.kind(), RetryErrorKind::NotReady);
        assert_eq!(error.readiness_error().expect("it").to_string(), text);
        assert_eq!(error.source().expect("it").to_string(), text);
        assert_eq!(error.report().attempt_count(), 0);
        assert_eq!(*error.stop_reason(), StopReason::NotReady);
        assert!(error.to_string().contains(text));
        time::advance(1000 * MS).await;
        assert_nothing_sent(&mut handle);
    }
    assert_eq!(events.load(Relaxed), 3, "no failure is silent");

    // The service may recover.
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert_ready_ok!(future.poll());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_does_not_keep_the_service_from_the_next_one() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(100 * MS)));
    let mut waiting: Vec<task::Spawn<_>> = Vec::new();
    for _ in 0..3 {
        let mut future = start(&mut service, get());
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        waiting.push(future);
    }
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert!(is_ok(&assert_ready_ok!(future.poll())));

    time::advance(100 * MS).await;
    for mut future in waiting {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(200));
        let response = assert_ready_ok!(future.poll());
        assert_eq!(report(&response).attempt_count(), 2);
    }
}
