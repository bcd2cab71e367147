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
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, request::Parts};
use http_body_util::{BodyExt, Full};
use tokio::time;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};
use tower::{Layer, ServiceExt, limit::ConcurrencyLimit, service_fn};
use tower_http_retry::{
    AttemptInfo, BoxError, OwnHeader, PreviousOutcome, RetryContext, RetryErrorKind, RetryLayer,
    budget::RetryBudget,
    classify::{Cause, FailureKind},
    policy::{Backoff, HintHeader, RetryPolicy, WaitReason},
    stack::{Admission, Admit, Answer, Ask, Ticket},
};
use tower_test::mock::{self, Spawn};

use test_support::probe::{
    Bookkeeper, MS, Req, Res, answer, assert_nothing_sent, every, get, is_ok, report, request,
    reset, sent, start,
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

#[tokio::test(start_paused = true)]
async fn a_hook_that_refuses_ends_the_request_unsent_and_gives_the_budget_back() {
    let policy = Bookkeeper::new(100 * MS, 9);
    let books = policy.books();
    let layer = RetryLayer::new(policy).before_retry(|_, info| {
        if info.number < 3 {
            Ok(())
        } else {
            Err("the account is closed")
        }
    });
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_error("reset");
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::Hook);
    assert_eq!(error.stop_reason().name(), "hook_failed");
    let hook = error.hook_error().expect("the hook's");
    assert_eq!(hook.to_string(), "the account is closed");
    assert!(
        error.to_string().contains("the account is closed"),
        "{error}"
    );
    // The failure that the retry was for is kept.
    let source = std::error::Error::source(&error).expect("the last attempt's");
    assert_eq!(source.to_string(), "reset");
    assert_eq!(error.report().attempt_count(), 2);
    assert_eq!((books.commits(), books.cancels()), (2, 1));
    assert_eq!(books.ends(), (0, 1));
    assert_nothing_sent(&mut handle);
}

#[tokio::test(start_paused = true)]
async fn a_hook_may_take_its_time_and_sees_what_the_server_said() {
    let layer = RetryLayer::new(every(100 * MS)).before_retry_async(
        |mut parts: Parts, context: RetryContext| async move {
            assert_eq!(context.attempt.number, 2);
            let headers = context.response_headers.expect("a response");
            time::sleep(300 * MS).await;
            parts.headers.insert("dpop", headers["dpop-nonce"].clone());
            Ok::<_, BoxError>(parts)
        },
    );
    let (mock, mut handle) = mock::pair::<Req, Res>();
    let limited = ConcurrencyLimit::new(mock, 1);
    let mut other = Spawn::new(limited.clone());
    let mut service = Spawn::new(layer.layer(limited));
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let mut failed = answer(503);
    failed
        .headers_mut()
        .insert("dpop-nonce", HeaderValue::from_static("n-7"));
    sent(&mut handle).1.send_response(failed);
    assert_pending!(future.poll());
    time::advance(100 * MS).await;
    assert_pending!(future.poll());
    // While it prepares, it holds no permit. (That of the service itself is not its own.)
    drop(service);
    assert_ready_ok!(other.poll_ready::<Req>());
    drop(other);
    time::advance(299 * MS).await;
    assert_pending!(future.poll());
    assert_nothing_sent(&mut handle);
    time::advance(MS).await;
    assert_pending!(future.poll());
    let (request, respond) = sent(&mut handle);
    assert_eq!(request.headers()["dpop"], "n-7");
    assert!(request.extensions().get::<AttemptInfo>().is_some());
    respond.send_response(answer(200));
    assert!(is_ok(&assert_ready_ok!(future.poll())));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_takes_too_long_or_fails_ends_the_request() {
    let hook = |parts: Parts, _: RetryContext| async move {
        time::sleep(1000 * MS).await;
        if parts.uri.path() == "/x" {
            return Err("no token");
        }
        Ok(parts)
    };
    for (deadline, kind) in [
        (800, RetryErrorKind::DeadlineExceeded),
        (5000, RetryErrorKind::Hook),
    ] {
        let layer = RetryLayer::new(every(100 * MS))
            .deadline(deadline * MS)
            .before_retry_async(hook);
        let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
        let mut future = start(&mut service, get());
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
        assert_pending!(future.poll());
        // The hook has until the deadline.
        time::advance((deadline - 100).min(1000) * MS).await;
        let error = assert_ready_err!(future.poll());
        assert_eq!(error.kind(), kind);
        assert_eq!(error.report().attempt_count(), 1);
        assert_nothing_sent(&mut handle);
    }
}

/// Writes down where requests go and what comes of them.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<Vec<String>>>);

impl Admission for Places {
    fn ticket(&self, uri: &Uri) -> Ticket {
        self.0.lock().expect("no panic").push(format!("to {uri}"));
        Ticket::default()
    }

    fn admit(&self, _: &mut Ticket, _: &Ask) -> Admit {
        Admit::Now
    }

    fn answered(&self, _: &mut Ticket, answer: &Answer) {
        let said = match answer.status {
            Some(status) => status.as_str().to_owned(),
            None => "dropped".to_owned(),
        };
        self.0.lock().expect("no panic").push(said);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_a_hook_sends_elsewhere_is_counted_and_reported_there() {
    let budget = RetryBudget::builder()
        .ratio(1.0)
        .min_per_second(0)
        .capacity(1)
        .build()
        .expect("valid");
    let policy = RetryPolicy::builder()
        .backoff(Backoff::constant(100 * MS))
        .budget(budget.clone())
        .build()
        .expect("valid");
    let places = Places::default();
    let layer = RetryLayer::new(policy)
        .admission(places.clone())
        .before_retry(|parts, _| parts.uri = Uri::from_static("http://b.test/y?secret"));
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    assert_pending!(future.poll());
    time::advance(100 * MS).await;
    assert_pending!(future.poll());
    let (request, respond) = sent(&mut handle);
    assert_eq!(request.uri().host(), Some("b.test"));
    respond.send_response(answer(200));
    let response = assert_ready_ok!(future.poll());
    let report = report(&response);
    let urls: Vec<_> = report
        .attempts
        .iter()
        .map(|attempt| attempt.url.as_deref())
        .collect();
    assert_eq!(urls, [None, Some("http://b.test/y")]);
    assert!(
        report.to_string().contains("sent to http://b.test/y"),
        "{report}"
    );
    // The failure counts against the one, the success for the other.
    let heard = places.0.lock().expect("no panic");
    let expected = [
        "to http://a.test/x",
        "503",
        "dropped",
        "to http://b.test/y?secret",
        "200",
    ];
    assert_eq!(*heard, expected);
    // The retry was paid for by the first, and what it earned is the other's.
    let now = time::Instant::now().into_std();
    let left = |uri| budget.balance(budget.slot(&Uri::from_static(uri)), now);
    assert_eq!(left("http://a.test/"), Some(0.0));
}
