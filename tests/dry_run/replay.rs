//! Reports that are judged anew: the same policy decides the same, another one says where not.
#![cfg(feature = "serde")]

use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http_retry::{
    BoxError, RetryLayer, RetryReport,
    body::Rewind,
    budget::{InFlightLimit, RetryBudget},
    classify::{Cause, Failure, NeverSent, Opinion, Outcome, Sent},
    dry_run::{Explain, ScriptedOutcome, Unknown, Verdict, WhatIf},
    mounts::Mounts,
    policy::{
        Backoff, Idempotent, Jitter, Limit, LimitKind, Policy, RequestHead, RetryAfterMode,
        RetryDisabled, RetryPolicy, RetryPolicyBuilder, StopReason, WaitReason,
    },
    shared_hints::SharedHints,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Sun, 06 Nov 1994 08:49:37 GMT.
const DATE: Duration = Duration::from_secs(784_111_777);

type Body = Full<Bytes>;
type Answer = Result<Response<Body>, BoxError>;

fn policy(change: impl FnOnce(RetryPolicyBuilder) -> RetryPolicyBuilder) -> RetryPolicy {
    change(RetryPolicy::builder())
        .build()
        .expect("a valid policy")
}

fn constant() -> RetryPolicy {
    policy(|p| p.backoff(Backoff::constant(SECOND)))
}

fn request(method: &str) -> Request<()> {
    let request = Request::builder().method(method).uri("http://a.test/x");
    request.body(()).expect("a valid request")
}

fn answer(status: u16, headers: &[(&'static str, &str)]) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(Body::default()).expect("a valid response"))
}

fn error(kind: io::ErrorKind) -> Answer {
    let error = io::Error::from(kind);
    Err(match kind {
        io::ErrorKind::ConnectionRefused => NeverSent::new(error).into(),
        _ => error.into(),
    })
}

fn reset() -> Answer {
    error(io::ErrorKind::ConnectionReset)
}

/// Sends a request to a server that answers with `answers`, and then not at all.
async fn send<P, R>(
    layer: &RetryLayer<P, R>,
    request: Request<Body>,
    answers: Vec<Answer>,
) -> RetryReport
where
    P: Policy + Clone,
    R: Rewind<Body, Body: Into<AnyBody>> + Clone,
{
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    let server = service_fn(move |_: Request<R::Body>| {
        let next = answers.lock().expect("not poisoned").next();
        async move {
            match next {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    });
    report(layer.layer(server).oneshot(request).await)
}

/// Any type of request body.
struct AnyBody;

impl<T> From<T> for AnyBody
where
    T: http_body::Body,
{
    fn from(_: T) -> Self {
        Self
    }
}

fn report(result: Result<Response<Body>, tower_http_retry::RetryError>) -> RetryReport {
    match result {
        Ok(response) => {
            let report = response.extensions().get::<RetryReport>();
            report.expect("it did not simply succeed").clone()
        }
        Err(error) => error.report().clone(),
    }
}

/// What was recorded, after it was written down and read again.
fn through_json(report: &RetryReport) -> RetryReport {
    let json = serde_json::to_string(report).expect("it can be written");
    serde_json::from_str(&json).expect("it can be read")
}

/// Replays a report under the policy that made it. Everything must be the same, random waits
/// included.
#[track_caller]
fn assert_same(report: &RetryReport, policy: &impl Policy) {
    let read = through_json(report);
    let replay = read.replay(policy);
    assert!(replay.is_same(), "{replay}\n{report}");
    assert_eq!(replay.unknown, [], "{report}");
    assert_eq!(replay.report, read, "{report}");
}

#[tokio::test(start_paused = true)]
async fn random_waits_are_the_recorded_ones() {
    for jitter in [
        Jitter::Full,
        Jitter::Equal,
        Jitter::Decorrelated,
        Jitter::Additive(SECOND),
    ] {
        let plenty = RetryBudget::builder()
            .capacity(1000)
            .build()
            .expect("valid");
        let policy = policy(|p| {
            p.total(6)
                .budget(plenty)
                .backoff(Backoff::exponential(SECOND).jitter(jitter))
        });
        let layer = RetryLayer::new(policy.clone());
        for _ in 0..10 {
            let answers = vec![
                answer(503, &[]),
                reset(),
                reset(),
                answer(502, &[]),
                answer(200, &[]),
            ];
            let report = send(&layer, request("GET").map(|()| Body::default()), answers).await;
            assert_eq!(report.attempt_count(), 5);
            assert_same(&report, &policy);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_server_asked_for_is_asked_again() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let hints: [&[(&str, &str)]; 16] = [
        &[("grpc-retry-pushback-ms", "300")],
        &[("grpc-retry-pushback-ms", "-1")],
        &[("x-should-retry", "false")],
        &[("ratelimit", "\"a\";r=0;t=7")],
        &[
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "784111790"),
        ],
        &[("ratelimit-reset", "9"), ("age", "2")],
        &[
            ("x-rate-limit-reset", "784111790"),
            ("x-rate-limit-remaining", "3"),
        ],
        &[("set-cookie", "a=b")],
        &[("retry-after", "7")],
        &[("retry-after-ms", "1500.25"), ("retry-after", "2")],
        &[("x-ms-retry-after-ms", "20")],
        &[("retry-after", date)],
        &[
            ("retry-after", date),
            ("date", "Sun, 06 Nov 1994 08:49:30 GMT"),
        ],
        &[("retry-after", "soon")],
        &[("retry-after", "0")],
        &[("retry-after", "99999999")],
    ];
    let urllib3 = RetryPolicy::urllib3_builder()
        .status_forcelist([500])
        .build();
    for policy in [
        RetryPolicy::default(),
        policy(|p| p.retry_after_max(5).retry_after_mode(RetryAfterMode::Clamp)),
        policy(|p| p.respect_retry_after_header(false)),
        urllib3.expect("a valid policy"),
    ] {
        // A clock with a fraction of a second, as clocks are.
        let layer = RetryLayer::new(policy.clone())
            .wall_clock(|| SystemTime::UNIX_EPOCH + DATE - Duration::from_nanos(2_345_678_912));
        for hint in hints {
            for status in [413, 429, 500, 503] {
                let answers = vec![answer(status, hint), answer(status, hint), answer(200, &[])];
                let get = request("GET").map(|()| Body::default());
                assert_same(&send(&layer, get, answers).await, &policy);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_stop_is_the_same_again() {
    let get = || request("GET").map(|()| Body::default());
    let post = || request("POST").map(|()| Body::default());
    let plain = RetryLayer::new(constant());
    let down = |n| -> Vec<Answer> { (0..n).map(|_| answer(503, &[])).collect() };

    let mut reports = Vec::new();
    let mut expect = |report: RetryReport, name: &str, policy: &RetryPolicy| {
        assert_eq!(report.stop.name(), name, "{report}");
        assert_same(&report, policy);
        reports.push(report);
    };
    let own = constant();
    expect(send(&plain, get(), down(4)).await, "count_exhausted", &own);
    expect(
        send(&plain, get(), vec![answer(404, &[])]).await,
        "status_not_listed",
        &own,
    );
    expect(
        send(&plain, post(), down(1)).await,
        "method_not_allowed",
        &own,
    );
    expect(
        send(&plain, post(), vec![reset()]).await,
        "method_not_allowed",
        &own,
    );

    // The last attempt is judged by the method of the first one.
    let once = policy(|p| p.total(1).unprocessed(0));
    let refused = error(io::ErrorKind::ConnectionRefused);
    let layer = RetryLayer::new(once.clone());
    let single = send(&layer, post(), vec![refused, reset()]).await;
    let method = http::Method::POST;
    assert_eq!(single.stop, StopReason::MethodNotAllowed { method });
    expect(single, "method_not_allowed", &once);

    // The layer's own reasons.
    let deadline = plain.clone().deadline(1500 * MS);
    expect(
        send(&deadline, get(), down(4)).await,
        "deadline_too_close",
        &own,
    );
    expect(
        send(&deadline, get(), down(1)).await,
        "deadline_exceeded",
        &own,
    );
    expect(
        send(&deadline, get(), Vec::new()).await,
        "deadline_exceeded",
        &own,
    );
    let timeout = plain.clone().attempt_timeout(300 * MS);
    expect(
        send(&timeout, get(), down(1)).await,
        "count_exhausted",
        &own,
    );
    let body = Request::builder()
        .uri("http://a.test/")
        .body(Body::from("too long"));
    let body = body.expect("a valid request");
    let replaying = plain.clone().replay_bodies(2);
    let reading = service_fn(|request: Request<_>| async {
        let _ = http_body_util::BodyExt::collect(request.into_body()).await;
        answer(503, &[])
    });
    let result = replaying.layer(reading).oneshot(body).await;
    expect(report(result), "body_not_replayable", &own);
    let limit = InFlightLimit::new(1).expect("a valid limit");
    let _place = limit.acquire().expect("free");
    let limited = plain.clone().max_retries_in_flight(limit);
    expect(
        send(&limited, get(), down(1)).await,
        "too_many_in_flight",
        &own,
    );

    let mut disabled = get();
    disabled.extensions_mut().insert(RetryDisabled);
    expect(send(&plain, disabled, down(1)).await, "disabled", &own);

    // A service that breaks down between two attempts.
    let result = plain.layer(Flaky { ready: 1 }).oneshot(get()).await;
    expect(report(result), "not_ready", &own);

    // Classifiers.
    let opinions = plain
        .clone()
        .classify(|outcome: &Outcome<'_>| match outcome {
            Outcome::Response { status, .. } if status.as_u16() == 404 => {
                Opinion::Retry("replication lags".into())
            }
            Outcome::Response { status, .. } if status.as_u16() == 500 => {
                Opinion::Forbid("a bug".into())
            }
            _ => Opinion::NoOpinion,
        });
    let answers = || vec![answer(404, &[]), answer(500, &[])];
    expect(send(&opinions, get(), answers()).await, "vetoed", &own);
    let urllib3 = RetryPolicy::urllib3();
    let strict = RetryLayer::new(urllib3.clone())
        .classify(|_: &Outcome<'_>| Opinion::Retry("everything is".into()));
    expect(
        send(&strict, post(), vec![answer(404, &[])]).await,
        "method_not_allowed",
        &urllib3,
    );

    // Budgets.
    let poor = RetryBudget::builder().min_per_second(0).capacity(1).build();
    let poor = policy(|p| p.budget(poor.expect("a valid budget")));
    let layer = RetryLayer::new(poor.clone());
    expect(
        send(&layer, get(), down(2)).await,
        "budget_exhausted",
        &poor,
    );
    expect(
        send(&layer, get(), down(1)).await,
        "budget_exhausted",
        &poor,
    );

    for report in reports {
        let never = policy(|p| p.total(0));
        assert!(report.replay(&never).report.retry_count() == 0, "{report}");
    }
}

/// Is ready so many times.
#[derive(Clone)]
struct Flaky {
    ready: u32,
}

impl Service<Request<Body>> for Flaky {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = std::future::Ready<Answer>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        if self.ready == 0 {
            return std::task::Poll::Ready(Err("out of order".into()));
        }
        self.ready -= 1;
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(answer(503, &[]))
    }
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_post_is_one_again() {
    let urllib3 = RetryPolicy::urllib3_builder()
        .status_forcelist([503])
        .build();
    for policy in [constant(), urllib3.expect("a valid policy")] {
        let mut marked = request("POST").map(|()| Body::default());
        marked.extensions_mut().insert(Idempotent);
        let answers = vec![answer(503, &[]), reset(), answer(200, &[])];
        let report = send(&RetryLayer::new(policy.clone()), marked, answers).await;
        assert_eq!(report.attempt_count(), 3, "{report}");
        assert_same(&report, &policy);
    }
    let keyed = RetryLayer::new(constant()).idempotency_keys_with(|| "key".into());
    for last in [422, 409, 200] {
        let post = request("POST").map(|()| Body::default());
        let answers = vec![
            answer(503, &[]),
            answer(409, &[]),
            answer(last, &[]),
            answer(200, &[]),
        ];
        assert_same(&send(&keyed, post, answers).await, &constant());
    }
}

#[tokio::test(start_paused = true)]
async fn a_url_without_a_mount_has_none_again() {
    let mounts = Mounts::new()
        .mount("https://a.test/", constant())
        .expect("a valid prefix");
    let layer = RetryLayer::new(mounts.clone());
    let get = || request("GET").map(|()| Body::default());
    let report = send(&layer, get(), vec![answer(503, &[])]).await;
    assert_eq!(report.stop.name(), "no_mount");
    assert_same(&report, &mounts);

    let fallback = mounts.fallback(constant());
    let layer = RetryLayer::new(fallback.clone());
    let report = send(&layer, get(), vec![answer(503, &[]), answer(200, &[])]).await;
    assert!(report.attempts[0].note.is_some());
    assert_same(&report, &fallback);
}

fn scripted(policy: &RetryPolicy, method: &str, script: &[ScriptedOutcome]) -> RetryReport {
    let request = request(method);
    let sequence = policy.explain_sequence(&RequestHead::of(&request), script);
    assert!(!sequence.goes_on());
    sequence.report().clone()
}

fn status(code: u16) -> ScriptedOutcome {
    StatusCode::from_u16(code).expect("a status").into()
}

fn only(replay: &WhatIf) -> (u32, &Verdict, &Verdict) {
    let [difference] = replay.differences.as_slice() else {
        panic!("one difference was expected: {replay}")
    };
    (
        difference.attempt,
        &difference.recorded,
        &difference.replayed,
    )
}

#[test]
fn a_stricter_policy_stops_earlier() {
    let report = scripted(&constant(), "GET", &[status(503), status(502), status(200)]);
    let once = policy(|p| p.total(1).backoff(Backoff::constant(SECOND)));
    let replay = report.replay(&once);
    let used_up = StopReason::CountExhausted {
        kind: LimitKind::Total,
        limit: 1,
    };
    let (attempt, recorded, replayed) = only(&replay);
    assert_eq!(attempt, 2);
    assert_eq!(
        recorded,
        &Verdict::Retry {
            min: SECOND,
            max: SECOND,
            why: WaitReason::Backoff,
            charged: Some(LimitKind::Status)
        }
    );
    assert_eq!(replayed, &Verdict::Stop(used_up.clone()));
    assert_eq!(replay.report.attempt_count(), 2);
    assert_eq!(replay.report.stop, used_up);
    assert_eq!(replay.report.elapsed, SECOND);
    assert_eq!(replay.unknown, []);
    assert_eq!(
        replay.to_string(),
        "GET http://a.test/x: 1 difference\n  attempt 2: recorded: wait 1 s, backoff; replayed: \
         stop, `total` is used up (1 retry)"
    );
}

#[test]
fn a_more_patient_policy_goes_on_into_the_unknown() {
    let report = scripted(&constant(), "GET", &[status(503), status(501)]);
    let patient = policy(|p| {
        p.status_forcelist([501, 503])
            .backoff(Backoff::constant(SECOND))
    });
    let replay = report.replay(&patient);
    let (attempt, recorded, replayed) = only(&replay);
    assert_eq!(attempt, 2);
    assert!(matches!(
        recorded,
        Verdict::Stop(StopReason::StatusNotListed { .. })
    ));
    assert!(matches!(replayed, Verdict::Retry { .. }));
    assert_eq!(replay.unknown, [Unknown::Outcome { attempt: 3 }]);
    assert!(
        replay
            .report
            .stop
            .to_string()
            .contains("nothing is recorded")
    );
    assert_eq!(
        replay.report.attempts[1]
            .wait
            .as_ref()
            .expect("a wait")
            .planned,
        SECOND
    );
    assert!(
        replay
            .to_string()
            .ends_with("unknown: how attempt 3 would have ended")
    );
}

#[test]
fn other_waits_are_a_difference_too() {
    let report = scripted(&constant(), "GET", &[status(503), status(503), status(200)]);
    let longer = policy(|p| p.backoff(Backoff::linear(SECOND)));
    let replay = report.replay(&longer);
    let (attempt, _, replayed) = only(&replay);
    assert_eq!(attempt, 2);
    assert!(matches!(replayed, Verdict::Retry { min, .. } if *min == 2 * SECOND));
    assert_eq!(replay.unknown, [Unknown::Timing { after: 2 }]);
    assert_eq!(replay.report.attempt_count(), 3);
    // What could be drawn is no difference.
    let random = policy(|p| p.backoff(Backoff::constant(3 * SECOND).jitter(Jitter::Full)));
    assert!(report.replay(&random).is_same());
}

#[test]
fn a_hint_that_was_ignored_is_heard_by_another_policy() {
    let deaf = policy(|p| {
        p.respect_retry_after_header(false)
            .backoff(Backoff::constant(SECOND))
    });
    let hinted = status(503).retry_after(7 * SECOND);
    let report = scripted(&deaf, "GET", &[hinted, status(200)]);
    assert!(report.replay(&deaf).is_same());
    let replay = report.replay(&constant());
    let (_, _, replayed) = only(&replay);
    assert_eq!(replayed.to_string(), "wait 7 s to 7.7 s, retry-after");
}

#[test]
fn an_early_deadline_does_not_hide_another_reason() {
    let report = scripted(&constant(), "GET", &[status(404)]);
    let replay = report.replay(&policy(|p| p.allowed_methods(["PUT"])));
    assert!(replay.is_same(), "the status comes first: {replay}");
    let report = scripted(
        &policy(|p| p.connect(Limit::Never)),
        "GET",
        &[Failure::new(Cause::ConnectionRefused, Sent::Never).into()],
    );
    let replay = report.replay(&policy(|p| p.total(0)));
    let (attempt, recorded, replayed) = only(&replay);
    assert_eq!(attempt, 1);
    assert_ne!(recorded, replayed);
    assert_eq!(replay.report.attempt_count(), 1);
}

#[test]
fn what_the_record_cannot_tell_is_said() {
    let any = policy(|p| {
        p.allowed_methods(["POST"])
            .backoff(Backoff::constant(SECOND))
    });
    let report = scripted(&any, "POST", &[status(503), status(200)]);
    let replay = report.replay(&constant());
    assert_eq!(replay.unknown, [Unknown::Idempotency]);
    assert!(!replay.is_same());
    // Here it mattered and is known.
    let report = scripted(&constant(), "POST", &[status(503)]);
    assert_eq!(report.replay(&constant()).unknown, []);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_other_requests_paid_for_is_one_without_the_budget() {
    let budget = RetryBudget::builder()
        .min_per_second(0)
        .capacity(1)
        .ratio(1.0);
    let budget = budget.build().expect("a valid budget");
    let policy = policy(|p| p.backoff(Backoff::constant(SECOND)).budget(budget.clone()));
    let layer = RetryLayer::new(policy.clone());
    let answers = [503, 503, 200].map(|status| answer(status, &[]));
    let request = request("GET").map(|()| Body::default());
    let slot = budget.slot(request.uri());
    let others = async {
        tokio::time::sleep(500 * MS).await;
        budget.deposit(slot);
    };
    let (report, ()) = tokio::join!(send(&layer, request, answers.into()), others);
    assert!(report.stop.is_success(), "{report}");

    let replay = report.replay(&policy);
    let (attempt, recorded, replayed) = only(&replay);
    assert_eq!(attempt, 2);
    assert!(matches!(recorded, Verdict::Retry { .. }));
    assert!(
        matches!(replayed, Verdict::Stop(StopReason::BudgetExhausted(_))),
        "{replayed:?}"
    );
    let without = policy.to_builder().budget(None).build();
    assert!(report.replay(&without.expect("valid")).is_same());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_a_hint_for_another_request_made_is_longer_than_the_replayed_wait() {
    let policy = constant();
    let layer = RetryLayer::new(policy.clone())
        .admission(SharedHints::default())
        .deadline(9 * SECOND);
    let service = layer.layer(service_fn(async |request: Request<Body>| {
        if request.method() == "POST" {
            return answer(503, &[("retry-after", "10")]);
        }
        tokio::time::sleep(2 * SECOND).await;
        answer(503, &[])
    }));
    let send = |method| {
        let request = request(method).map(|()| Body::default());
        service.clone().oneshot(request)
    };
    // While the second attempt is on its way.
    let other = async {
        tokio::time::sleep(4 * SECOND).await;
        send("POST").await
    };
    let (one, other) = tokio::join!(send("GET"), other);
    assert_eq!(report(other).attempt_count(), 1);
    let report = report(one);

    let replay = report.replay(&policy);
    let (attempt, recorded, replayed) = only(&replay);
    assert_eq!(attempt, 2);
    let quickest = report.attempts.iter().map(|attempt| attempt.took).min();
    match (recorded, replayed) {
        (
            Verdict::Stop(StopReason::DeadlineTooClose { needed, .. }),
            Verdict::Retry { max, .. },
        ) => assert!(*needed > *max + quickest.expect("two attempts")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_budget_that_was_used_up_is_so_only_for_policies_with_one() {
    let budget = RetryBudget::builder().min_per_second(0).capacity(1).build();
    let poor = policy(|p| {
        p.budget(budget.expect("a valid budget"))
            .backoff(Backoff::constant(SECOND))
    });
    let report = scripted(&poor, "GET", &[status(503), status(503)]);
    assert_eq!(report.stop.name(), "budget_exhausted");
    assert!(report.replay(&poor).is_same());
    assert!(
        report.replay(&constant()).is_same(),
        "its budget, too, might be empty"
    );
    let free = constant()
        .to_builder()
        .budget(None)
        .build()
        .expect("a valid policy");
    let replay = report.replay(&free);
    assert_eq!(only(&replay).0, 2);
    assert_eq!(replay.unknown, [Unknown::Outcome { attempt: 3 }]);
}

#[test]
fn a_deadline_is_kept_by_another_policy() {
    let layer = RetryLayer::new(policy(|p| p.backoff(Backoff::constant(5 * SECOND))));
    let layer = layer.deadline(3 * SECOND);
    let get = request("GET");
    let sequence = layer.explain_sequence(&RequestHead::of(&get), &[status(503).took(SECOND)]);
    let report = sequence.report();
    assert!(matches!(report.stop, StopReason::DeadlineTooClose { .. }));
    // There was time for a wait of half a second, and not for one of a second.
    let wait = |wait| policy(|p| p.backoff(Backoff::constant(wait)));
    assert_eq!(only(&report.replay(&wait(500 * MS))).0, 1);
    assert!(report.replay(&wait(SECOND)).is_same());
}

#[test]
fn a_report_from_anywhere_is_no_danger() {
    let empty = serde_json::json!({
        "method": "GET", "url": "", "attempts": [], "stop": "succeeded", "elapsed": 0.0,
    });
    let mut report: RetryReport = serde_json::from_value(empty).expect("a report");
    let replay = report.replay(&RetryPolicy::default());
    assert!(replay.is_same() && replay.report == report);

    let attempt = serde_json::json!({
        "number": 4_294_967_295_u32, "started": 1e18, "took": 1e18,
        "outcome": {"response": 503},
        "hint": {
            "at": {"secs_since_epoch": 0, "nanos_since_epoch": 0},
            "headers": [["no name", "x"], ["retry-after", "a\nb"], ["retry-after", "7"]],
        },
    });
    report.url = "://not a url".into();
    report.attempts = vec![
        serde_json::from_value(attempt.clone()).expect("an attempt"),
        serde_json::from_value(attempt).expect("an attempt"),
    ];
    let replay = report.replay(&RetryPolicy::default());
    assert_eq!(replay.unknown, [Unknown::Outcome { attempt: u32::MAX }]);
}

#[test]
fn a_replay_goes_through_json() {
    let report = scripted(&constant(), "GET", &[status(503), status(503), status(200)]);
    for other in [
        policy(|p| p.total(1)),
        policy(|p| p.backoff(Backoff::linear(SECOND))),
    ] {
        let replay = report.replay(&other);
        let json = serde_json::to_string(&replay).expect("it can be written");
        let read: WhatIf = serde_json::from_str(&json).expect("it can be read");
        assert_eq!(read, replay);
    }
}

fn outcomes() -> impl Strategy<Value = Vec<(u16, Option<u16>)>> {
    // 0 is a connection that breaks, 1 one that is refused.
    let outcome = prop_oneof![
        Just(0),
        Just(1),
        prop_oneof![
            Just(408),
            Just(409),
            Just(413),
            Just(422),
            Just(429),
            Just(500),
            Just(503)
        ]
    ];
    let hint = proptest::option::weighted(0.3, prop_oneof![Just(0), 1u16..90, Just(60_000)]);
    proptest::collection::vec((outcome, hint), 1..7)
}

fn answers(outcomes: &[(u16, Option<u16>)]) -> Vec<Answer> {
    let answers = outcomes.iter().map(|(code, hint)| match (code, hint) {
        (0, _) => reset(),
        (1, _) => error(io::ErrorKind::ConnectionRefused),
        (code, None) => answer(*code, &[]),
        (code, Some(hint)) => answer(*code, &[("retry-after", &hint.to_string())]),
    });
    answers.chain((0..9).map(|_| answer(200, &[]))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever happens to a request, its report leads to the same decisions again.
    #[test]
    fn the_same_policy_decides_the_same(
        outcomes in outcomes(),
        urllib3: bool,
        post: bool,
        marked: bool,
        clamp: bool,
        total in 0i64..6,
        read in prop_oneof![Just(Limit::Unlimited), Just(Limit::Never), (0i64..3).prop_map(Limit::AtMost)],
        deadline in proptest::option::of(1u64..120),
    ) {
        let builder = if urllib3 {
            RetryPolicy::urllib3_builder().backoff_factor(0.3).backoff_jitter(0.7)
        } else {
            RetryPolicy::builder()
        };
        let mode = if clamp { RetryAfterMode::Clamp } else { RetryAfterMode::GiveUp };
        let builder = builder.total(total).read(read).retry_after_mode(mode);
        let policy = builder.status_forcelist([429, 503]).build().expect("a valid policy");
        let mut layer = RetryLayer::new(policy.clone());
        if let Some(deadline) = deadline {
            layer = layer.deadline(Duration::from_secs(deadline));
        }
        let mut request = request(if post { "POST" } else { "GET" }).map(|()| Body::default());
        if marked {
            request.extensions_mut().insert(Idempotent);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let answers = answers(&outcomes);
        let report = runtime.block_on(send(&layer, request, answers));
        let read = through_json(&report);
        let replay = read.replay(&policy);
        prop_assert!(replay.is_same(), "{}\n{}", replay, report);
        prop_assert_eq!(replay.report, read);
    }
}

#[test]
fn headers_can_be_anything() {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_bytes(b"\xff\xfe").expect("a header value");
    headers.insert("retry-after", value.clone());
    let strange = ScriptedOutcome::response(StatusCode::SERVICE_UNAVAILABLE)
        .header(http::header::RETRY_AFTER, value);
    let report = scripted(&constant(), "GET", &[strange, status(200)]);
    assert_same(&report, &constant());
}

#[test]
fn a_listed_redirect_is_one_again() {
    let redirect = |code| {
        let location = HeaderValue::from_static("/elsewhere?secret");
        ScriptedOutcome::response(StatusCode::from_u16(code).expect("a status"))
            .header(http::header::LOCATION, location)
    };
    let urllib3 = RetryPolicy::urllib3_builder()
        .status_forcelist([302])
        .redirect(2);
    for policy in [
        policy(|p| p.status_forcelist([302]).redirect(2)),
        urllib3.build().expect("a valid policy"),
    ] {
        let script = [redirect(302), redirect(302), redirect(302)];
        let report = scripted(&policy, "GET", &script);
        assert_eq!(report.attempt_count(), 3, "{report}");
        assert_same(&report, &policy);
        assert!(!format!("{report:?}").contains("secret"));
        // One without a place to go to is a status.
        let report = scripted(&policy, "GET", &[status(302), redirect(302), status(200)]);
        let charged = |at: usize| report.attempts[at].wait.as_ref().and_then(|w| w.charged);
        assert_eq!(charged(0), Some(LimitKind::Status), "{report}");
        assert_eq!(charged(1), Some(LimitKind::Redirect), "{report}");
        assert_same(&report, &policy);
    }
}

#[test]
fn a_hint_among_many_headers_is_kept() {
    for (name, value) in [
        ("retry-after", "3"),
        ("x-should-retry", "false"),
        ("ratelimit", "\"a\";r=0;t=3"),
        ("x-ratelimit-reset", "3"),
    ] {
        let mut limited = ScriptedOutcome::response(StatusCode::TOO_MANY_REQUESTS);
        for at in 0..40 {
            let other = format!("x-ratelimit-limit-{at}").parse();
            limited = limited.header(other.expect("a name"), HeaderValue::from_static("5"));
        }
        let name = http::HeaderName::from_static(name);
        let limited = limited.header(name, HeaderValue::from_static(value));
        let report = scripted(&constant(), "GET", &[limited, status(200)]);
        assert_same(&report, &constant());
        let hint = report.attempts[0].hint.as_ref().expect("a hint");
        assert_eq!(hint.headers.len(), 16);
    }
}

#[test]
fn the_longest_waits_can_be_read_again() {
    let most = "99999999999999999999";
    let policy = constant();
    let outcome = ScriptedOutcome::response(StatusCode::SERVICE_UNAVAILABLE)
        .header(http::header::RETRY_AFTER, HeaderValue::from_static(most));
    let report = scripted(&policy, "GET", std::slice::from_ref(&outcome));
    assert_eq!(report.stop.name(), "retry_after_too_long");
    let read = through_json(&report);
    assert!(read.replay(&policy).is_same(), "{read}");
    match read.stop {
        StopReason::RetryAfterTooLong { asked, .. } => assert_eq!(asked, Duration::MAX),
        stop => panic!("{stop}"),
    }

    let patient = self::policy(|p| p.retry_after_max(f64::INFINITY).retry_after_jitter(0.0));
    let report = scripted(&patient, "GET", &[outcome, status(200)]);
    assert!(through_json(&report).replay(&patient).is_same(), "{report}");
    let json = serde_json::to_string(&report).expect("it can be written");
    let longer = json.replace("1.8446744073709552e+19", "1.8446744073709556e+19");
    assert_ne!(longer, json);
    let error = serde_json::from_str::<RetryReport>(&longer).expect_err("too long");
    assert!(error.to_string().contains("is not a number of seconds"));
}
