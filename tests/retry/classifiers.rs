//! Classifiers: they add to what the policy takes for transient, or forbid a retry; the other
//! gates still have their say.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode};
use tokio::time;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};
use tower_http_retry::{
    RetryErrorKind, RetryLayer,
    classify::{Cause, Classify, Exchange, Opinion, Outcome},
    policy::{Backoff, Gate, LimitKind, Note, RetryPolicy, StopReason, WaitReason},
};
use tower_test::mock;

use test_support::probe::{
    MS, Req, Res, Step, Tracked, answer, assert_nothing_sent, every, get, is_ok, report, request,
    reset, sent, start, with_body,
};
use test_support::trip::Trip;

/// Has an opinion of one status, under a name.
struct OfStatus(&'static str, u16, Opinion);

impl Classify for OfStatus {
    fn name(&self) -> &str {
        self.0
    }

    fn classify(&self, outcome: &Outcome<'_>) -> Opinion {
        match outcome {
            Outcome::Response { status, .. } if status.as_u16() == self.1 => self.2.clone(),
            _ => Opinion::NoOpinion,
        }
    }
}

fn retry(because: &'static str) -> Opinion {
    Opinion::Retry(because.into())
}

fn forbid(because: &'static str) -> Opinion {
    Opinion::Forbid(because.into())
}

fn vetoed(by: &'static str, because: &'static str) -> StopReason {
    StopReason::Vetoed {
        by: by.into(),
        because: because.into(),
    }
}

fn policies() -> [RetryPolicy; 2] {
    let urllib3 = RetryPolicy::urllib3_builder()
        .total(3)
        .status_forcelist([503])
        .backoff(Backoff::constant(100 * MS))
        .raise_on_status(false);
    [every(100 * MS), urllib3.build().expect("valid")]
}

#[tokio::test(start_paused = true)]
async fn an_opinion_to_retry_makes_an_unlisted_status_transient_and_is_told() {
    for policy in policies() {
        // Also a status that says success.
        for status in [409, 202, 304] {
            let classifier = OfStatus("rows", status, retry("the row is locked"));
            let layer = RetryLayer::new(policy.clone()).classify(classifier);
            let mut trip = Trip::start(layer);
            for _ in 0..3 {
                trip.fail(status).waits(100 * MS).await;
            }
            let response = trip.end(200).expect("a response");
            assert!(is_ok(&response));
            for attempt in &report(&response).attempts[..3] {
                let note = Note::Reclassified {
                    by: "rows".into(),
                    because: "the row is locked".into(),
                };
                assert_eq!(attempt.note.as_deref(), Some(&note));
                assert_eq!(
                    attempt.wait.as_ref().expect("a wait").charged,
                    Some(LimitKind::Status)
                );
            }
            let text = report(&response).to_string();
            assert!(
                text.contains("note: rows says retry: the row is locked"),
                "{text}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_opinion_to_forbid_stops_a_listed_status_at_any_attempt_and_is_told() {
    for policy in policies() {
        for failures in 0..3 {
            let classifier = OfStatus("quota", 503, forbid("used up for today"));
            let layer = RetryLayer::new(policy.clone())
                .classify(classifier)
                .classify(OfStatus("any", 500, retry("try again")));
            let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
            let mut future = start(&mut service, get());
            for _ in 0..failures {
                assert_pending!(future.poll());
                sent(&mut handle).1.send_response(answer(500));
                assert_pending!(future.poll());
                time::advance(100 * MS).await;
            }
            assert_pending!(future.poll());
            let body = Tracked::new([Step::Data(b"a")]);
            let watch = body.watch();
            sent(&mut handle).1.send_response(with_body(503, body));
            let response = assert_ready_ok!(future.poll());
            let report = report(&response);
            assert_eq!(report.stop, vetoed("quota", "used up for today"));
            assert_eq!(report.attempt_count(), failures + 1);
            let last = report.attempts.last().expect("some");
            assert_eq!(last.gates.get(Gate::Classifiers), Some(false));
            assert_eq!(watch.polls(), 0);
            let text = report.to_string();
            assert!(
                text.ends_with("quota forbids it: used up for today"),
                "{text}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_success_is_handed_out_with_a_report() {
    for policy in policies() {
        let layer = RetryLayer::new(policy).classify(OfStatus("odd", 200, forbid("a trap")));
        let mut trip = Trip::start(layer);
        let response = trip.end(200).expect("a response");
        assert!(is_ok(&response));
        assert_eq!(report(&response).stop, vetoed("odd", "a trap"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_classifier_with_an_opinion_wins() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = |opinion: Opinion| {
        let asked = Arc::clone(&asked);
        move |_: &Outcome<'_>| {
            asked.fetch_add(1, Relaxed);
            opinion.clone()
        }
    };
    for (first, second, stop, questions) in [
        (Opinion::NoOpinion, Opinion::NoOpinion, "count_exhausted", 8),
        (Opinion::NoOpinion, forbid("no"), "vetoed", 2),
        (forbid("no"), retry("yes"), "vetoed", 1),
        (retry("yes"), forbid("no"), "count_exhausted", 4),
    ] {
        asked.store(0, Relaxed);
        let layer = RetryLayer::new(every(Duration::ZERO))
            .classify(count(first))
            .classify(count(second));
        let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
        let mut future = start(&mut service, get());
        let response = loop {
            if let std::task::Poll::Ready(response) = future.poll() {
                break response.expect("a response");
            }
            sent(&mut handle).1.send_response(answer(503));
        };
        assert_eq!(report(&response).stop.name(), stop);
        assert_eq!(asked.load(Relaxed), questions);
    }
}

#[tokio::test(start_paused = true)]
async fn the_method_still_has_its_say() {
    for policy in policies() {
        let classifier = OfStatus("rows", 409, retry("the row is locked"));
        let layer = RetryLayer::new(policy).classify(classifier);
        let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
        let mut future = start(&mut service, request("POST"));
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(409));
        let response = assert_ready_ok!(future.poll());
        let method = Method::POST;
        assert_eq!(
            report(&response).stop,
            StopReason::MethodNotAllowed { method }
        );
        assert_nothing_sent(&mut handle);
    }
}

#[tokio::test(start_paused = true)]
async fn counts_and_the_deadline_still_have_their_say() {
    let layer = || {
        let classifier = OfStatus("rows", 409, retry("the row is locked"));
        RetryLayer::new(every(100 * MS)).classify(classifier)
    };
    for (layer, attempts, stop) in [
        (layer(), 4, "count_exhausted"),
        (layer().deadline(250 * MS), 3, "deadline_too_close"),
    ] {
        let mut trip = Trip::start(layer);
        for _ in 1..attempts {
            trip.fail(409).waits(100 * MS).await;
        }
        let response = trip.end(409).expect("a response");
        assert_eq!(report(&response).stop.name(), stop);
        assert_eq!(response.status(), StatusCode::CONFLICT);
    }
}

#[tokio::test(start_paused = true)]
async fn errors_are_judged_with_their_cause_and_in_their_own_type() {
    let classifier = |outcome: &Outcome<'_>| match outcome {
        Outcome::Error {
            failure,
            error: Some(error),
        } if failure.cause == Cause::ConnectionReset => {
            let error = error.downcast_ref::<io::Error>();
            assert_eq!(error.expect("it").kind(), io::ErrorKind::ConnectionReset);
            Opinion::Forbid("the peer means it".into())
        }
        _ => Opinion::NoOpinion,
    };
    let layer = RetryLayer::new(every(Duration::ZERO)).classify(classifier);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        assert_pending!(future.poll());
        let error = io::Error::from(io::ErrorKind::BrokenPipe);
        sent(&mut handle).1.send_error(error);
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_error(reset());
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::Failed);
    // The name of a closure is its kind.
    assert_eq!(
        *error.stop_reason(),
        vetoed("classifier", "the peer means it")
    );
    assert_eq!(error.report().attempt_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_is_judged_as_well() {
    let classifier = |outcome: &Outcome<'_>| match outcome {
        Outcome::Error {
            failure,
            error: None,
        } if failure.cause == Cause::AttemptTimeout => Opinion::Forbid("slow means dead".into()),
        _ => Opinion::NoOpinion,
    };
    let layer = RetryLayer::new(every(Duration::ZERO))
        .attempt_timeout(10 * MS)
        .classify(classifier);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for _ in 0..2 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
    }
    assert_pending!(future.poll());
    let _unanswered = sent(&mut handle);
    time::advance(10 * MS).await;
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::AttemptTimeout);
    assert_eq!(
        *error.stop_reason(),
        vetoed("classifier", "slow means dead")
    );
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_retried_where_a_classifier_knows_better() {
    let permanent = || -> tower_http_retry::BoxError {
        Box::new(http::Error::from(
            http::Uri::try_from("").expect_err("empty"),
        ))
    };

    let (mut service, mut handle) =
        mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(Duration::ZERO)));
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_error(permanent());
    let error = assert_ready_err!(future.poll());
    let cause = Cause::InvalidUri;
    assert_eq!(*error.stop_reason(), StopReason::NotTransient { cause });

    let layer =
        RetryLayer::new(every(Duration::ZERO)).classify(|outcome: &Outcome<'_>| match outcome {
            Outcome::Error { failure, .. } if failure.cause == Cause::InvalidUri => {
                Opinion::Retry("it will be mended".into())
            }
            _ => Opinion::NoOpinion,
        });
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, get());
    for _ in 0..3 {
        assert_pending!(future.poll());
        sent(&mut handle).1.send_error(permanent());
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(report(&response).attempt_count(), 4);
}

fn post(name: &'static str, value: &'static str) -> Req {
    let mut request = request("POST");
    request
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    request
}

#[tokio::test(start_paused = true)]
async fn what_a_classifier_knows_to_be_unprocessed_is_sent_again_for_every_method() {
    // Once: the second answer is taken for what it is.
    let layer =
        RetryLayer::new(every(100 * MS)).classify_exchange(
            |exchange: &Exchange<'_>| match exchange.outcome() {
                Outcome::Response { status, .. }
                    if status.as_u16() == 401 && exchange.number() == 1 =>
                {
                    Opinion::Unprocessed("the token is old".into())
                }
                _ => Opinion::NoOpinion,
            },
        );
    let mut trip = Trip::start_with(layer, request("POST"));
    trip.fail(401).waits(100 * MS).await;
    let response = trip.end(401).expect("a response");
    let report = report(&response);
    assert_eq!(report.attempt_count(), 2);
    assert_eq!(report.stop.name(), "status_not_listed");
    let because = "the token is old".into();
    let by = "classifier".into();
    let note = Note::Unprocessed { by, because };
    assert_eq!(report.attempts[0].note.as_deref(), Some(&note));
    assert_eq!(report.attempts[0].gates.get(Gate::Method), Some(true));
    assert!(report.replay(&every(100 * MS)).is_same(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_status_that_says_unprocessed_lifts_the_method_where_the_policy_lists_it() {
    let with_421 = || {
        let policy = RetryPolicy::builder().status_forcelist([421, 425, 503]);
        policy
            .backoff(Backoff::constant(100 * MS))
            .build()
            .expect("valid")
    };
    for (policy, status, attempts) in [
        (every(100 * MS), 425, 2),
        (every(100 * MS), 421, 1),
        (with_421(), 421, 2),
        (with_421(), 503, 1),
    ] {
        let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(policy));
        let mut future = start(&mut service, request("POST"));
        let mut count = 0;
        let ended = loop {
            if let std::task::Poll::Ready(result) = future.poll() {
                break result.expect("a response");
            }
            let status = if count == 0 { status } else { 200 };
            sent(&mut handle).1.send_response(answer(status));
            count += 1;
            let polled = future.poll();
            if let std::task::Poll::Ready(result) = polled {
                break result.expect("a response");
            }
            time::advance(100 * MS).await;
        };
        assert_eq!(count, attempts, "{status}");
        assert_eq!(is_ok(&ended), attempts == 2);
    }
}

/// S1: 'refused unprocessed', and 'once', said of a status by the policy.
#[tokio::test(start_paused = true)]
async fn a_policy_says_which_statuses_mean_unprocessed_and_which_are_answered_once() {
    let policy = RetryPolicy::builder()
        .status_forcelist([401, 408, 417, 425, 429, 503])
        .unprocessed_statuses([401, 417, 425, 429])
        .once_statuses([401, 425])
        .backoff(Backoff::none())
        .budget(None);
    let policy = policy.build().expect("valid");
    // What is answered, how often the request is sent, why it stops, and how often the server can
    // have applied it.
    let table: [(&str, &[u16], usize, &str, u32); 10] = [
        ("POST", &[401, 200], 2, "succeeded", 1),
        ("POST", &[401, 401], 2, "status_count_exhausted", 0),
        ("GET", &[401, 401], 2, "status_count_exhausted", 0),
        ("POST", &[425, 401, 200], 3, "succeeded", 1),
        ("POST", &[425, 401, 425], 3, "status_count_exhausted", 0),
        ("POST", &[417, 417, 417, 417], 4, "count_exhausted", 0),
        ("POST", &[429, 200], 2, "succeeded", 1),
        // Only what is in both lists.
        ("POST", &[408], 1, "method_not_allowed", 1),
        ("GET", &[408, 503, 200], 3, "succeeded", 3),
        ("POST", &[421], 1, "status_not_listed", 0),
    ];
    for (method, statuses, times, stop, effects) in table {
        let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(policy.clone()));
        let mut future = start(&mut service, request(method));
        let mut served = 0;
        let response = loop {
            if let std::task::Poll::Ready(result) = future.poll() {
                break result.expect("a response");
            }
            sent(&mut handle).1.send_response(answer(statuses[served]));
            served += 1;
        };
        let report = report(&response);
        let found = (served, report.stop.name(), *report.effects().end());
        assert_eq!(
            found,
            (times, stop, effects),
            "{method} {statuses:?}\n{report}"
        );
        assert!(report.replay(&policy).is_same(), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_may_say_when() {
    let layer = RetryLayer::new(every(100 * MS)).classify(|outcome: &Outcome<'_>| match outcome {
        Outcome::Response { status, headers } if status.as_u16() == 200 => {
            let left = headers.get("x-busy-for").map(|_| 7 * 1000 * MS);
            left.map_or(Opinion::NoOpinion, |left| {
                Opinion::RetryIn("busy".into(), left)
            })
        }
        _ => Opinion::NoOpinion,
    });
    let (mut service, mut handle) = mock::spawn_layer(layer);
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let mut busy = answer(200);
    busy.headers_mut()
        .insert("x-busy-for", HeaderValue::from_static("7"));
    sent(&mut handle).1.send_response(busy);
    assert_pending!(future.poll());
    time::advance(6999 * MS).await;
    assert_pending!(future.poll());
    time::advance(MS).await;
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    let response = assert_ready_ok!(future.poll());
    let report = report(&response);
    let wait = report.attempts[0].wait.as_ref().expect("a wait");
    let by = "classifier".into();
    assert_eq!(wait.why, WaitReason::Opinion { by });
    assert!(report.replay(&every(100 * MS)).is_same(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_classifier_sees_the_request() {
    type Seen = (String, Option<String>, Option<String>, Option<u8>, u32);
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let heard = Arc::clone(&seen);
    let layer =
        RetryLayer::new(every(100 * MS)).classify_exchange(move |exchange: &Exchange<'_>| {
            let header = exchange
                .headers()
                .and_then(|headers| headers.get("x-tenant"));
            heard.lock().expect("no panic").push((
                exchange.method().to_string(),
                exchange.uri().map(ToString::to_string),
                header.map(|value| value.to_str().expect("text").to_owned()),
                exchange.extensions().and_then(|all| all.get().copied()),
                exchange.number(),
            ));
            Opinion::NoOpinion
        });
    let (mut service, mut handle) = mock::spawn_layer(layer);
    // Small ones are packed, large ones are cloned.
    for path in ["/x", &"/long".repeat(4000)] {
        let mut get = post("x-tenant", "blue");
        *get.method_mut() = http::Method::GET;
        *get.uri_mut() = format!("http://a.test{path}").parse().expect("valid");
        get.extensions_mut().insert(7_u8);
        let mut future = start(&mut service, get);
        for status in [503, 200] {
            assert_pending!(future.poll());
            sent(&mut handle).1.send_response(answer(status));
            let _ = future.poll();
            time::advance(100 * MS).await;
        }
        let uri = Some(format!("http://a.test{path}"));
        let expected = |number| {
            let tenant = Some("blue".to_owned());
            ("GET".to_owned(), uri.clone(), tenant, Some(7), number)
        };
        let seen = std::mem::take(&mut *seen.lock().expect("no panic"));
        assert_eq!(seen, [expected(1), expected(2)]);
    }
}
