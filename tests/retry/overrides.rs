//! What one request brings along: a policy, a mark, a key, a deadline of its own.

use std::time::Duration;

use http::{Extensions, HeaderName, HeaderValue, Method};
use tokio::time;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower_http_retry::{
    RequestDeadline, RetryErrorKind, RetryLayer,
    policy::{
        Attempt, Backoff, Decision, Gate, Idempotent, Limit, LimitKind, Methods, RetryDecision,
        RetryDisabled, RetryPolicy, SharedPolicy, StopDecision, StopReason, policy_fn,
    },
};
use tower_test::mock::{self, Handle, Spawn};

use test_support::probe::{
    MS, Req, Res, answer, assert_nothing_sent, every, get, report, request, reset, sent, start,
};
use test_support::trip::Trip;

fn at_once(total: u32) -> RetryPolicy {
    RetryPolicy::builder()
        .total(total)
        .backoff(Backoff::none())
        .budget(None)
        .build()
        .expect("valid")
}

fn with_extension<T>(mut request: Req, extension: T) -> Req
where
    T: Clone + Send + Sync + 'static,
{
    request.extensions_mut().insert(extension);
    request
}

fn with_header(mut request: Req, name: &'static str, value: &'static str) -> Req {
    let (name, value) = (
        HeaderName::from_static(name),
        HeaderValue::from_static(value),
    );
    request.headers_mut().insert(name, value);
    request
}

/// Sends `request` to a service that always answers 503, without letting time pass; says how
/// many attempts were made and why they ended.
fn all_503<S>(
    service: &mut Spawn<S>,
    handle: &mut Handle<Req, Res>,
    request: Req,
) -> (usize, StopReason)
where
    S: tower::Service<Req, Response = Res, Error = tower_http_retry::RetryError>,
{
    let mut future = start(service, request);
    for _ in 0..20 {
        if let std::task::Poll::Ready(result) = future.poll() {
            let response = result.expect("a response");
            let report = report(&response);
            return (report.attempt_count(), report.stop.clone());
        }
        sent(handle).1.send_response(answer(503));
    }
    panic!("it does not end");
}

fn exhausted(limit: i64) -> StopReason {
    let kind = LimitKind::Total;
    StopReason::CountExhausted { kind, limit }
}

#[test]
fn a_policy_of_the_requests_own_takes_the_place_of_the_layers() {
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(at_once(3)));
    let mut send = |request| all_503(&mut service, &mut handle, request);
    let patient = with_extension(get(), at_once(5));
    assert_eq!(send(patient), (6, exhausted(5)));
    let never = RetryPolicy::builder().total(Limit::Never).build();
    let stop = StopReason::KindDisabled {
        kind: LimitKind::Total,
    };
    assert_eq!(
        send(with_extension(get(), never.expect("valid"))),
        (1, stop)
    );
    let any = at_once(2).to_builder().allowed_methods(Methods::any());
    let post = with_extension(request("POST"), any.build().expect("valid"));
    assert_eq!(send(post), (3, exhausted(2)));
    // The next request is none of these.
    assert_eq!(send(get()), (4, exhausted(3)));
}

#[test]
fn a_layer_that_never_retries_does_so_for_a_request_that_asks_for_it() {
    let never = RetryPolicy::builder().total(0).build().expect("valid");
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(never));
    let mut send = |request| all_503(&mut service, &mut handle, request);
    assert_eq!(send(get()), (1, exhausted(0)));
    assert_eq!(send(with_extension(get(), at_once(3))), (4, exhausted(3)));
}

#[test]
fn a_policy_of_any_type_comes_along_as_a_shared_policy() {
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(at_once(3)));
    let mut send = |request| all_503(&mut service, &mut handle, request);
    let enough = StopReason::Custom("five are enough".into());
    let reason = enough.clone();
    let five = SharedPolicy::new(policy_fn(move |attempt: &Attempt<'_>| {
        if attempt.number() < 5 {
            Decision::Retry(RetryDecision::after(Duration::ZERO))
        } else {
            Decision::Stop(StopDecision::because(reason.clone()))
        }
    }));
    // Its own rule, whatever the method.
    let post = with_extension(request("POST"), five);
    assert_eq!(send(post), (5, enough));

    let shared = SharedPolicy::new(at_once(4));
    let post = with_extension(request("POST"), shared.clone());
    let method = Method::POST;
    assert_eq!(send(post), (1, StopReason::MethodNotAllowed { method }));
    let both = with_extension(with_extension(get(), shared), at_once(2));
    assert_eq!(send(both), (3, exhausted(2)), "the plain policy goes first");
}

#[test]
fn a_request_that_is_marked_is_never_sent_a_second_time() {
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(at_once(3)));
    let mut send = |request| all_503(&mut service, &mut handle, request);
    let marked = || with_extension(get(), RetryDisabled);
    assert_eq!(send(marked()), (1, StopReason::Disabled));
    // Whatever else it brings along.
    let marked = with_extension(marked(), at_once(5));
    let marked = with_extension(marked, SharedPolicy::new(at_once(5)));
    let marked = with_extension(marked, Idempotent);
    assert_eq!(send(marked), (1, StopReason::Disabled));
    assert_eq!(send(get()), (4, exhausted(3)));
}

#[test]
fn an_error_of_a_request_that_is_marked_says_that_it_is_disabled() {
    let mut trip = Trip::start_with(
        RetryLayer::new(at_once(3)),
        with_extension(get(), RetryDisabled),
    );
    let error = trip.end(reset()).expect_err("an error");
    assert_eq!(error.kind(), RetryErrorKind::Failed);
    assert_eq!(*error.stop_reason(), StopReason::Disabled);
    assert!(error.downcast_inner::<std::io::Error>().is_some());
}

#[test]
fn an_idempotency_key_makes_a_post_repeatable_by_default_and_not_for_urllib3() {
    let urllib3 = RetryPolicy::urllib3_builder()
        .total(3)
        .status_forcelist([503])
        .raise_on_status(false)
        .build()
        .expect("valid");
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(at_once(3)));
    let mut default = |request| all_503(&mut service, &mut handle, request);
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(urllib3));
    let mut urllib3 = |request| all_503(&mut service, &mut handle, request);

    for name in ["POST", "PATCH"] {
        let method: Method = name.parse().expect("valid");
        let refused = (1, StopReason::MethodNotAllowed { method });
        assert_eq!(default(request(name)), refused);
        assert_eq!(urllib3(request(name)), refused);
        let keyed = || with_header(request(name), "idempotency-key", "\"8e03978e\"");
        assert_eq!(default(keyed()), (4, exhausted(3)));
        assert_eq!(urllib3(keyed()), refused);
        let marked = || with_extension(request(name), Idempotent);
        assert_eq!(default(marked()), (4, exhausted(3)));
        assert_eq!(urllib3(marked()), (4, exhausted(3)));
    }
    assert_eq!(urllib3(get()), (4, exhausted(3)));
}

#[test]
fn a_key_and_a_mark_hold_for_errors_as_well_and_are_told() {
    for request in [
        with_header(request("POST"), "idempotency-key", "\"8e03978e\""),
        with_extension(request("POST"), Idempotent),
    ] {
        let mut trip = Trip::start_with(RetryLayer::new(at_once(3)), request);
        for _ in 0..3 {
            trip.fail(reset());
        }
        let response = trip.end(201).expect("a response");
        for attempt in &report(&response).attempts[..3] {
            assert_eq!(attempt.gates.get(Gate::Idempotency), Some(true));
            assert_eq!(attempt.gates.get(Gate::Method), Some(true));
        }
    }
}

#[test]
fn every_attempt_brings_along_what_the_request_did() {
    #[derive(Clone, Debug, PartialEq)]
    struct Mine(&'static str);

    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(at_once(0)));
    let mut request = with_extension(get(), at_once(3));
    request.extensions_mut().insert(Mine("mine"));
    let mut future = start(&mut service, request);
    for _ in 0..4 {
        assert_pending!(future.poll());
        let (request, respond) = sent(&mut handle);
        let extensions: &Extensions = request.extensions();
        assert_eq!(extensions.get(), Some(&Mine("mine")));
        assert_eq!(extensions.get(), Some(&at_once(3)));
        respond.send_response(answer(503));
    }
    assert_ready_ok!(future.poll());
}

#[test]
fn a_key_is_made_for_requests_that_need_one_and_stays_the_same() {
    let keys = std::sync::atomic::AtomicU32::new(0);
    let layer = RetryLayer::new(at_once(3)).idempotency_keys_with(move || {
        let key = keys.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("key-{key}")
    });
    let (mut service, mut handle) = mock::spawn_layer(layer);
    let mut keys_of = |request| {
        let mut keys = Vec::new();
        let mut future = start(&mut service, request);
        while future.poll().is_pending() {
            let (request, respond) = sent(&mut handle);
            let key = request.headers().get("idempotency-key");
            keys.push(key.map(|key| key.to_str().expect("text").to_owned()));
            respond.send_response(answer(503));
        }
        keys
    };
    let four = |key: &str| vec![Some(key.to_owned()); 4];
    assert_eq!(keys_of(request("POST")), four("\"key-0\""));
    assert_eq!(keys_of(request("PATCH")), four("\"key-1\""));
    assert_eq!(keys_of(get()), [None, None, None, None]);
    let own = with_header(request("POST"), "idempotency-key", "\"own\"");
    assert_eq!(keys_of(own), four("\"own\""));
    assert_eq!(keys_of(request("POST")), four("\"key-2\""));
}

/// Answers 503 every 100 ms, until the request ends.
async fn until_it_ends<F>(mut future: task::Spawn<F>, handle: &mut Handle<Req, Res>) -> StopReason
where
    F: Future<Output = Result<Res, tower_http_retry::RetryError>>,
{
    loop {
        if let std::task::Poll::Ready(result) = future.poll() {
            return report(&result.expect("a response")).stop.clone();
        }
        if let std::task::Poll::Ready(Some((_, respond))) = handle.poll_request() {
            respond.send_response(answer(503));
        } else {
            time::advance(MS).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_the_requests_own_takes_the_place_of_the_layers() {
    let too_close = |left| StopReason::DeadlineTooClose {
        left: left * MS,
        needed: 100 * MS,
    };
    // The requests before the last one take a second together.
    for (deadline, stop) in [
        (None, too_close(50)),
        (Some(RequestDeadline::after(320 * MS)), exhausted(3)),
        (Some(RequestDeadline::after(230 * MS)), too_close(30)),
        (Some(RequestDeadline::after(Duration::MAX)), exhausted(3)),
        (
            Some(RequestDeadline::at(time::Instant::now() + 1260 * MS)),
            too_close(60),
        ),
    ] {
        let layer = RetryLayer::new(every(100 * MS)).deadline(250 * MS);
        let (mut service, mut handle) = mock::spawn_layer(layer);
        let mut request = get();
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(deadline);
        }
        let future = start(&mut service, request);
        assert_eq!(
            until_it_ends(future, &mut handle).await,
            stop,
            "{deadline:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_the_requests_own_needs_none_of_the_layers() {
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(every(100 * MS)));
    let deadline = time::Instant::now() + 250 * MS;
    let request = with_extension(get(), RequestDeadline::at(deadline));
    // The time that passed before the request counts.
    time::advance(40 * MS).await;
    let mut future = start(&mut service, request);
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    assert_pending!(future.poll());
    time::advance(100 * MS).await;
    assert_pending!(future.poll());
    let _unanswered = sent(&mut handle);
    time::advance(110 * MS).await;
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    let deadline = 210 * MS;
    assert_eq!(
        *error.stop_reason(),
        StopReason::DeadlineExceeded { deadline }
    );
    assert_eq!(error.report().attempt_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_before_the_request_lets_nothing_through() {
    let deadline = time::Instant::now();
    time::advance(MS).await;
    let (mut service, mut handle) =
        mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(100 * MS)));
    let late = with_extension(get(), RequestDeadline::at(deadline));
    let mut future = start(&mut service, late);
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    assert_eq!(error.report().attempt_count(), 0);
    assert_nothing_sent(&mut handle);
}
