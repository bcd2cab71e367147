//! What a retry may change and what it carries: the hook before it, the attempt's number, the
//! wall clock.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use tokio::time;
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Layer, ServiceExt, service_fn};
use tower_http_retry::{
    AttemptInfo, OwnHeader, PreviousOutcome, RetryLayer,
    classify::{Cause, FailureKind},
    policy::{Backoff, HintHeader, RetryPolicy, WaitReason},
};
use tower_test::mock;

use test_support::probe::{
    MS, Req, Res, answer, assert_nothing_sent, every, get, is_ok, report, request, reset, sent,
    start,
};

#[tokio::test(start_paused = true)]
async fn the_hook_changes_each_retry_and_not_the_first_attempt_nor_the_next_retry() {
    let tokens = AtomicU32::new(1);
    let layer = RetryLayer::new(every(100 * MS)).before_retry(move |parts, info| {
        // Each retry starts from the request as it was.
        assert_eq!(parts.headers["authorization"], "token-0");
        assert!(!parts.headers.contains_key("x-retry"));
        let token = format!("token-{}", tokens.fetch_add(1, Relaxed));
        let token = HeaderValue::try_from(token).expect("valid");
        parts.headers.insert("authorization", token);
        parts.headers.insert("x-retry", info.number.into());
        parts.uri = Uri::from_static("http://b.test/y");
    });
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut first = get();
    let token = HeaderValue::from_static("token-0");
    first.headers_mut().insert("authorization", token);
    let mut future = start(&mut service, first);
    for n in 0..4 {
        assert_pending!(future.poll());
        let (request, respond) = sent(&mut handle);
        assert_eq!(request.headers()["authorization"], format!("token-{n}"));
        let number = request.headers().get("x-retry");
        if n == 0 {
            assert_eq!(number, None);
            assert_eq!(request.uri(), "http://a.test/x");
        } else {
            assert_eq!(number, Some(&HeaderValue::from(n + 1)));
            assert_eq!(request.uri(), "http://b.test/y");
        }
        respond.send_response(answer(if n < 3 { 503 } else { 200 }));
        if n < 3 {
            assert_pending!(future.poll());
            time::advance(100 * MS).await;
        }
    }
    assert!(is_ok(&assert_ready_ok!(future.poll())));
}

#[tokio::test(start_paused = true)]
async fn the_hook_is_called_after_the_wait_and_once_for_each_retry() {
    let calls = Arc::new(AtomicU32::new(0));
    let layer = RetryLayer::new(every(100 * MS)).before_retry({
        let calls = Arc::clone(&calls);
        move |_, _| {
            calls.fetch_add(1, Relaxed);
        }
    });
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for n in 0..3 {
        assert_pending!(future.poll());
        assert_eq!(calls.load(Relaxed), n);
        let (_, respond) = sent(&mut handle);
        handle.allow(0);
        respond.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
        assert_pending!(future.poll());
        // A token that is made while the service is not ready would be old when it is.
        assert_eq!(calls.load(Relaxed), n);
        handle.allow(1);
    }
    assert_pending!(future.poll());
    assert_eq!(calls.load(Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn every_retry_carries_its_number_and_what_came_before_and_the_time_left() {
    let layer = RetryLayer::new(every(100 * MS)).deadline(1000 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let (request, respond) = sent(&mut handle);
    assert_eq!(request.extensions().get::<AttemptInfo>(), None);
    time::advance(10 * MS).await;
    respond.send_response(answer(503));
    assert_pending!(future.poll());
    time::advance(100 * MS).await;

    assert_pending!(future.poll());
    let (request, respond) = sent(&mut handle);
    let info = request.extensions().get::<AttemptInfo>().expect("one");
    assert_eq!(info.number, 2);
    let before = PreviousOutcome::Response(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(info.previous, before);
    assert_eq!(info.elapsed, 110 * MS);
    assert_eq!(info.left, Some(890 * MS));
    respond.send_error(reset());
    assert_pending!(future.poll());
    time::advance(100 * MS).await;

    assert_pending!(future.poll());
    let (request, respond) = sent(&mut handle);
    let info = request.extensions().get::<AttemptInfo>().expect("one");
    assert_eq!(info.number, 3);
    let PreviousOutcome::Failed(failure) = info.previous else {
        panic!("{info:?}");
    };
    assert_eq!(
        (failure.kind, failure.cause),
        (FailureKind::Read, Cause::ConnectionReset)
    );
    assert_eq!(info.left, Some(790 * MS));
    respond.send_response(answer(200));
    assert_ready_ok!(future.poll());
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_there_is_no_time_left_to_tell() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(Duration::ZERO)));
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    for number in 2..=4 {
        assert_pending!(future.poll());
        let (request, respond) = sent(&mut handle);
        let info = request.extensions().get::<AttemptInfo>().expect("one");
        assert_eq!((info.number, info.left), (number, None));
        respond.send_response(answer(503));
    }
    assert_ready_ok!(future.poll());
}

#[tokio::test(start_paused = true)]
async fn the_attempt_header_counts_the_attempts_before() {
    let header = OwnHeader::try_from("grpc-previous-rpc-attempts").expect("nobody else's");
    let layer = RetryLayer::new(every(Duration::ZERO)).attempt_header(header.clone());
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    let mut values = Vec::new();
    while future.poll().is_pending() {
        let (request, respond) = sent(&mut handle);
        values.push(request.headers().get(header.as_str()).cloned());
        respond.send_response(answer(503));
    }
    let expected = [None, Some(1), Some(2), Some(3)];
    assert_eq!(values, expected.map(|n| n.map(HeaderValue::from)));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_the_same_request() {
    #[derive(Clone, Debug, PartialEq)]
    struct Mark(u32);

    let (mut service, mut handle) =
        mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(Duration::ZERO)));
    let mut first = Request::builder()
        .method("PUT")
        .uri("https://joe:pw@a.test:8443/p?q=1")
        .version(Version::HTTP_2)
        .header("x-many", "one")
        .header("x-many", "two")
        .header("cookie", "a=b")
        .header(
            "x-bytes",
            HeaderValue::from_bytes(b"\xff\xfe").expect("valid"),
        )
        .extension(Mark(7))
        .body(Full::new(Bytes::from_static(b"payload")))
        .expect("valid");
    let mut secret = HeaderValue::from_static("secret");
    secret.set_sensitive(true);
    first.headers_mut().insert("authorization", secret);
    let (head, _) = first.clone().into_parts();
    let mut future = start(&mut service, first);
    for _ in 0..4 {
        assert_pending!(future.poll());
        let (request, respond) = sent(&mut handle);
        assert_eq!(request.method(), Method::PUT);
        assert_eq!(*request.uri(), head.uri);
        assert_eq!(request.version(), head.version);
        assert_eq!(*request.headers(), head.headers);
        let many: Vec<_> = request.headers().get_all("x-many").iter().collect();
        assert_eq!(many, ["one", "two"]);
        assert!(request.headers()["authorization"].is_sensitive());
        assert_eq!(request.extensions().get(), Some(&Mark(7)));
        let body = request.into_body().collect().await.expect("whole");
        assert_eq!(body.to_bytes(), "payload");
        respond.send_error(reset());
    }
    assert!(tokio_test::assert_ready!(future.poll()).is_err());
}

#[tokio::test(start_paused = true)]
async fn dates_are_compared_with_the_layers_wall_clock() {
    // A second later than the date's in each attempt.
    let now = Arc::new(Mutex::new(httpdate("Sun, 06 Nov 1994 08:49:27 GMT")));
    let layer = RetryLayer::new(every(100 * MS)).wall_clock({
        let now = Arc::clone(&now);
        move || {
            let mut now = now.lock().expect("no panic");
            *now += Duration::from_secs(1);
            *now
        }
    });
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for seconds in [9, 8, 7] {
        assert_pending!(future.poll());
        let mut later = answer(503);
        let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        later.headers_mut().insert("retry-after", date);
        sent(&mut handle).1.send_response(later);
        assert_pending!(future.poll());
        time::advance(seconds * 1000 * MS - MS).await;
        assert_pending!(future.poll());
        assert_nothing_sent(&mut handle);
        time::advance(MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    let response = assert_ready_ok!(future.poll());
    for attempt in &report(&response).attempts[..3] {
        let why = &attempt.wait.as_ref().expect("a wait").why;
        assert_eq!(*why, WaitReason::ServerHint(HintHeader::RetryAfter));
    }
}

fn httpdate(date: &str) -> SystemTime {
    let hint = tower_http_retry::policy::parse_retry_after(date.as_bytes(), SystemTime::UNIX_EPOCH);
    SystemTime::UNIX_EPOCH + hint.expect("a date")
}

/// Two layers, each with two attempts, over a service that fails `failures` times.
async fn nested(failures: u32) -> Result<Res, tower_http_retry::RetryError> {
    let two = || {
        let policy = RetryPolicy::builder().total(1).backoff(Backoff::none());
        RetryLayer::new(policy.build().expect("valid"))
    };
    let calls = Arc::new(AtomicU32::new(0));
    let service = service_fn(move |_: Req| {
        let failed = calls.fetch_add(1, Relaxed) < failures;
        async move {
            let status = if failed { 503 } else { 200 };
            Ok::<_, std::convert::Infallible>(answer(status))
        }
    });
    two()
        .layer(two().layer(service))
        .oneshot(request("GET"))
        .await
}

#[tokio::test]
async fn nested_layers_multiply_and_say_so() {
    // The inner layer recovers: the outer one sees a success.
    let response = nested(1).await.expect("a response");
    assert_eq!(report(&response).attempt_count(), 2);
    assert_eq!(report(&response).outer_attempt, None);

    // The inner one fails twice, and again succeeds for the outer one's retry.
    let response = nested(3).await.expect("a response");
    let outer = report(&response);
    let inner: Vec<_> = outer
        .attempts
        .iter()
        .map(|attempt| attempt.inner_attempts)
        .collect();
    assert_eq!(inner, [Some(2), Some(2)]);

    // Two times two attempts fail.
    let response = nested(4).await.expect("a response");
    let outer = report(&response);
    assert_eq!(outer.attempt_count(), 2);
    assert_eq!(outer.attempts[0].inner_attempts, Some(2));
    assert_eq!(outer.stop.name(), "count_exhausted");
    let text = outer.to_string();
    assert!(
        text.contains("a retry layer further in made 2 attempts of it"),
        "{text}"
    );
}
