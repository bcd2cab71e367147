//! First attempts that are held back or refused: they hold nothing and send nothing either.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use http::HeaderValue;
use tokio::time;
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, limit::ConcurrencyLimit};
use tower_http_retry::{
    RequestDeadline, RetryErrorKind, RetryLayer,
    budget::Scope,
    policy::{RetryPolicy, StopReason},
    shared_hints::SharedHints,
    throttle::AdaptiveThrottle,
};
use tower_test::mock::{self, Handle, Mock, Spawn};

use test_support::probe::{
    Bookkeeper, MS, Req, Res, answer, assert_hung_up, assert_nothing_sent, every, get, is_ok, sent,
    start,
};

fn sharing() -> RetryLayer<RetryPolicy> {
    let hints = SharedHints::builder().jitter(0.0).build();
    RetryLayer::new(every(100 * MS)).admission(hints.expect("valid"))
}

fn later(seconds: &'static str) -> Res {
    let mut response = answer(503);
    let seconds = HeaderValue::from_static(seconds);
    response.headers_mut().insert("retry-after", seconds);
    response
}

/// Starts a request that is answered with 503 and `Retry-After: 2`.
fn hinted<S>(service: &mut Spawn<S>, handle: &mut Handle<Req, Res>) -> task::Spawn<S::Future>
where
    S: Service<Req, Response = Res, Error: std::fmt::Debug>,
{
    let mut first = start(service, get());
    assert_pending!(first.poll());
    sent(handle).1.send_response(later("2"));
    assert_pending!(first.poll());
    first
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_is_held_back_until_the_time_that_another_was_told() {
    let (mut service, mut handle) = mock::spawn_layer(sharing());
    let mut first = hinted(&mut service, &mut handle);
    time::advance(500 * MS).await;
    let mut others: Vec<_> = (0..3).map(|_| start(&mut service, get())).collect();
    for other in &mut others {
        assert_pending!(other.poll());
    }
    time::advance(1499 * MS).await;
    for other in &mut others {
        assert_pending!(other.poll());
    }
    assert_nothing_sent(&mut handle);
    time::advance(MS).await;
    assert_pending!(first.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert_ready_ok!(first.poll());
    for other in &mut others {
        assert_pending!(other.poll());
        sent(&mut handle).1.send_response(answer(200));
        assert!(is_ok(&assert_ready_ok!(other.poll())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_that_is_held_back_holds_no_permit() {
    let (mock, mut handle) = mock::pair::<Req, Res>();
    let mut service = Spawn::new(sharing().layer(ConcurrencyLimit::new(mock, 1)));
    let mut first = hinted(&mut service, &mut handle);
    // The service lives on, with whatever it was given when it was polled ready.
    let mut others: Vec<_> = (0..3).map(|_| start(&mut service, get())).collect();
    for other in &mut others {
        assert_pending!(other.poll());
    }
    time::advance(2000 * MS).await;
    assert_pending!(first.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert_ready_ok!(first.poll());
    drop(first);
    for mut other in others {
        assert_pending!(other.poll());
        sent(&mut handle).1.send_response(answer(200));
        assert!(is_ok(&assert_ready_ok!(other.poll())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_that_is_refused_holds_no_permit() {
    let throttle = AdaptiveThrottle::builder().build().expect("valid");
    let (mock, mut handle) = mock::pair::<Req, Res>();
    let limited = ConcurrencyLimit::new(mock, 1);
    let mut other = Spawn::new(limited.clone());
    let policy = Bookkeeper::new(MS, 0);
    let books = policy.books();
    let layer = RetryLayer::new(policy).admission(throttle);
    let mut service = Spawn::new(layer.layer(limited));
    let mut refused = 0;
    // Nothing is accepted: the refusals begin soon, and go on.
    for _ in 0..1000 {
        let mut future = start(&mut service, get());
        match future.poll() {
            Poll::Ready(result) => {
                let error = result.expect_err("nothing was sent");
                assert_eq!(error.kind(), RetryErrorKind::Throttled);
                refused += 1;
                drop(future);
                assert_ready_ok!(other.poll_ready::<Req>(), "the permit is free");
                // Gives it back.
                other = Spawn::new(other.get_ref().clone());
            }
            Poll::Pending => {
                sent(&mut handle).1.send_response(answer(503));
                assert_ready_ok!(future.poll());
            }
        }
    }
    assert!(refused > 500, "{refused}");
    assert_eq!(books.ends(), (0, 1000), "a session hears of every end");
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_that_is_dropped_while_it_is_held_back_sends_nothing() {
    let (mut service, mut handle) = mock::spawn_layer(sharing());
    let first = hinted(&mut service, &mut handle);
    let mut other = start(&mut service, get());
    assert_pending!(other.poll());
    drop((first, other, service));
    time::advance(10_000 * MS).await;
    assert_hung_up(&mut handle);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_would_pass_the_deadline_is_not_begun() {
    let (mut service, mut handle) = mock::spawn_layer(sharing());
    let _first = hinted(&mut service, &mut handle);
    time::advance(500 * MS).await;
    for (deadline, is_held) in [(1501, true), (1500, false), (1000, false)] {
        let mut request = get();
        let deadline = deadline * MS;
        request
            .extensions_mut()
            .insert(RequestDeadline::after(deadline));
        let mut other = start(&mut service, request);
        if is_held {
            assert_pending!(other.poll());
            continue;
        }
        let error = assert_ready_err!(other.poll());
        assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
        let (left, needed) = (deadline, 1500 * MS);
        let stop = StopReason::DeadlineTooClose { left, needed };
        assert_eq!(*error.stop_reason(), stop);
        assert_eq!(error.report().attempt_count(), 0);
    }
    assert_nothing_sent(&mut handle);
}

/// Counts how often it is asked whether it is ready.
#[derive(Clone)]
struct Counted {
    mock: Mock<Req, Res>,
    polls: Arc<AtomicU32>,
}

impl Service<Req> for Counted {
    type Response = Res;
    type Error = tower_http_retry::BoxError;
    type Future = <Mock<Req, Res> as Service<Req>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.polls.fetch_add(1, Relaxed);
        self.mock.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.mock.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_after_the_hold_is_waited_for_until_the_deadline() {
    let (mock, mut handle) = mock::pair();
    let polls = Arc::new(AtomicU32::new(0));
    let counted = Counted {
        mock,
        polls: Arc::clone(&polls),
    };
    let mut service = Spawn::new(sharing().deadline(5000 * MS).layer(counted));
    let mut first = hinted(&mut service, &mut handle);
    let mut other = start(&mut service, get());
    assert_pending!(other.poll());
    let before = polls.load(Relaxed);
    handle.allow(0);
    time::advance(1999 * MS).await;
    assert_pending!(other.poll());
    assert_eq!(polls.load(Relaxed), before, "not asked during the hold");
    time::advance(MS).await;
    assert_pending!(other.poll());
    assert!(polls.load(Relaxed) > before);
    time::advance(2999 * MS).await;
    assert_pending!(other.poll());
    assert_nothing_sent(&mut handle);
    time::advance(MS).await;
    let error = assert_ready_err!(other.poll());
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    assert_eq!(error.report().attempt_count(), 0);
    assert_eq!(error.report().elapsed, 5000 * MS);
    let _ = assert_ready!(first.poll()).expect_err("its deadline is the same");
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_ends_between_two_ticks_of_the_timer_is_no_deadline() {
    // Half a millisecond later than the timer's ticks.
    let half = MS / 2;
    let (mock, mut handle) = mock::pair::<Req, Res>();
    let mut service = Spawn::new(sharing().deadline(5000 * MS).layer(mock));
    time::advance(half).await;
    let _first = hinted(&mut service, &mut handle);
    let mut other = start(&mut service, get());
    assert_pending!(other.poll());
    handle.allow(0);
    for _ in 0..4010 {
        time::advance(half).await;
        assert_pending!(
            other.poll(),
            "the service is not ready, and the deadline far"
        );
    }
    handle.allow(9);
    assert_pending!(other.poll());
    assert!(handle.poll_request().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_after_the_hold_ends_the_request_unsent() {
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(sharing());
    let first = hinted(&mut service, &mut handle);
    let mut other = start(&mut service, get());
    assert_pending!(other.poll());
    drop(first);
    handle.send_error("broken");
    time::advance(1999 * MS).await;
    assert_pending!(other.poll());
    time::advance(MS).await;
    let error = assert_ready_err!(other.poll());
    assert_eq!(error.kind(), RetryErrorKind::NotReady);
    assert_eq!(error.report().attempt_count(), 0);
    assert_eq!(error.readiness_error().expect("it").to_string(), "broken");
    assert_nothing_sent(&mut handle);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_held_for_long_enough_is_not_held_again_and_says_so() {
    let (mut service, mut handle) = mock::spawn_layer(sharing());
    let mut first = start(&mut service, get());
    assert_pending!(first.poll());
    sent(&mut handle).1.send_response(later("86400"));
    assert_ready_ok!(first.poll());
    // A minute is the most that anybody waits, whatever the server asks for.
    let mut looks = start(&mut service, get());
    let mut waits = start(&mut service, get());
    assert_pending!(looks.poll());
    assert_pending!(waits.poll());
    time::advance(59_999 * MS).await;
    assert_pending!(looks.poll());
    assert_nothing_sent(&mut handle);
    time::advance(MS).await;
    assert_pending!(looks.poll());
    assert_pending!(waits.poll());
    let (_, answered) = sent(&mut handle);
    assert_nothing_sent(&mut handle);
    // Nothing has changed: the other one has waited for as long as it may.
    answered.send_response(later("86400"));
    assert_ready_ok!(looks.poll());
    time::advance(1000 * MS).await;
    let error = assert_ready_err!(waits.poll());
    assert_eq!(error.kind(), RetryErrorKind::Throttled);
    let max = 60_000 * MS;
    let StopReason::HeldTooLong { held, max: said } = error.stop_reason() else {
        panic!("{error}");
    };
    assert!(*held > max && *said == max, "{error}");
    assert_eq!(error.report().attempt_count(), 0);
    assert_nothing_sent(&mut handle);
}

#[tokio::test(start_paused = true)]
async fn one_request_looks_after_a_hint_without_end_and_its_success_lets_the_others_go() {
    // A year, an epoch in seconds, more than any number.
    for hint in ["31536000", "1746136938", "99999999999999999999"] {
        let (mut service, mut handle) = mock::spawn_layer(sharing());
        let mut first = start(&mut service, get());
        assert_pending!(first.poll());
        sent(&mut handle).1.send_response(later(hint));
        assert_ready_ok!(first.poll());
        time::advance(60_000 * MS).await;
        let mut others: Vec<_> = (0..20).map(|_| start(&mut service, get())).collect();
        for other in &mut others {
            assert_pending!(other.poll());
        }
        sent(&mut handle).1.send_response(answer(200));
        assert_nothing_sent(&mut handle);
        assert_ready_ok!(others[0].poll());
        time::advance(1000 * MS).await;
        for other in &mut others[1..] {
            assert_pending!(other.poll());
            sent(&mut handle).1.send_response(answer(200));
            assert_ready_ok!(other.poll());
        }
        // It is over for good.
        let mut later = start(&mut service, get());
        assert_pending!(later.poll());
        sent(&mut handle);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_looks_and_is_dropped_leaves_that_to_the_next() {
    let (mut service, mut handle) = mock::spawn_layer(sharing());
    let mut first = start(&mut service, get());
    assert_pending!(first.poll());
    sent(&mut handle).1.send_response(later("31536000"));
    assert_ready_ok!(first.poll());
    time::advance(60_000 * MS).await;
    for _ in 0..3 {
        let mut looks = start(&mut service, get());
        assert_pending!(looks.poll());
        let (_, _answered) = sent(&mut handle);
        let mut waits = start(&mut service, get());
        assert_pending!(waits.poll());
        assert_nothing_sent(&mut handle);
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_shorter_hint_takes_the_place_of_a_longer_one() {
    let (mut service, mut handle) = mock::spawn_layer(sharing());
    let mut on_the_way = [start(&mut service, get()), start(&mut service, get())];
    for request in &mut on_the_way {
        assert_pending!(request.poll());
    }
    let (_, long) = sent(&mut handle);
    let (_, short) = sent(&mut handle);
    long.send_response(later("50"));
    assert_pending!(on_the_way[0].poll());
    time::advance(1000 * MS).await;
    short.send_response(later("2"));
    assert_pending!(on_the_way[1].poll());
    let mut other = start(&mut service, get());
    assert_pending!(other.poll());
    time::advance(2000 * MS).await;
    assert_pending!(other.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert_ready_ok!(other.poll());
}

#[tokio::test(start_paused = true)]
async fn requests_held_by_one_hint_are_spread() {
    let hints = SharedHints::builder().seed(4711).build().expect("valid");
    let layer = RetryLayer::new(every(100 * MS)).admission(hints);
    let (mut service, mut handle) = mock::spawn_layer(layer);
    let _first = hinted(&mut service, &mut handle);
    let mut others: Vec<_> = (0..1000)
        .map(|_| Some(start(&mut service, get())))
        .collect();
    for other in others.iter_mut().flatten() {
        assert_pending!(other.poll());
    }
    time::advance(1999 * MS).await;
    // A tenth of the two seconds that the server asked for.
    let mut each_millisecond = Vec::new();
    for _ in 0..=202 {
        for future in others.iter_mut().flatten() {
            assert_pending!(future.poll());
        }
        let mut count = 0;
        while let Poll::Ready(Some((_, respond))) = handle.poll_request() {
            respond.send_response(answer(200));
            count += 1;
        }
        each_millisecond.push(count);
        for other in &mut others {
            if other
                .as_mut()
                .is_some_and(|future| future.poll().is_ready())
            {
                *other = None;
            }
        }
        time::advance(MS).await;
    }
    assert_eq!(each_millisecond[0], 0, "never earlier than asked");
    assert_eq!(each_millisecond.iter().sum::<i32>(), 1000);
    let most = each_millisecond.iter().max().expect("some");
    assert!(*most < 30, "{each_millisecond:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hint_of_search_holds_core_only_where_the_user_says_so() {
    let by_path = Scope::key(|uri, key| {
        key.write_authority(uri);
        std::hash::Hash::hash(&uri.path().split('/').nth(1), key);
    });
    for (scope, others) in [
        (Scope::PerAuthority, [true, false]),
        (by_path, [false, false]),
        (Scope::Shared, [true, true]),
    ] {
        let hints = SharedHints::builder().jitter(0.0).scope(scope.clone());
        let layer = RetryLayer::new(every(100 * MS)).admission(hints.build().expect("valid"));
        let (mut service, mut handle) = mock::spawn_layer(layer);
        let to = |uri: &str| {
            let mut request = get();
            *request.uri_mut() = uri.parse().expect("valid");
            request
        };
        let mut first = start(&mut service, to("http://a.test/search/1"));
        assert_pending!(first.poll());
        sent(&mut handle).1.send_response(later("30"));
        assert_pending!(first.poll());
        let mut same = start(&mut service, to("http://a.test/search/2"));
        assert_pending!(same.poll());
        assert_nothing_sent(&mut handle);
        for (uri, is_held) in ["http://a.test/core", "http://b.test/"].iter().zip(others) {
            let mut other = start(&mut service, to(uri));
            assert_pending!(other.poll());
            assert_eq!(
                handle.poll_request().is_pending(),
                is_held,
                "{uri} {scope:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_their_callers_drop_do_not_count_against_a_healthy_server() {
    let throttle = AdaptiveThrottle::builder().build().expect("valid");
    let layer = RetryLayer::new(every(100 * MS)).admission(throttle.clone());
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    for _ in 0..100 {
        let mut dropped = start(&mut service, get());
        assert_pending!(dropped.poll());
        let _ = sent(&mut handle);
        time::advance(MS).await;
    }
    let now = time::Instant::now().into_std();
    let slot = throttle.slot(get().uri());
    assert_eq!(throttle.probability(slot, now), 0.0);
    for _ in 0..20 {
        let mut request = start(&mut service, get());
        assert_pending!(request.poll());
        sent(&mut handle).1.send_response(answer(200));
        assert_ready_ok!(request.poll());
    }
    // What has an outcome counts: errors and timeouts are not accepted.
    for _ in 0..100 {
        // Or tokio's channels think that the test takes too much for itself.
        time::advance(MS).await;
        let mut request = start(&mut service, post());
        if request.poll().is_pending() {
            sent(&mut handle).1.send_error("reset");
            assert!(request.poll().is_ready());
        }
    }
    assert!(throttle.probability(slot, now) > 0.5);
}

fn post() -> Req {
    let mut request = get();
    *request.method_mut() = http::Method::POST;
    request
}
