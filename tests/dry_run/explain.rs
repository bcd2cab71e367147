//! Dry runs: what they say, and that requests which are really sent do the same.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{HeaderName, RETRY_AFTER},
};
use http_body_util::Full;
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};
use tower_http_retry::{
    AttemptOutcome, BoxError, RequestDeadline, RetryLayer, RetryReport,
    budget::RetryBudget,
    classify::{Cause, Failure, NeverSent, Opinion, Outcome, Sent},
    dry_run::{Case, Explain, Explanation, Scenario, Schedule, ScriptedOutcome, Sequence},
    mounts::Mounts,
    policy::{
        Attempt, Backoff, Decision, DynPolicy, Gate, Idempotent, Jitter, Limit, LimitKind, Methods,
        Note, Policy, RequestHead, RetryAfterMode, RetryDecision, RetryDisabled, RetryPolicy,
        RetryPolicyBuilder, Session, SharedPolicy, StopDecision, StopReason, WaitReason, policy_fn,
    },
};

#[cfg(feature = "reload")]
use tower_http_retry::policy::Reloadable;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn policy(change: impl FnOnce(RetryPolicyBuilder) -> RetryPolicyBuilder) -> RetryPolicy {
    change(RetryPolicy::builder())
        .build()
        .expect("a valid policy")
}

/// A budget that has enough for all requests of a test.
fn plenty() -> RetryBudget {
    RetryBudget::builder()
        .min_per_second(100)
        .capacity(1000)
        .build()
        .expect("valid")
}

fn request(method: &str) -> Request<()> {
    let request = Request::builder()
        .method(method)
        .uri("http://u:p@a.test/x?key=1");
    request.body(()).expect("a valid request")
}

fn explain(policy: &(impl Policy + ?Sized), method: &str) -> Explanation {
    Explain::explain(policy, &RequestHead::of(&request(method)))
}

fn sequence(policy: &(impl Policy + ?Sized), method: &str, script: &[ScriptedOutcome]) -> Sequence {
    policy.explain_sequence(&RequestHead::of(&request(method)), script)
}

fn schedule(policy: &(impl Policy + ?Sized), outcome: impl Into<ScriptedOutcome>) -> Schedule {
    Explain::schedule(policy, &RequestHead::of(&request("GET")), &outcome.into())
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).expect("a status")
}

fn used_up(kind: LimitKind, limit: i64) -> Option<StopReason> {
    Some(StopReason::CountExhausted { kind, limit })
}

#[track_caller]
fn case(explanation: &Explanation, scenario: Scenario) -> &Case {
    explanation.case(scenario).expect("there is such a case")
}

#[track_caller]
fn answered(explanation: &Explanation, code: u16, retry_after: Option<Duration>) -> &Case {
    let case = explanation.status(status(code), retry_after);
    case.expect("there is such a case")
}

fn waits(case: &Case) -> Vec<(u64, u64)> {
    let ms = |wait: Duration| u64::try_from(wait.as_millis()).expect("short");
    case.waits
        .iter()
        .map(|wait| (ms(wait.min), ms(wait.max)))
        .collect()
}

// --- what is said ---

#[test]
fn the_default_policy_tells_what_it_does_with_a_get() {
    let explanation = explain(&RetryPolicy::default(), "GET");
    assert_eq!(explanation.url, "http://a.test/x");
    assert_eq!(explanation.never, None);

    let total = used_up(LimitKind::Total, 3);
    for scenario in [Scenario::Connect, Scenario::Read, Scenario::Other] {
        let case = case(&explanation, scenario);
        assert_eq!((case.fewest, case.most), (3, 3));
        assert_eq!(waits(case), [(0, 100), (0, 200), (0, 400)]);
        assert_eq!(case.stop, total);
        assert!(
            case.waits
                .iter()
                .all(|wait| wait.why == WaitReason::Backoff)
        );
    }
    let charged = |scenario| case(&explanation, scenario).waits[0].charged;
    assert_eq!(charged(Scenario::Connect), Some(LimitKind::Connect));
    assert_eq!(charged(Scenario::Read), Some(LimitKind::Read));
    assert_eq!(charged(Scenario::Other), Some(LimitKind::Other));

    // Two outside of the counts, and then as a connect failure.
    let unprocessed = case(&explanation, Scenario::Unprocessed);
    assert_eq!(unprocessed.most, 5);
    assert_eq!(waits(unprocessed)[..3], [(0, 0), (0, 100), (0, 100)]);
    let [first, second, ..] = &unprocessed.waits[..] else {
        panic!("{unprocessed:?}");
    };
    assert_eq!((first.charged, second.charged), (None, None));
    assert_eq!(first.why, WaitReason::NeverProcessed);
    assert_eq!(second.why, WaitReason::Backoff);

    for (scenario, cause) in [
        (Scenario::Certificate, Cause::Certificate),
        (Scenario::BadRequest, Cause::InvalidRequest),
    ] {
        let case = case(&explanation, scenario);
        assert!(!case.is_retried());
        assert_eq!(case.stop, Some(StopReason::NotTransient { cause }));
        assert_eq!(case.blocked_by().collect::<Vec<_>>(), [Gate::Transient]);
    }
}

#[test]
fn the_default_policy_tells_what_it_does_with_statuses() {
    let explanation = explain(&RetryPolicy::default(), "GET");
    // Cloudflare's 520 and whatever is not registered are as good as 500.
    for code in [408, 425, 429, 500, 502, 503, 504, 520, 599] {
        let plain = answered(&explanation, code, None);
        assert_eq!((plain.most, waits(plain)[2]), (3, (0, 400)));
        let hinted = answered(&explanation, code, Some(SECOND));
        // A tenth of what was asked is the most that is added to it.
        assert_eq!(waits(hinted), [(1000, 1100); 3]);
        let long = answered(&explanation, code, Some(WEEK));
        assert!(!long.is_retried());
        assert!(matches!(
            long.stop,
            Some(StopReason::RetryAfterTooLong { asked: WEEK, .. })
        ));
        assert_eq!(long.blocked_by().collect::<Vec<_>>(), [Gate::Hint]);
    }
    // Not listed, but the server may ask for it.
    assert!(!answered(&explanation, 413, None).is_retried());
    assert_eq!(answered(&explanation, 413, Some(SECOND)).most, 3);
    // All others are alike.
    for code in [400, 404, 418, 499, 501, 505, 511] {
        for hint in [None, Some(SECOND)] {
            let case = answered(&explanation, code, hint);
            let own = matches!(case.scenario, Scenario::Status { .. });
            assert_eq!(own, code > 500, "most of 5xx are as good as 500");
            assert!(matches!(
                case.stop,
                Some(StopReason::StatusNotListed { .. })
            ));
        }
    }
    for code in [200, 204, 302, 304] {
        assert!(answered(&explanation, code, None).is_accepted());
    }
    assert!(explanation.status(status(103), None).is_none());
    assert!(answered(&explanation, 999, None).is_retried());
    let exact = explain(&policy(|p| p.status_forcelist([503])), "GET");
    assert!(exact.status(status(999), None).is_none());
}

#[test]
fn every_gate_that_says_no_is_named() {
    let policy = policy(|p| {
        p.total(0)
            .retry_after_max(2)
            .allowed_methods(["GET"])
            .status_forcelist([503])
            .status(Limit::Never)
    });
    let explanation = explain(&policy, "POST");
    assert_eq!(explanation.never, used_up(LimitKind::Total, 0));
    assert!(!explanation.is_retried());
    let long = answered(&explanation, 503, Some(WEEK));
    assert_eq!(
        long.blocked_by().collect::<Vec<_>>(),
        [
            Gate::Method,
            Gate::Idempotency,
            Gate::Total,
            Gate::Count,
            Gate::Hint
        ]
    );
    let other = answered(&explanation, 404, None);
    assert_eq!(
        other.blocked_by().collect::<Vec<_>>(),
        [
            Gate::Transient,
            Gate::Method,
            Gate::Idempotency,
            Gate::Total,
            Gate::Count,
        ]
    );
}

/// S1
#[test]
fn what_a_policy_says_of_single_statuses_is_explained() {
    let policy = policy(|p| {
        p.status_forcelist([401, 425, 503])
            .once_statuses([401, 425])
            .unprocessed_statuses([401, 425])
    });
    let explanation = explain(&policy, "POST");
    for (status, most, stop) in [
        (401, 1, "status_count_exhausted"),
        (425, 1, "status_count_exhausted"),
        (503, 0, "method_not_allowed"),
    ] {
        let case = answered(&explanation, status, None);
        let found = (case.most, case.stop.as_ref().map(StopReason::name));
        assert_eq!(found, (most, Some(stop)), "{status}\n{explanation}");
    }
    let stop = &answered(&explanation, 401, None).stop;
    let line = "401 is in `once_statuses`, and the request was sent again after it already";
    assert_eq!(
        stop.as_ref().map(ToString::to_string).as_deref(),
        Some(line)
    );
}

#[test]
fn every_gate_is_named_under_the_rules_of_urllib3_too() {
    let policy = |total| {
        RetryPolicy::urllib3_builder()
            .total(total)
            .read(0)
            .retry_after_mode(RetryAfterMode::GiveUp)
            .build()
            .expect("a valid policy")
    };
    let gates = |case: &Case| case.blocked_by().collect::<Vec<_>>();
    let never = explain(&policy(0), "POST");
    assert_eq!(
        gates(case(&never, Scenario::Read)),
        [Gate::Method, Gate::Idempotency, Gate::Total, Gate::Count]
    );
    assert_eq!(
        gates(answered(&never, 503, None)),
        [
            Gate::Transient,
            Gate::Method,
            Gate::Idempotency,
            Gate::Total
        ]
    );
    let once = explain(&policy(1), "POST");
    assert_eq!(
        gates(answered(&once, 503, Some(WEEK))),
        [Gate::Method, Gate::Idempotency, Gate::Hint]
    );
}

/// Also where it is known beforehand that no retry follows, and where a layer below has made an
/// error of a status.
#[test]
fn every_stop_has_a_gate_that_says_no() {
    let last = |policy: &RetryPolicy, failure: ScriptedOutcome| {
        let sequence = sequence(policy, "GET", &[failure]);
        let report = sequence.report();
        let gates: Vec<Gate> = report.attempts[0].gates.failed().collect();
        (report.stop.name(), gates)
    };
    let never = policy(|p| p.total(Limit::Never));
    let (stop, gates) = last(&never, Cause::RefusedStream.into());
    assert_eq!((stop, gates), ("kind_disabled", vec![Gate::Total]));

    let unlisted = Cause::Status(StatusCode::BAD_GATEWAY);
    let (stop, gates) = last(&RetryPolicy::urllib3(), unlisted.into());
    assert_eq!((stop, gates), ("status_not_listed", vec![Gate::Transient]));
}

#[test]
fn the_urllib3_preset_obeys_its_own_rules() {
    let policy = RetryPolicy::urllib3_builder()
        .total(3)
        .status_forcelist([500])
        .backoff_factor(1.0)
        .build()
        .expect("a valid policy");
    let post = explain(&policy, "POST");
    // "other" has no check of the method there, and a certificate is "other".
    assert_eq!(case(&post, Scenario::Other).most, 3);
    assert_eq!(case(&post, Scenario::Certificate).most, 3);
    assert!(!case(&post, Scenario::Read).is_retried());
    assert!(!answered(&post, 500, None).is_retried());

    let get = explain(&policy, "GET");
    assert_eq!(
        waits(answered(&get, 500, None)),
        [(0, 0), (2000, 2000), (4000, 4000)]
    );
    // Clamped to six hours.
    let long = answered(&get, 429, Some(WEEK));
    assert_eq!(waits(long), [(6 * 3_600_000, 6 * 3_600_000); 3]);
    assert!(matches!(
        long.waits[0].why,
        WaitReason::ServerHintClamped(_)
    ));
    // Once `total` is 0 the header alone is no reason any more, so it is `total` that decides.
    assert_eq!(long.stop, used_up(LimitKind::Total, 3));
    assert_eq!(long.blocked_by().collect::<Vec<_>>(), [Gate::Total]);
}

#[test]
fn retries_without_end_are_said_to_have_none() {
    let policy = policy(|p| {
        p.total(None)
            .budget(None)
            .backoff(Backoff::constant(SECOND))
    });
    let explanation = explain(&policy, "GET");
    let endless = case(&explanation, Scenario::Connect);
    assert_eq!(endless.stop, None);
    assert_eq!(endless.most, 100);
    assert!(explanation.to_string().contains(" 100+ "));
    assert_eq!(schedule(&policy, Cause::Timeout).stop(), None);
}

#[test]
fn a_limit_of_a_kind_ends_that_kind() {
    let policy = policy(|p| p.total(5).connect(1).read(Limit::Never));
    let explanation = explain(&policy, "GET");
    let connect = case(&explanation, Scenario::Connect);
    assert_eq!(
        (connect.most, &connect.stop),
        (1, &used_up(LimitKind::Connect, 1))
    );
    let read = case(&explanation, Scenario::Read);
    let kind = LimitKind::Read;
    assert_eq!(read.stop, Some(StopReason::KindDisabled { kind }));
    assert_eq!(case(&explanation, Scenario::Other).most, 5);
}

#[test]
fn a_budget_counts_from_full() {
    let budget = RetryBudget::builder().min_per_second(0).capacity(2).build();
    let budget = budget.expect("a valid budget");
    let policy = policy(|p| p.total(9).budget(budget));
    let explanation = explain(&policy, "GET");
    let connect = case(&explanation, Scenario::Connect);
    assert_eq!(
        (connect.most, connect.stop.as_ref().map(StopReason::name)),
        (2, Some("budget_exhausted"))
    );
    assert_eq!(connect.blocked_by().collect::<Vec<_>>(), [Gate::Budget]);
}

#[test]
fn a_class_that_is_all_listed_is_one_case() {
    let policy = policy(|p| p.status_forcelist(500..600));
    let explanation = explain(&policy, "GET");
    let case = answered(&explanation, 555, None);
    assert!(matches!(case.scenario, Scenario::Others { class: 5, .. }));
    assert_eq!(case.most, 3);
    assert!(explanation.to_string().contains("5xx"));
}

#[test]
fn an_explanation_is_a_table() {
    let policy = RetryPolicy::urllib3_builder()
        .total(2)
        .status_forcelist([503])
        .backoff_factor(0.5)
        .respect_retry_after_header(false)
        .build()
        .expect("a valid policy");
    let expected = "\
POST http://a.test/x
  each attempt ends with       retries  waits      then
  ---------------------------  -------  ---------  ------------------------------------
  never processed, connect           2  0 ms, 1 s  `total` is used up (2 retries)
  failure, unknown error, bad
  certificate
  read failure, 503                 no             POST is not in `allowed_methods` and
                                                   the request may have been applied
                                                   [no: method, idempotency]
  invalid request                   no             repeating cannot help
  2xx, 3xx                           -             no failure
  4xx, other 5xx                    no             not in `status_forcelist` [no:
                                                   transient, method, idempotency]";
    let text = explain(&policy, "POST").to_string();
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn a_random_schedule_is_a_table_with_percentiles() {
    let text = schedule(&RetryPolicy::default(), Cause::Timeout).to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 8, "{text}");
    for part in ["wait: min", "p50", "p95", "max", "sent after: min", "why"] {
        assert!(lines[1].contains(part), "{text}");
    }
    assert!(lines[5].starts_with("      3       0 ms"), "{text}");
    assert_eq!(lines[7], "  then: `total` is used up (3 retries)");
}

#[test]
fn an_exact_schedule_is_a_smaller_table() {
    let policy = policy(|p| p.backoff(Backoff::linear(SECOND)));
    let expected = "\
GET http://a.test/x
  retry  wait  sent after  why
  -----  ----  ----------  -------
      1   1 s         1 s  backoff
      2   2 s         3 s  backoff
      3   3 s         6 s  backoff
  then: `total` is used up (3 retries)";
    assert_eq!(schedule(&policy, Cause::Timeout).to_string(), expected);
    assert_eq!(
        schedule(&policy, StatusCode::NOT_FOUND).to_string(),
        "GET http://a.test/x\n  not retried: 404 is not in `status_forcelist`"
    );
}

// --- that it is true ---

/// A server that always does the same, and what requests to it go through.
async fn really(
    layer: &RetryLayer<impl Policy<Session: Send> + Clone + Send>,
    request: Request<()>,
    scenario: Scenario,
) -> (u32, Option<RetryReport>) {
    let sent = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&sent);
    let server = service_fn(move |_: Request<Full<Bytes>>| {
        count.fetch_add(1, Relaxed);
        let (status, hint) = match scenario {
            Scenario::Status {
                status,
                retry_after,
            } => (status, retry_after),
            Scenario::Others {
                like, retry_after, ..
            } => (like, retry_after),
            _ => (StatusCode::OK, None),
        };
        let error: Option<BoxError> = match scenario {
            Scenario::Connect => {
                Some(NeverSent::new(io::Error::from(io::ErrorKind::ConnectionRefused)).into())
            }
            Scenario::Read => Some(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            Scenario::Other => Some("something unheard of".into()),
            _ => None,
        };
        let mut response = Response::new(Full::<Bytes>::default());
        *response.status_mut() = status;
        if let Some(hint) = hint {
            response
                .headers_mut()
                .insert(RETRY_AFTER, hint.as_secs().into());
        }
        async move { error.map_or(Ok(response), Err) }
    });
    let result = layer
        .layer(server)
        .oneshot(request.map(|()| Full::default()))
        .await;
    let report = match result {
        Ok(response) => response.extensions().get().cloned(),
        Err(error) => Some(error.report().clone()),
    };
    (sent.load(Relaxed), report)
}

/// Sends a request into each case of an explanation that a server can play.
async fn compare(layer: RetryLayer<RetryPolicy>, request: impl Fn() -> Request<()>) {
    let explanation = layer.explain(&RetryHead(&request()).head());
    let mut compared = 0;
    for case in &explanation.cases {
        if let Scenario::Unprocessed | Scenario::Certificate | Scenario::BadRequest = case.scenario
        {
            continue;
        }
        let (sent, report) = really(&layer, request(), case.scenario).await;
        let name = case.scenario;
        assert!(
            (case.fewest + 1..=case.most + 1).contains(&sent),
            "{name}: {sent} sent, {case:#?}"
        );
        let Some(report) = report else {
            assert!(case.is_accepted(), "{name}");
            continue;
        };
        assert_eq!(report.attempt_count(), sent as usize);
        let stops = [&case.stop, &case.or_stop].into_iter().flatten();
        let mut stops = stops.map(StopReason::name);
        assert!(
            stops.any(|stop| stop == report.stop.name()),
            "{name}: {report}, {case:#?}"
        );
        for (attempt, range) in report.attempts.iter().zip(&case.waits) {
            if let Some(wait) = &attempt.wait {
                assert!(
                    (range.min..=range.max).contains(&wait.planned),
                    "{name}: {wait:?} is not in {range:?}"
                );
                assert_eq!(wait.charged, range.charged);
            }
        }
        let last = report.attempts.last().expect("an attempt");
        // What else may have ended it has gates of its own.
        let named = case.stop.as_ref().map(StopReason::name) == Some(report.stop.name());
        for gate in case.blocked_by().filter(|_| named) {
            assert_eq!(last.gates.get(gate), Some(false), "{name}: {gate}");
        }
        compared += 1;
    }
    assert!(compared > 5);
}

/// Keeps a request for its head.
struct RetryHead<'a>(&'a Request<()>);

impl<'a> RetryHead<'a> {
    fn head(&self) -> RequestHead<'a> {
        RequestHead::of(self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn requests_do_what_was_explained() {
    let policies = [
        RetryPolicy::default(),
        policy(|p| p.total(2).connect(1).status(1).read(Limit::Never)),
        policy(|p| p.total(0)),
        policy(|p| {
            p.allowed_methods(Methods::any())
                .retry_after_mode(RetryAfterMode::Clamp)
        }),
        policy(|p| p.backoff(Backoff::exponential(SECOND).jitter(Jitter::Decorrelated))),
        RetryPolicy::urllib3(),
        RetryPolicy::urllib3_builder()
            .total(4)
            .redirect(0)
            .status_forcelist([500, 503, 302])
            .backoff_factor(0.3)
            .backoff_jitter(0.2)
            .build()
            .expect("a valid policy"),
    ];
    for policy in policies {
        for method in ["GET", "POST"] {
            // A budget of its own for each, as in the dry run.
            let fresh = |layer: RetryLayer<RetryPolicy>| {
                let budget = layer.policy().budget().map(|_| plenty());
                let policy = layer.policy().to_builder().budget(budget).build();
                policy.expect("a valid policy")
            };
            let policy = fresh(RetryLayer::new(policy.clone()));
            compare(RetryLayer::new(policy), || request(method)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_with_a_deadline_do_what_was_explained() {
    let policy = policy(|p| {
        p.total(4)
            .budget(plenty())
            .backoff(Backoff::exponential(SECOND).jitter(Jitter::Equal))
    });
    let layer = RetryLayer::new(policy)
        .deadline(9 * SECOND)
        .min_attempt(100 * MS);
    let explanation = layer.explain(&RequestHead::of(&request("GET")));
    let connect = case(&explanation, Scenario::Connect);
    assert!(connect.fewest < connect.most, "{connect:#?}");
    assert!(connect.or_stop.is_some());
    for _ in 0..20 {
        compare(layer.clone(), || request("GET")).await;
    }
}

#[test]
fn explaining_leaves_no_trace() {
    let budget = RetryBudget::builder().min_per_second(0).capacity(3).build();
    let budget = budget.expect("a valid budget");
    let policy = policy(|p| p.seed(7).budget(budget.clone()));
    let twin = policy.to_builder().build().expect("a valid policy");
    let first_wait = |policy: &RetryPolicy| {
        let request = request("GET");
        let mut session = policy.session(&RequestHead::of(&request));
        let outcome = Outcome::Error {
            failure: Cause::Timeout.into(),
            error: None,
        };
        match session.decide(&Attempt::new(1, &Method::GET, outcome)) {
            Decision::Retry(retry) => retry.wait,
            other => panic!("{other:?}"),
        }
    };

    explain(&policy, "GET");
    schedule(&policy, Cause::Timeout);
    sequence(
        &policy,
        "GET",
        &[Cause::Timeout.into(), Cause::Timeout.into()],
    );
    let shared = SharedPolicy::new(policy.clone());
    explain(&shared, "GET");
    explain(&Mounts::new().fallback(shared.clone()), "GET");
    explain(&Mounts::new().mount_all(policy.clone()), "GET");
    #[cfg(feature = "reload")]
    explain(&Reloadable::new(shared), "GET");

    let stats = budget.stats(tokio::time::Instant::now().into_std());
    assert_eq!((stats.granted, stats.refused, stats.active), (0, 0, 0));
    assert_eq!(first_wait(&policy), first_wait(&twin));
}

#[test]
fn a_policy_of_any_kind_can_be_explained() {
    let twice = policy_fn(|attempt: &Attempt<'_>| match attempt.outcome() {
        Outcome::Response { status, .. } if status.as_u16() == 418 && attempt.number() < 3 => {
            Decision::Retry(RetryDecision::after(5 * MS))
        }
        _ => Decision::Stop(StopDecision::because(StopReason::Custom(
            "not a teapot".into(),
        ))),
    });
    let explanation = explain(&twice, "POST");
    let teapot = answered(&explanation, 418, None);
    assert_eq!(waits(teapot), [(5, 5), (5, 5)]);
    assert!(matches!(teapot.scenario, Scenario::Status { .. }));
    assert!(!answered(&explanation, 500, None).is_retried());
    assert!(!case(&explanation, Scenario::Connect).is_retried());
}

#[test]
fn every_pointer_to_a_policy_explains_as_the_policy() {
    let policy = RetryPolicy::default();
    let expected = explain(&policy, "GET");
    let shared: Arc<dyn DynPolicy> = Arc::new(policy.clone());
    let boxed: Box<dyn DynPolicy> = Box::new(policy.clone());
    assert_eq!(explain(&&policy, "GET"), expected);
    assert_eq!(explain(&Arc::new(policy.clone()), "GET"), expected);
    assert_eq!(
        explain(&Mounts::new().mount_all(policy.clone()), "GET"),
        expected
    );
    #[cfg(feature = "reload")]
    assert_eq!(explain(&Reloadable::new(policy.clone()), "GET"), expected);
    assert_eq!(explain(&SharedPolicy::new(policy), "GET"), expected);
    assert_eq!(explain(&shared, "GET"), expected);
    assert_eq!(explain(&*shared, "GET"), expected);
    assert_eq!(explain(&boxed, "GET"), expected);
}

// --- what a request and a layer bring along ---

#[test]
fn what_a_request_brings_along_counts() {
    let policy = RetryPolicy::default();
    let mut post = request("POST");
    post.extensions_mut().insert(Idempotent);
    assert_eq!(
        case(&policy.explain(&RequestHead::of(&post)), Scenario::Read).most,
        3
    );

    let mut keyed = request("POST");
    keyed
        .headers_mut()
        .insert("idempotency-key", HeaderValue::from_static("\"1\""));
    assert_eq!(
        case(&policy.explain(&RequestHead::of(&keyed)), Scenario::Read).most,
        3
    );

    let mut disabled = request("GET");
    disabled.extensions_mut().insert(RetryDisabled);
    let explanation = policy.explain(&RequestHead::of(&disabled));
    assert_eq!(explanation.never, Some(StopReason::Disabled));
    assert!(!explanation.is_retried());

    let mut own = request("GET");
    let once = self::policy(|p| p.total(1));
    own.extensions_mut().insert(SharedPolicy::new(once.clone()));
    assert_eq!(
        case(&policy.explain(&RequestHead::of(&own)), Scenario::Read).most,
        1
    );
    own.extensions_mut().insert(once);
    assert_eq!(
        case(&policy.explain(&RequestHead::of(&own)), Scenario::Read).most,
        1
    );
}

#[test]
fn a_layer_explains_with_its_deadline() {
    let policy = policy(|p| p.backoff(Backoff::constant(SECOND)));
    let layer = RetryLayer::new(policy).deadline(2500 * MS);
    let mut get = request("GET");
    let explanation = layer.explain(&RequestHead::of(&get));
    let connect = case(&explanation, Scenario::Connect);
    assert_eq!(connect.most, 2);
    assert_eq!(
        connect.stop,
        Some(StopReason::DeadlineTooClose {
            left: 500 * MS,
            needed: SECOND
        })
    );
    assert_eq!(connect.blocked_by().collect::<Vec<_>>(), [Gate::Deadline]);

    get.extensions_mut()
        .insert(RequestDeadline::after(1500 * MS));
    let explanation = layer.explain(&RequestHead::of(&get));
    assert_eq!(case(&explanation, Scenario::Connect).most, 1);
    let schedule = layer.schedule(&RequestHead::of(&get), &Cause::Timeout.into());
    assert_eq!(schedule.retries().len(), 1);
}

#[test]
fn a_layer_explains_with_its_classifiers_and_keys() {
    let made = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&made);
    let layer = RetryLayer::new(RetryPolicy::default())
        .classify(|outcome: &Outcome<'_>| match outcome {
            Outcome::Response { status, .. } if status.as_u16() == 404 => {
                Opinion::Retry("replication lags".into())
            }
            Outcome::Response { status, .. } if status.as_u16() == 500 => {
                Opinion::Forbid("a bug".into())
            }
            _ => Opinion::NoOpinion,
        })
        .idempotency_keys_with(move || {
            count.fetch_add(1, Relaxed);
            "key".into()
        });
    let explanation = layer.explain(&RequestHead::of(&request("POST")));
    assert_eq!(answered(&explanation, 404, None).most, 3);
    assert_eq!(answered(&explanation, 503, None).most, 3);
    let vetoed = answered(&explanation, 500, None);
    assert!(matches!(vetoed.stop, Some(StopReason::Vetoed { .. })));
    assert_eq!(vetoed.blocked_by().collect::<Vec<_>>(), [Gate::Classifiers]);

    // The key is known to be at work when the server says so.
    let script = [status(503), status(409), status(422)].map(Into::into);
    let sequence = layer.explain_sequence(&RequestHead::of(&request("POST")), &script);
    let report = sequence.report();
    assert_eq!(report.stop, StopReason::IdempotencyKeyReused);
    assert_eq!(
        report.attempts[1].note.as_deref(),
        Some(&Note::StillInProgress)
    );
    assert_eq!(made.load(Relaxed), 0, "a dry run makes no keys");
}

// --- scripted histories ---

#[test]
fn a_script_gives_the_report_of_it() {
    let policy = policy(|p| p.backoff(Backoff::constant(SECOND)).retry_after_jitter(0.0));
    let script = [
        ScriptedOutcome::failure(Failure::new(Cause::ConnectionRefused, Sent::Never)).took(3 * MS),
        ScriptedOutcome::response(status(429))
            .retry_after(7 * SECOND)
            .took(20 * MS),
        ScriptedOutcome::response(status(200)).took(30 * MS),
        ScriptedOutcome::response(status(500)),
    ];
    let sequence = sequence(&policy, "GET", &script);
    assert!(!sequence.goes_on());
    assert_eq!(sequence.unplayed(), 1);
    let report = sequence.report();
    assert_eq!(report.stop, StopReason::Succeeded);
    assert_eq!(report.elapsed, 8053 * MS);
    assert_eq!(report.waited(), 8 * SECOND);
    let started: Vec<_> = report
        .attempts
        .iter()
        .map(|attempt| attempt.started)
        .collect();
    assert_eq!(started, [Duration::ZERO, 1003 * MS, 8023 * MS]);
    let expected = "\
GET http://a.test/x: succeeded after 3 attempts in 8.05 s
  #1    +0 ms  connect: connection refused, took 3.0 ms
      wait 1 s: backoff
  #2     +1 s  429 Too Many Requests, took 20 ms
      wait 7 s: retry-after
  #3  +8.02 s  200 OK, took 30 ms
  not played: 1 outcome of the script";
    assert_eq!(sequence.to_string(), expected);
}

#[test]
fn a_script_that_ends_too_early_says_so() {
    let sequence = sequence(&RetryPolicy::default(), "GET", &[Cause::Timeout.into()]);
    assert!(sequence.goes_on());
    let report = sequence.report();
    assert_eq!(report.attempt_count(), 1);
    // The wait in the middle of those that are possible.
    assert_eq!(
        report.attempts[0].wait.as_ref().expect("a wait").planned,
        50 * MS
    );
    assert!(report.stop.to_string().contains("the script ends here"));
    assert!(self::sequence(&RetryPolicy::default(), "GET", &[]).goes_on());
}

#[test]
fn a_date_is_compared_with_the_scripts_clock() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
    let dated = ScriptedOutcome::response(status(503))
        .header(
            RETRY_AFTER,
            HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"),
        )
        .wall_clock(now);
    let policy = policy(|p| p.retry_after_jitter(0.0));
    let sequence = sequence(&policy, "GET", &[dated]);
    let wait = sequence.report().attempts[0].wait.as_ref().expect("a wait");
    assert_eq!(wait.planned, 7 * SECOND);
}

#[test]
fn a_scripted_opinion_counts_as_a_classifiers() {
    let vetoed =
        ScriptedOutcome::response(status(503)).judged("me", Opinion::Forbid("I say so".into()));
    let sequence = sequence(&RetryPolicy::default(), "GET", &[vetoed]);
    assert_eq!(
        sequence.report().stop.to_string(),
        "me forbids it: I say so"
    );
}

#[test]
fn a_layers_time_limits_cut_a_script_short() {
    let policy = policy(|p| p.backoff(Backoff::constant(SECOND)));
    let layer = RetryLayer::new(policy)
        .attempt_timeout(2 * SECOND)
        .deadline(6 * SECOND);
    let hanging = ScriptedOutcome::response(StatusCode::OK).took(60 * SECOND);
    let get = request("GET");
    let run = |script: &[ScriptedOutcome]| {
        layer
            .explain_sequence(&RequestHead::of(&get), script)
            .report()
            .clone()
    };

    // Two seconds of the first attempt, a wait, the same again: all is used up.
    let report = run(&[hanging.clone(), hanging.clone(), hanging.clone()]);
    assert_eq!(report.attempt_count(), 2);
    assert!(matches!(
        &report.attempts[0].outcome,
        AttemptOutcome::Failed {
            cause: Cause::AttemptTimeout,
            ..
        }
    ));
    assert_eq!(report.attempts[1].took, 2 * SECOND);
    assert!(
        matches!(report.stop, StopReason::DeadlineTooClose { .. }),
        "{report}"
    );

    // The third attempt is begun and cut off.
    let took = |time| ScriptedOutcome::response(status(503)).took(time);
    let report = run(&[took(100 * MS), took(1950 * MS), hanging]);
    assert_eq!(report.attempt_count(), 3, "{report}");
    assert_eq!(
        report.stop,
        StopReason::DeadlineExceeded {
            deadline: 6 * SECOND
        }
    );
    assert_eq!(report.elapsed, 6 * SECOND);
    assert_eq!(report.attempts[2].took, 1950 * MS);
}

// --- schedules ---

#[test]
fn percentiles_are_those_of_the_distribution() {
    let near = |a: Duration, b: Duration, off: f64| {
        let (a, b) = (a.as_secs_f64(), b.as_secs_f64());
        assert!((a - b).abs() <= b * off, "{a} is not {b}");
    };
    let full = policy(|p| {
        p.total(1)
            .backoff(Backoff::constant(10 * SECOND).jitter(Jitter::Full))
    });
    let wait = schedule(&full, Cause::Timeout).retries()[0].wait;
    assert_eq!((wait.min, wait.max), (Duration::ZERO, 10 * SECOND));
    near(wait.p50, 5 * SECOND, 0.05);
    near(wait.p95, 9500 * MS, 0.02);

    // The sum of two uniform times of 10 seconds: below x with probability x²/200.
    let two = policy(|p| {
        p.total(2)
            .backoff(Backoff::constant(10 * SECOND).jitter(Jitter::Full))
    });
    let total = schedule(&two, Cause::Timeout).total();
    near(total.p50, 10 * SECOND, 0.05);
    near(
        total.p95,
        20 * SECOND - Duration::from_secs_f64(10_f64.sqrt()),
        0.02,
    );
}

#[test]
fn a_schedule_is_the_same_each_time() {
    let policy = policy(|p| p.backoff(Backoff::exponential(SECOND).jitter(Jitter::Decorrelated)));
    let once = schedule(&policy, Cause::Timeout);
    assert_eq!(once, schedule(&policy, Cause::Timeout));
    let first = &once.retries()[0];
    assert!(!first.wait.is_exact());
    assert_eq!((first.wait.min, first.wait.max), (SECOND, 3 * SECOND));
    assert_eq!(once.retries()[1].wait.max, 9 * SECOND);
    assert_eq!(once.retries()[1].start.max, 12 * SECOND);
}

#[test]
fn attempts_take_their_time_in_a_schedule() {
    let policy = policy(|p| p.backoff(Backoff::constant(SECOND)));
    let slow = ScriptedOutcome::failure(Cause::Timeout).took(5 * SECOND);
    let schedule = schedule(&policy, slow);
    let starts: Vec<_> = schedule
        .retries()
        .iter()
        .map(|retry| retry.start.p50)
        .collect();
    assert_eq!(starts, [SECOND, 7 * SECOND, 13 * SECOND]);
    assert_eq!(schedule.total().max, 3 * SECOND);
}

#[test]
fn a_schedule_says_how_many_requests_come_so_far() {
    let schedule = |jitter, deadline| {
        let policy = policy(|p| p.total(3).backoff(Backoff::constant(SECOND).jitter(jitter)));
        let layer = RetryLayer::new(policy).deadline(deadline);
        layer.schedule(&RequestHead::of(&request("GET")), &Cause::Timeout.into())
    };
    // Two waits of 500 to 1000 ms, the second one at most what is left of 1750 ms: one time in
    // eight they are short enough for another 500 ms.
    let schedule_of_half = schedule(Jitter::Equal, 1750 * MS);
    let shares: Vec<_> = schedule_of_half
        .retries()
        .iter()
        .map(|retry| retry.share)
        .collect();
    assert!(shares[1] > 0.99, "{shares:?}");
    assert!((0.08..0.17).contains(&shares[2]), "{shares:?}");
    assert!(schedule_of_half.to_string().contains(" % of the requests"));
    // What may be as short as nothing always fits.
    let full = schedule(Jitter::Full, SECOND);
    assert!(full.retries().iter().all(|retry| retry.share == 1.0));
    assert_eq!(full.retries().len(), 3);
}

fn any_policy() -> impl Strategy<Value = RetryPolicy> {
    let limit = || {
        prop_oneof![
            Just(Limit::Unlimited),
            (0i64..6).prop_map(Limit::AtMost),
            Just(Limit::Never)
        ]
    };
    let backoff = (0u64..3_000, 0u64..20_000, 0..5, 0..4).prop_map(|(base, max, kind, jitter)| {
        let base = Duration::from_millis(base);
        let jitter = match jitter {
            0 => Jitter::None,
            1 => Jitter::Full,
            2 => Jitter::Equal,
            3 => Jitter::Additive(base / 3),
            _ => Jitter::Decorrelated,
        };
        let backoff = match kind {
            0 => Backoff::constant(base),
            1 => Backoff::exponential(base),
            2 => Backoff::linear(base),
            3 => Backoff::fibonacci(base),
            _ => Backoff::urllib3(base.as_secs_f64()),
        };
        backoff.jitter(jitter).max(Duration::from_millis(max))
    });
    let statuses = proptest::collection::vec(400u16..600, 0..6);
    (
        any::<bool>(),
        0i64..8,
        [limit(), limit(), limit(), limit()],
        backoff,
        statuses,
        any::<bool>(),
    )
        .prop_map(
            |(urllib3, total, [connect, read, status, other], backoff, statuses, respect)| {
                let builder = if urllib3 {
                    RetryPolicy::urllib3_builder()
                } else {
                    RetryPolicy::builder()
                };
                builder
                    .total(total)
                    .connect(connect)
                    .read(read)
                    .status(status)
                    .other(other)
                    .backoff(backoff)
                    .status_forcelist(statuses)
                    .respect_retry_after_header(respect)
                    .build()
                    .expect("a valid policy")
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Waits of real sessions, with random numbers of their own, are within the schedule.
    #[test]
    fn real_waits_are_within_the_schedule(policy in any_policy(), seed: u64, code in 400u16..600) {
        let get = request("GET");
        let head = RequestHead::of(&get);
        for outcome in [ScriptedOutcome::from(Cause::ConnectionReset), status(code).into()] {
            let schedule = policy.schedule(&head, &outcome);
            let seeded = policy.to_builder().seed(seed).build().expect("a valid policy");
            let mut session = seeded.session(&head);
            let mut number = 0;
            for retry in schedule.retries() {
                let spread = retry.wait;
                prop_assert!(spread.min <= spread.p50 && spread.p50 <= spread.p95);
                prop_assert!(spread.p95 <= spread.max);
                number += 1;
                let attempt = Attempt::new(number, &Method::GET, *outcome_of(&outcome));
                match session.decide(&attempt) {
                    Decision::Retry(retry) => {
                        prop_assert!(spread.min <= retry.wait && retry.wait <= spread.max);
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            let attempt = Attempt::new(number + 1, &Method::GET, *outcome_of(&outcome));
            let ends = !matches!(session.decide(&attempt), Decision::Retry(_));
            prop_assert_eq!(ends, schedule.stop().is_some());
        }
    }

    /// The cases and a script that says the same agree.
    #[test]
    fn cases_agree_with_scripts(policy in any_policy(), post: bool) {
        let method = if post { "POST" } else { "GET" };
        for case in explain(&policy, method).cases {
            let outcome = match case.scenario {
                Scenario::Connect => Failure::new(Cause::ConnectTimeout, Sent::Never).into(),
                Scenario::Read => Cause::Timeout.into(),
                Scenario::Status { status, retry_after: None } => status.into(),
                _ => continue,
            };
            let script = vec![outcome; 12];
            let sequence = sequence(&policy, method, &script);
            let report = sequence.report();
            prop_assert_eq!(report.retry_count(), case.most as usize);
            prop_assert_eq!(Some(&report.stop), case.stop.as_ref());
            for (attempt, range) in report.attempts.iter().zip(&case.waits) {
                let wait = attempt.wait.as_ref().expect("a wait").planned;
                prop_assert!(range.min <= wait && wait <= range.max);
            }
        }
    }
}

fn outcome_of<'a>(scripted: &'a ScriptedOutcome) -> Box<Outcome<'a>> {
    Box::new(scripted.outcome())
}

// --- serde ---

#[cfg(feature = "serde")]
#[test]
fn everything_goes_through_json_unchanged() {
    fn through_json<T>(value: &T) -> T
    where
        T: serde::Serialize + serde::de::DeserializeOwned,
    {
        let json = serde_json::to_string(value).expect("it can be written");
        serde_json::from_str(&json).expect("it can be read")
    }

    let get = request("GET");
    let head = RequestHead::of(&get);
    let layer = RetryLayer::new(RetryPolicy::default()).deadline(300 * MS);
    for explanation in [
        layer.explain(&head),
        RetryPolicy::urllib3().explain(&head),
        policy(|p| p.total(None).budget(None)).explain(&head),
    ] {
        assert_eq!(through_json(&explanation), explanation);
    }
    let schedule = layer.schedule(&head, &Cause::Timeout.into());
    assert_eq!(through_json(&schedule), schedule);
    let hinted = ScriptedOutcome::response(status(503)).retry_after(SECOND);
    let sequence = RetryPolicy::default().explain_sequence(&head, &[hinted]);
    assert_eq!(through_json(&sequence), sequence);
}

#[cfg(feature = "serde")]
#[test]
fn the_json_of_a_case_can_be_read_by_people() {
    let policy = policy(|p| p.total(1).backoff(Backoff::constant(SECOND)));
    let explanation = explain(&policy, "GET");
    let json = serde_json::to_value(answered(&explanation, 503, Some(SECOND))).expect("JSON");
    assert_eq!(
        json["scenario"]["status"],
        serde_json::json!({"status": 503, "retry_after": 1.0})
    );
    assert_eq!(json["most"], 1);
    assert_eq!(
        json["waits"][0],
        serde_json::json!({
            "min": 1.0,
            "max": 1.1,
            "why": {"server_hint": "retry-after"},
            "charged": "status",
        })
    );
    assert_eq!(
        json["stop"],
        serde_json::json!({"count_exhausted": {"kind": "total", "limit": 1}})
    );
}

#[test]
fn a_header_of_a_failure_is_nothing() {
    let name = HeaderName::from_static("retry-after");
    let failure = ScriptedOutcome::failure(Cause::Timeout).header(name, HeaderValue::from(1));
    assert!(matches!(failure.outcome(), Outcome::Error { .. }));
}

// Whoever wrote the policy.

/// A policy of nine lines, which knows nothing of dry runs.
#[derive(Clone)]
struct ByMethod {
    reads: RetryPolicy,
    writes: RetryPolicy,
}

impl Policy for ByMethod {
    type Session = <RetryPolicy as Policy>::Session;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        match request.method().is_safe() {
            true => self.reads.session(request),
            false => self.writes.session(request),
        }
    }
}

#[test]
fn a_policy_that_chooses_between_others_is_explained_as_they_are_and_nothing_is_taken() {
    let budget = RetryBudget::builder().build().expect("a valid budget");
    let reads = policy(|p| p.total(2).seed(7).budget(budget.clone()));
    let writes = policy(|p| p.total(1).allowed_methods(["POST"]).budget(budget.clone()));
    let chooser = ByMethod {
        reads: reads.clone(),
        writes: writes.clone(),
    };
    let now = tokio::time::Instant::now().into_std();
    let before = format!("{:?}", budget.stats(now));
    for (method, chosen) in [("GET", &reads), ("POST", &writes)] {
        let explained = explain(&chooser, method);
        assert_eq!(explained, explain(chosen, method));
        assert!(
            explained.is_retried() && !explained.assumes_budget,
            "{explained}"
        );
        let script = [status(503), status(503), status(503), status(200)].map(Into::into);
        let played = sequence(&chooser, method, &script);
        assert_eq!(played, sequence(chosen, method, &script));
        let report = played.report();
        assert_eq!(report.replay(chosen), report.replay(&chooser));
        assert!(report.replay(&chooser).is_same());
    }
    assert_eq!(format!("{:?}", budget.stats(now)), before);

    // Nor has the seed moved on: the first request that is sent draws what it always does.
    let wait = |policy: &RetryPolicy| {
        let get = request("GET");
        let mut session = policy.session(&RequestHead::of(&get));
        let outcome = ScriptedOutcome::from(status(503));
        match session.decide(&Attempt::new(1, &Method::GET, *outcome_of(&outcome))) {
            Decision::Retry(retry) => retry.wait,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(wait(&reads), wait(&policy(|p| p.total(2).seed(7))));
}

/// A session that wraps ours and has a budget of its own: each of its secrets is counted.
struct Counting<S> {
    inner: S,
    told: Arc<AtomicU32>,
}

impl<S: Session> Session for Counting<S> {
    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision {
        self.inner.decide(attempt)
    }

    fn succeeded(&mut self) {
        self.told.fetch_add(1, Relaxed);
    }

    fn failed(&mut self, _: std::time::Instant) {
        self.told.fetch_add(1, Relaxed);
    }

    fn commit(
        &mut self,
        _: std::time::Instant,
    ) -> Result<tower_http_retry::budget::RetryPermit, StopReason> {
        self.told.fetch_add(1, Relaxed);
        Err(StopReason::BudgetExhausted(Default::default()))
    }
}

struct Counted(RetryPolicy, Arc<AtomicU32>);

impl Policy for Counted {
    type Session = Counting<<RetryPolicy as Policy>::Session>;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        Counting {
            inner: self.0.session(request),
            told: Arc::clone(&self.1),
        }
    }
}

#[test]
fn a_session_is_never_told_and_never_asked_for_a_permit() {
    let told = Arc::new(AtomicU32::new(0));
    let empty = RetryBudget::builder()
        .capacity(1)
        .build()
        .expect("a valid budget");
    let counted = Counted(policy(|p| p.budget(empty)), Arc::clone(&told));
    let script = [status(503), status(503), status(503)].map(Into::into);
    let played = sequence(&counted, "GET", &script);
    // The copy of the wrapped policy's budget has one token.
    assert!(
        matches!(played.report().stop, StopReason::BudgetExhausted(_)),
        "{played}"
    );
    assert!(!played.assumes_budget());
    explain(&counted, "GET");
    played.report().replay(&counted);
    let ok = sequence(&counted, "GET", &[status(200).into()]);
    assert!(ok.report().stop.is_success());
    assert_eq!(told.load(Relaxed), 0);
}

#[test]
fn a_budget_that_cannot_be_asked_is_taken_to_be_full_and_the_output_says_so() {
    /// Nothing of this crate's.
    struct Own;

    impl Policy for Own {
        type Session = Own;

        fn session(&self, _: &RequestHead<'_>) -> Own {
            Own
        }
    }

    impl Session for Own {
        fn decide(&mut self, _: &Attempt<'_>) -> Decision {
            Decision::Retry(RetryDecision::after(SECOND))
        }

        fn commit(
            &mut self,
            _: std::time::Instant,
        ) -> Result<tower_http_retry::budget::RetryPermit, StopReason> {
            panic!("a budget in use was asked")
        }
    }

    let played = sequence(&Own, "GET", &[status(503).into(), status(200).into()]);
    assert!(played.assumes_budget());
    assert!(
        played.to_string().ends_with("is taken to be full"),
        "{played}"
    );
    let what_if = played.report().replay(&Own);
    assert!(what_if.assumes_budget && what_if.is_same(), "{what_if}");
    // A closure has none.
    let closure = policy_fn(|_: &Attempt<'_>| Decision::Retry(RetryDecision::after(SECOND)));
    assert!(!sequence(&closure, "GET", &[status(503).into()]).assumes_budget());
    #[cfg(feature = "tower")]
    {
        let tower: Arc<dyn tower::retry::budget::Budget + Send + Sync> =
            Arc::new(tower::retry::budget::TpsBudget::default());
        let foreign = policy(|p| p.budget(RetryBudget::from_tower(tower)));
        let explained = explain(&foreign, "GET");
        assert!(explained.assumes_budget && explained.is_retried());
    }
}
