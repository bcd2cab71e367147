//! Whatever is a policy works in a layer, also behind a pointer.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::time;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};
use tower_http_retry::{
    AttemptOutcome, RetryErrorKind, RetryLayer,
    classify::Outcome,
    policy::{
        Attempt, Backoff, Decision, DynPolicy, Eligibility, Gate, LimitKind, Policy, RequestHead,
        RetryDecision, RetryPolicy, Session, SharedPolicy, StopDecision, StopReason, policy_fn,
    },
};
use tower_test::mock;

use test_support::probe::{
    MS, Req, Res, answer, assert_nothing_sent, every, get, is_ok, report, request, reset, sent,
    start,
};
use test_support::trip::Trip;

/// Three failures and a success under `policy`, which waits 100 ms before each retry.
async fn retries_three_times<P: Policy + Clone>(policy: P) {
    let mut trip = Trip::start(RetryLayer::new(policy));
    for _ in 0..3 {
        trip.fail(503).waits(100 * MS).await;
    }
    let response = trip.end(200).expect("a response");
    assert!(is_ok(&response));
    assert_eq!(report(&response).attempt_count(), 4);
}

fn closure() -> impl Policy<Session: Send> + Clone + Send + Sync {
    policy_fn(|attempt: &Attempt<'_>| {
        if attempt.number() <= 3 {
            Decision::Retry(RetryDecision::after(100 * MS))
        } else {
            Decision::Stop(StopDecision::because(StopReason::Custom("enough".into())))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_policy_works_by_value_by_reference_and_shared() {
    let policy = every(100 * MS);
    retries_three_times(policy.clone()).await;
    retries_three_times(&policy).await;
    retries_three_times(&&policy).await;
    retries_three_times(Arc::new(policy.clone())).await;
    retries_three_times(&Arc::new(policy)).await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_works_behind_a_trait_object() {
    let boxed: Box<dyn DynPolicy> = Box::new(every(100 * MS));
    retries_three_times(&boxed).await;
    retries_three_times(&*boxed).await;
    retries_three_times(boxed).await;
    let boxed: Box<dyn DynPolicy> = Box::new(closure());
    retries_three_times(boxed.clone()).await;
    let shared: Arc<dyn DynPolicy> = Arc::from(boxed);
    retries_three_times(Arc::clone(&shared)).await;
    retries_three_times(shared).await;
    retries_three_times(SharedPolicy::new(every(100 * MS))).await;
    retries_three_times(SharedPolicy::new(closure())).await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_borrows_works_and_so_does_its_trait_object() {
    let wait = 100 * MS;
    let policy = policy_fn(|attempt: &Attempt<'_>| {
        let _ = attempt;
        Decision::Retry(RetryDecision::after(wait))
    });
    retries_three_times(policy).await;

    let policy = every(wait);
    let by_reference: Box<dyn DynPolicy + '_> = Box::new(&policy);
    retries_three_times(by_reference).await;
}

#[tokio::test(start_paused = true)]
async fn the_kind_of_a_policy_can_be_chosen_at_run_time() {
    for is_closure in [false, true] {
        let policy: Box<dyn DynPolicy> = if is_closure {
            Box::new(closure())
        } else {
            Box::new(every(100 * MS))
        };
        retries_three_times(policy).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_boxed_policy_keeps_the_memories_of_its_requests_apart() {
    let boxed: Box<dyn DynPolicy> = Box::new(every(100 * MS));
    let layer = RetryLayer::new(boxed);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    // Four requests at once, each of which is retried three times.
    let mut futures: Vec<_> = (0..4).map(|_| start(&mut service, get())).collect();
    let mut ended = 0;
    for _ in 0..4 {
        for future in &mut futures {
            assert_pending!(future.poll());
            sent(&mut handle).1.send_response(answer(503));
        }
        for future in &mut futures {
            if let std::task::Poll::Ready(response) = future.poll() {
                let response = response.expect("a response");
                assert_eq!(report(&response).attempt_count(), 4);
                ended += 1;
            }
        }
        time::advance(100 * MS).await;
    }
    assert_eq!(ended, 4);
    assert_nothing_sent(&mut handle);
}

#[tokio::test(start_paused = true)]
async fn a_closure_sees_every_attempt_as_it_was() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let policy = policy_fn({
        let seen = Arc::clone(&seen);
        move |attempt: &Attempt<'_>| {
            let outcome = match attempt.outcome() {
                Outcome::Response { status, .. } => status.to_string(),
                Outcome::Error { failure, error } => {
                    let is_io = error.is_some_and(|error| error.is::<io::Error>());
                    format!("{} {is_io}", failure.cause)
                }
                _ => unreachable!(),
            };
            seen.lock().expect("no panic").push((
                attempt.number(),
                attempt.method().clone(),
                attempt.elapsed(),
                outcome,
            ));
            Decision::Retry(RetryDecision::after(100 * MS))
        }
    });
    let layer = RetryLayer::new(policy).attempt_timeout(20 * MS);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, request("POST"));
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(418));
    assert_pending!(future.poll());
    time::advance(100 * MS).await;
    assert_pending!(future.poll());
    sent(&mut handle).1.send_error(reset());
    assert_pending!(future.poll());
    time::advance(100 * MS).await;
    assert_pending!(future.poll());
    let unanswered = sent(&mut handle);
    time::advance(20 * MS).await;
    assert_pending!(future.poll());
    drop(unanswered);
    time::advance(100 * MS).await;
    assert_pending!(future.poll());
    // A success is not asked about.
    sent(&mut handle).1.send_response(answer(204));
    assert_ready_ok!(future.poll());

    let attempt =
        |number, elapsed, outcome: &str| (number, Method::POST, elapsed * MS, outcome.to_owned());
    assert_eq!(
        *seen.lock().expect("no panic"),
        [
            attempt(1, 0, "418 I'm a teapot"),
            attempt(2, 100, "connection reset true"),
            attempt(3, 220, "attempt timed out false"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_closure_is_told() {
    let mut trip = Trip::start(RetryLayer::new(closure()));
    for _ in 0..3 {
        trip.fail(reset()).waits(100 * MS).await;
    }
    let error = trip.end(reset()).expect_err("an error");
    assert_eq!(*error.stop_reason(), StopReason::Custom("enough".into()));
    let charged = error.report().attempts[0]
        .wait
        .as_ref()
        .expect("a wait")
        .charged;
    assert_eq!(charged, Some(LimitKind::Total));
}

#[tokio::test(start_paused = true)]
async fn a_closure_may_accept_a_failure_status_but_not_an_error() {
    let accept = || policy_fn(|_: &Attempt<'_>| Decision::Accept);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(accept()));
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(503));
    let response = assert_ready_ok!(future.poll());
    assert!(response.extensions().is_empty(), "it was no failure");

    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_error(reset());
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::Failed);
    assert_eq!(error.stop_reason().name(), "not_transient");
}

/// A policy that counts what it is asked.
#[derive(Clone, Default)]
struct Asked(Arc<[AtomicU32; 3]>);

impl Asked {
    /// How often it was asked for the eligibility, whether a response is final, and for a decision.
    fn read(&self) -> [u32; 3] {
        std::array::from_fn(|n| self.0[n].load(Relaxed))
    }
}

impl Policy for Asked {
    type Session = AskedSession;

    fn session(&self, request: &RequestHead<'_>) -> AskedSession {
        AskedSession {
            asked: self.clone(),
            never: request.uri().path() == "/never",
        }
    }
}

struct AskedSession {
    asked: Asked,
    never: bool,
}

impl Session for AskedSession {
    fn eligibility(&self) -> Eligibility {
        self.asked.0[0].fetch_add(1, Relaxed);
        if self.never {
            Eligibility::Never(StopReason::Custom("never".into()))
        } else {
            Eligibility::Eligible
        }
    }

    fn is_final(&self, status: StatusCode, _: &HeaderMap) -> bool {
        self.asked.0[1].fetch_add(1, Relaxed);
        status != StatusCode::ACCEPTED
    }

    fn decide(&mut self, _: &Attempt<'_>) -> Decision {
        self.asked.0[2].fetch_add(1, Relaxed);
        Decision::Retry(RetryDecision::after(Duration::ZERO))
    }
}

#[tokio::test]
async fn a_success_asks_a_session_two_questions_and_no_decision() {
    let policy = Asked::default();
    let layer = RetryLayer::new(policy.clone());
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    for n in 1..=3 {
        let mut future = start(&mut service, get());
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(200));
        assert_ready_ok!(future.poll());
        assert_eq!(policy.read(), [n, n, 0]);
    }
}

#[tokio::test]
async fn a_session_says_which_responses_are_failures() {
    let policy = Asked::default();
    let layer = RetryLayer::new(policy.clone());
    let mut trip = Trip::start(layer);
    for _ in 0..3 {
        trip.fail(202);
    }
    let response = trip.end(500).expect("a response");
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(report(&response).stop, StopReason::Succeeded);
    let outcomes = report(&response)
        .attempts
        .iter()
        .map(|attempt| &attempt.outcome);
    let accepted = AttemptOutcome::Response(StatusCode::ACCEPTED);
    assert!(outcomes.take(3).all(|outcome| *outcome == accepted));
    assert_eq!(policy.read()[2], 3);
}

#[tokio::test]
async fn a_request_that_can_never_be_retried_is_held_to_that() {
    let policy = Asked::default();
    let layer = RetryLayer::new(policy.clone());
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    for _ in 0..3 {
        let mut request = get();
        *request.uri_mut() = http::Uri::from_static("http://a.test/never");
        let mut future = start(&mut service, request);
        assert_pending!(future.poll());
        // The session wants a retry all the same.
        sent(&mut handle).1.send_response(answer(202));
        let response = assert_ready_ok!(future.poll());
        assert_eq!(report(&response).stop, StopReason::Custom("never".into()));
        assert_nothing_sent(&mut handle);
    }
}

#[tokio::test(start_paused = true)]
async fn the_urllib3_preset_retries_at_once_the_first_time_and_raises_in_the_end() {
    let policy = RetryPolicy::urllib3_builder()
        .total(3)
        .status_forcelist([503])
        .backoff(Backoff::urllib3(0.1))
        .build()
        .expect("valid");
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(RetryLayer::new(policy));
    let mut future = start(&mut service, get());
    for wait in [0, 200, 400] {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        assert_pending!(future.poll());
        if wait > 0 {
            time::advance((wait - 1) * MS).await;
            assert_pending!(future.poll());
            assert_nothing_sent(&mut handle);
            time::advance(MS).await;
            assert_pending!(future.poll());
        }
    }
    sent(&mut handle).1.send_response(answer(503));
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::Status);
    assert_eq!(error.report().waited(), 600 * MS);
}

/// urllib3's `bool(self.total and …)`: such a response is returned, and `total` is why.
#[tokio::test(start_paused = true)]
async fn the_urllib3_preset_names_total_when_a_retry_after_finds_it_used_up() {
    let policy = RetryPolicy::urllib3_builder()
        .total(1)
        .raise_on_status(true);
    let layer = RetryLayer::new(policy.build().expect("valid"));
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    let mut asked_to_wait = || {
        let mut response = answer(429);
        response
            .headers_mut()
            .insert("retry-after", HeaderValue::from_static("1"));
        sent(&mut handle).1.send_response(response);
    };
    assert_pending!(future.poll());
    asked_to_wait();
    assert_pending!(future.poll());
    time::advance(1001 * MS).await;
    assert_pending!(future.poll());
    asked_to_wait();
    let response = assert_ready_ok!(future.poll());
    assert_eq!(response.status(), 429);
    let report = report(&response);
    let kind = LimitKind::Total;
    assert_eq!(report.stop, StopReason::CountExhausted { kind, limit: 1 });
    let last = &report.attempts[1].gates;
    assert_eq!(last.get(Gate::Transient), Some(true));
    assert_eq!(last.failed().collect::<Vec<_>>(), [Gate::Total]);
}

#[test]
fn the_urllib3_preset_hands_on_a_retry_after_that_finds_total_used_up() {
    let policy = RetryPolicy::urllib3_builder().total(0);
    let policy = policy.build().expect("valid");
    for method in [Method::GET, Method::POST] {
        let request = http::Request::builder()
            .method(&method)
            .uri("http://a.test/");
        let request = request.body(()).expect("a request");
        let mut session = policy.session(&RequestHead::of(&request));
        let headers = [("retry-after", "1")].map(|(name, value)| {
            let value = HeaderValue::from_static(value);
            (HeaderName::from_static(name), value)
        });
        let headers = HeaderMap::from_iter(headers);
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let headers = &headers;
        let outcome = Outcome::Response { status, headers };
        let Decision::Stop(stop) = session.decide(&Attempt::new(1, &method, outcome)) else {
            panic!("nothing is left to retry with");
        };
        // As in urllib3, the method is asked about first.
        let expected = match method {
            Method::GET => StopReason::CountExhausted {
                kind: LimitKind::Total,
                limit: 0,
            },
            method => StopReason::MethodNotAllowed { method },
        };
        assert_eq!(stop.reason, expected);
        // Others are to wait in any case.
        assert_eq!(stop.asked, Some(1000 * MS));
        assert!(!stop.raise);
    }
}
