//! What a server says about when to come back, through the layer and on a paused clock: each
//! hint, what comes first, the cap, the jitter, the clocks, and what is shared.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use tokio::time::{self, Instant};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};
use tower_http_retry::{
    RequestDeadline, RetryError, RetryErrorKind, RetryLayer, RetryReport,
    classify::{Opinion, Outcome},
    policy::{
        Backoff, Gate, HintHeader, Jitter, Note, ResetFormat, ResetHeader, RetryAfterMode,
        RetryPolicy, RetryPolicyBuilder, StopReason, WaitReason,
    },
    shared_hints::SharedHints,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// The backoff of all policies here, unlike any hint.
const BACKOFF: Duration = Duration::from_millis(33);

/// 2026-01-01T00:00:00Z, where the client's clock stands unless a test says otherwise.
const NOW: u64 = 1_767_225_600;

type Headers<'a> = &'a [(&'a str, &'a str)];
type Body = Full<Bytes>;
type Service = BoxCloneService<Request<Body>, Response<Empty<Bytes>>, Infallible>;
type Answer = Result<Response<Empty<Bytes>>, RetryError>;

/// Answers from a script and then with 200, and keeps the time and the URI of each request.
#[derive(Clone, Default)]
struct Server {
    script: Arc<Mutex<VecDeque<Response<Empty<Bytes>>>>>,
    seen: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Server {
    fn answering(responses: impl IntoIterator<Item = Response<Empty<Bytes>>>) -> Self {
        let server = Self::default();
        server.script.lock().unwrap().extend(responses);
        server
    }

    fn service(&self) -> Service {
        let Self { script, seen } = self.clone();
        BoxCloneService::new(service_fn(move |request: Request<Body>| {
            let uri = request.uri().to_string();
            seen.lock().unwrap().push((Instant::now(), uri));
            let next = script.lock().unwrap().pop_front();
            async move { Ok(next.unwrap_or_default()) }
        }))
    }

    /// When the requests to a URI came, counted from `start`.
    fn times(&self, start: Instant, uri: &str) -> Vec<Duration> {
        let seen = self.seen.lock().unwrap();
        let to_uri = seen.iter().filter(|(_, seen)| seen == uri);
        to_uri.map(|(at, _)| at.duration_since(start)).collect()
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn response(status: u16, headers: Headers<'_>) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        let value = HeaderValue::from_str(value).unwrap();
        response.headers_mut().append(name, value);
    }
    response
}

const A: &str = "http://a.test/";
const B: &str = "http://b.test/";

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::default()).unwrap()
}

fn post(uri: &str) -> Request<Body> {
    Request::post(uri).body(Body::default()).unwrap()
}

/// The default policy with a known backoff, no jitter and no budget.
fn exact() -> RetryPolicyBuilder {
    RetryPolicy::builder()
        .backoff(Backoff::constant(BACKOFF))
        .retry_after_jitter(0.0)
        .budget(None)
}

fn layer(policy: RetryPolicyBuilder) -> RetryLayer<RetryPolicy> {
    layer_at(NOW, policy)
}

/// A layer whose wall clock stands still.
fn layer_at(now: u64, policy: RetryPolicyBuilder) -> RetryLayer<RetryPolicy> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
    RetryLayer::new(policy.build().unwrap()).wall_clock(move || now)
}

/// Sends a GET that is answered with this and then with 200, and tells how it went.
async fn told(layer: RetryLayer<RetryPolicy>, status: u16, headers: Headers<'_>) -> RetryReport {
    let server = Server::answering([response(status, headers)]);
    let start = Instant::now();
    let answer = layer.layer(server.service()).oneshot(get(A)).await;
    let report = report(&answer).clone();
    // The report and the clock agree.
    assert_eq!(report.waited(), start.elapsed(), "{report}");
    let times = server.times(start, A);
    assert_eq!(times.last(), Some(&start.elapsed()), "{report}");
    assert_eq!(report.attempt_count(), times.len());
    report
}

fn report(answer: &Answer) -> &RetryReport {
    match answer {
        Ok(response) => response.extensions().get().expect("a report"),
        Err(error) => error.report(),
    }
}

/// The wait after the first attempt and where it comes from.
fn first_wait(report: &RetryReport) -> (Duration, WaitReason) {
    let wait = report.attempts[0].wait.as_ref().expect("a wait");
    (wait.planned, wait.why.clone())
}

fn named(name: &'static str) -> HintHeader {
    HeaderName::from_static(name).into()
}

type Asked = (Vec<(&'static str, &'static str)>, HintHeader, Duration);

/// One response for each header that can ask for a wait, the header, and the wait.
fn hints() -> Vec<Asked> {
    let date = "Thu, 01 Jan 2026 00:00:05 GMT";
    vec![
        (
            vec![("grpc-retry-pushback-ms", "1250")],
            HintHeader::GrpcRetryPushbackMs,
            1250 * MS,
        ),
        (
            vec![("retry-after-ms", "1251")],
            HintHeader::RetryAfterMs,
            1251 * MS,
        ),
        (
            vec![("x-ms-retry-after-ms", "1250")],
            HintHeader::XMsRetryAfterMs,
            1250 * MS,
        ),
        (
            vec![("retry-after", "5")],
            HintHeader::RetryAfter,
            5 * SECOND,
        ),
        (
            vec![("retry-after", date)],
            HintHeader::RetryAfter,
            5 * SECOND,
        ),
        #[cfg(feature = "ratelimit")]
        (
            vec![("ratelimit", r#""burst";r=0;t=5, "daily";r=9;t=5000"#)],
            HintHeader::RateLimit,
            5 * SECOND,
        ),
        #[cfg(feature = "ratelimit")]
        (
            vec![
                ("ratelimit", r#""burst";r=0"#),
                ("ratelimit-policy", r#""burst";q=10;w=5"#),
            ],
            HintHeader::RateLimitPolicy,
            5 * SECOND,
        ),
        (
            vec![("x-ratelimit-reset", "5.5")],
            named("x-ratelimit-reset"),
            5500 * MS,
        ),
        (
            vec![
                ("x-ratelimit-reset", "1767225605"),
                ("x-ratelimit-remaining", "0"),
            ],
            named("x-ratelimit-reset"),
            5 * SECOND,
        ),
        (
            vec![("ratelimit-reset", "5")],
            named("ratelimit-reset"),
            5 * SECOND,
        ),
        (
            vec![("x-rate-limit-reset", "1767225605000")],
            named("x-rate-limit-reset"),
            5 * SECOND,
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_hint_is_waited_for() {
    for (headers, header, wait) in hints() {
        let report = told(layer(exact()), 429, &headers).await;
        let why = WaitReason::ServerHint(header);
        assert_eq!(first_wait(&report), (wait, why), "{headers:?}");
        assert_eq!(report.attempts[0].gates.get(Gate::Hint), Some(true));
        assert_eq!(report.attempts[0].note, None);
        assert_eq!(report.stop, StopReason::Succeeded);
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_hint_than_allowed_ends_the_request_at_once() {
    for (headers, _, asked) in hints() {
        let cap = asked - MS / 2;
        let report = told(layer(exact().retry_after_max(cap)), 429, &headers).await;
        // Half a millisecond is more than what a float of seconds loses.
        match report.stop {
            StopReason::RetryAfterTooLong { asked: told, .. } => assert_eq!(told, asked),
            // A window is no promise, so one that is too long says nothing.
            StopReason::Succeeded => {
                assert!(headers.iter().any(|(name, _)| *name == "ratelimit-policy"));
                assert_eq!(first_wait(&report), (BACKOFF, WaitReason::Backoff));
                continue;
            }
            stop => panic!("{headers:?}: {stop}"),
        }
        assert_eq!(
            (report.attempt_count(), report.elapsed),
            (1, Duration::ZERO)
        );
        assert_eq!(report.attempts[0].gates.get(Gate::Hint), Some(false));
        let server = Server::answering([response(429, &headers)]);
        let service = layer(exact().retry_after_max(cap)).layer(server.service());
        let answer = service.oneshot(get(A)).await.expect("the response itself");
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_hint_than_allowed_is_cut_where_that_is_asked_for() {
    for (headers, header, asked) in hints() {
        if header == HintHeader::RateLimitPolicy {
            continue;
        }
        let clamp = exact()
            .retry_after_mode(RetryAfterMode::Clamp)
            .retry_after_max(1.0);
        assert!(asked > SECOND);
        let report = told(layer(clamp), 429, &headers).await;
        let why = WaitReason::ServerHintClamped(header);
        assert_eq!(first_wait(&report), (SECOND, why), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn hints_are_ignored_on_every_attempt_where_that_is_asked_for() {
    let mut all = hints();
    for veto in [
        ("x-should-retry", "false"),
        ("grpc-retry-pushback-ms", "-1"),
    ] {
        all.push((vec![veto], HintHeader::RetryAfter, SECOND));
    }
    for (headers, ..) in all {
        let policy = exact().respect_retry_after_header(false);
        let server = Server::answering((0..3).map(|_| response(429, &headers)));
        let service = layer(policy).layer(server.service());
        let answer = service.oneshot(get(A)).await;
        let report = report(&answer);
        assert_eq!(report.attempt_count(), 4, "{headers:?}");
        for attempt in &report.attempts[..3] {
            let wait = attempt.wait.as_ref().expect("a wait");
            assert_eq!((wait.planned, &wait.why), (BACKOFF, &WaitReason::Backoff));
            assert_eq!(attempt.gates.get(Gate::Hint), None);
            assert_eq!(attempt.note, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_hint_of_the_table_is_obeyed() {
    let mut headers: Vec<_> = hints().into_iter().flat_map(|hint| hint.0).collect();
    // One of each name.
    headers.sort_by_key(|(name, _)| *name);
    headers.dedup_by_key(|(name, _)| *name);
    let order = [
        "grpc-retry-pushback-ms",
        "retry-after-ms",
        "x-ms-retry-after-ms",
        "retry-after",
        #[cfg(feature = "ratelimit")]
        "ratelimit",
        "x-ratelimit-reset",
        "ratelimit-reset",
        "x-rate-limit-reset",
    ];
    for first in order {
        let report = told(layer(exact()), 429, &headers).await;
        assert_eq!(first_wait(&report).1.to_string(), first);
        headers.retain(|(name, _)| *name != first);
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_hint_is_ignored_and_said() {
    for (name, value) in [
        ("retry-after", "soon"),
        ("retry-after-ms", "-5"),
        ("x-ratelimit-reset", "in 6 minutes"),
        ("x-should-retry", "maybe"),
        #[cfg(feature = "ratelimit")]
        ("ratelimit", r#""burst";r=0;t=soon, ="#),
    ] {
        let note = Some(Note::HintIgnored(named(name)));
        let report = told(layer(exact()), 429, &[(name, value)]).await;
        assert_eq!(first_wait(&report), (BACKOFF, WaitReason::Backoff));
        assert_eq!(report.attempts[0].note.as_deref(), note.as_ref());
        let line = format!("note: unreadable {name} ignored");
        assert!(report.to_string().contains(&line), "{report}");

        // Also where another header is obeyed, and where no retry follows.
        let good = ("ratelimit-reset", "5");
        let report = told(layer(exact()), 429, &[(name, value), good]).await;
        let why = WaitReason::ServerHint(named("ratelimit-reset"));
        assert_eq!(first_wait(&report), (5 * SECOND, why));
        assert_eq!(report.attempts[0].note.as_deref(), note.as_ref());
        let report = told(layer(exact().total(0).status(0)), 429, &[]).await;
        assert_eq!(report.stop.name(), "count_exhausted");
        let report = told(layer(exact().status(0)), 429, &[(name, value)]).await;
        assert_eq!(
            report.attempts[0].note.as_deref(),
            note.as_ref(),
            "{report}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_can_forbid_the_retry() {
    for (header, value) in [
        (named("x-should-retry"), "false"),
        (HintHeader::GrpcRetryPushbackMs, "-1"),
        (HintHeader::GrpcRetryPushbackMs, "never"),
    ] {
        let headers = [(header.as_str(), value), ("retry-after", "1")];
        let report = told(layer(exact()), 503, &headers).await;
        assert_eq!(report.attempt_count(), 1);
        assert_eq!(
            report.attempts[0].gates.failed().collect::<Vec<_>>(),
            [Gate::Hint]
        );
        let text = format!("not retried: the server forbids it: {header}");
        assert!(report.to_string().ends_with(&text), "{report}");
        assert_eq!(report.stop, StopReason::ForbiddenByServer { header });
        assert_eq!(report.stop.name(), "forbidden_by_server");
    }
    let raising = layer(exact().raise_on_status(true));
    let server = Server::answering([response(503, &[("x-should-retry", "false")])]);
    let answer = raising.layer(server.service()).oneshot(get(A)).await;
    let error = answer.expect_err("raised");
    assert_eq!(error.kind(), RetryErrorKind::Status);
    assert_eq!(error.stop_reason().name(), "forbidden_by_server");
}

#[tokio::test(start_paused = true)]
async fn a_server_cannot_ask_for_what_the_policy_would_not_do() {
    let headers = [("x-should-retry", "true"), ("grpc-retry-pushback-ms", "5")];
    let report = told(layer(exact()), 404, &headers).await;
    assert_eq!(report.stop.name(), "status_not_listed");
    let report = told(layer(exact().allowed_methods(["PUT"])), 503, &headers).await;
    assert_eq!(report.stop.name(), "method_not_allowed");
    // Only `Retry-After` makes a status retryable that is not listed.
    for (headers, header, _) in hints() {
        let report = told(layer(exact().status_forcelist([])), 429, &headers).await;
        let asks = header.as_str().contains("retry-after");
        assert_eq!(report.attempt_count() == 2, asks, "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_header_of_the_veto_is_a_choice() {
    let no = ("x-please-stop", "false");
    let usual = ("x-should-retry", "false");
    let own = || exact().should_retry_header(HeaderName::from_static("x-please-stop"));
    let report = told(layer(own()), 503, &[no]).await;
    let header = named("x-please-stop");
    assert_eq!(report.stop, StopReason::ForbiddenByServer { header });
    assert_eq!(told(layer(own()), 503, &[usual]).await.attempt_count(), 2);
    let none = exact().should_retry_header(None);
    assert_eq!(told(layer(none), 503, &[usual]).await.attempt_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_headers_of_resets_are_a_choice() {
    let name = HeaderName::from_static;
    let big = ResetHeader::new(
        name("x-rate-limit-time-reset-ms"),
        ResetFormat::Milliseconds,
    );
    let big = || big.clone().remaining(name("x-rate-limit-requests-left"));
    let policy = || exact().reset_headers([big()]);
    let reset = ("x-rate-limit-time-reset-ms", "1500");
    let none_left = ("x-rate-limit-requests-left", "0");
    let report = told(layer(policy()), 503, &[reset, none_left]).await;
    let why = WaitReason::ServerHint(named("x-rate-limit-time-reset-ms"));
    assert_eq!(first_wait(&report), (1500 * MS, why));
    // The usual ones are not read any more.
    let report = told(layer(policy()), 429, &[("x-ratelimit-reset", "5")]).await;
    assert_eq!(first_wait(&report).1, WaitReason::Backoff);
}

#[tokio::test(start_paused = true)]
async fn a_reset_header_that_the_user_named_is_obeyed_on_every_retried_status_or_noted() {
    let name = HeaderName::from_static("x-my-reset");
    let header = || ResetHeader::new(name.clone(), ResetFormat::Seconds);
    let left = || header().remaining(HeaderName::from_static("x-my-remaining"));
    let why = || WaitReason::ServerHint(named("x-my-reset"));
    let seven = ("x-my-reset", "7");
    let retried: Vec<_> = exact().build().unwrap().status_forcelist().collect();
    assert!(retried.contains(&503) && retried.contains(&429) && retried.len() > 4);
    for status in retried {
        let obeyed = (7 * SECOND, why());
        let report = told(layer(exact().reset_headers([header()])), status, &[seven]).await;
        assert_eq!(first_wait(&report), obeyed, "{status}");
        let used_up = [seven, ("x-my-remaining", "0")];
        let report = told(layer(exact().reset_headers([left()])), status, &used_up).await;
        assert_eq!(first_wait(&report), obeyed, "{status}");

        // What cannot be read, or what remains cannot, is noted; where requests remain, the limit
        // was not hit, and nothing is asked.
        let ignored = Some(Note::HintIgnored(named("x-my-reset")));
        let nothing_left = |value| [seven, ("x-my-remaining", value)];
        for (header, headers, note) in [
            (header(), &[("x-my-reset", "soon")][..], ignored.clone()),
            (
                left(),
                &nothing_left("?"),
                ignored.clone().filter(|_| status != 429),
            ),
            (left(), &[seven], ignored.filter(|_| status != 429)),
            (left(), &nothing_left("5"), None),
        ] {
            let report = told(layer(exact().reset_headers([header])), status, headers).await;
            // That one says by its status that the limit was hit.
            let is_429 = status == 429 && headers[0] == seven && note.is_none();
            let is_429 = is_429 && headers != nothing_left("5");
            let expected = if is_429 {
                obeyed.clone()
            } else {
                (BACKOFF, WaitReason::Backoff)
            };
            assert_eq!(first_wait(&report), expected, "{status} {headers:?}");
            assert_eq!(
                report.attempts[0].note.as_deref(),
                note.as_ref(),
                "{status} {headers:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_was_not_hit_does_not_hold_a_retry() {
    // GitHub says this with every response, and means the rest of the hour.
    let headers = [
        ("x-ratelimit-remaining", "4990"),
        ("x-ratelimit-reset", "1767229200"),
    ];
    for status in [429, 500, 503] {
        let report = told(layer(exact()), status, &headers).await;
        assert_eq!(first_wait(&report), (BACKOFF, WaitReason::Backoff));
        assert_eq!(report.attempts[0].note, None);
    }
    let used_up = [("x-ratelimit-remaining", "0"), headers[1]];
    let report = told(layer(exact()), 500, &used_up).await;
    assert_eq!(report.stop.name(), "retry_after_too_long");
}

#[tokio::test(start_paused = true)]
async fn grpc_has_its_codes_in_a_success_and_its_pushback_is_obeyed() {
    let unavailable = |outcome: &Outcome<'_>| match outcome {
        Outcome::Response { headers, .. }
            if headers.get("grpc-status").is_some_and(|code| code == "14") =>
        {
            Opinion::Retry("UNAVAILABLE".into())
        }
        _ => Opinion::NoOpinion,
    };
    let with = |pushback| [("grpc-status", "14"), ("grpc-retry-pushback-ms", pushback)];
    let layer = || layer(exact()).classify(unavailable);
    let report = told(layer(), 200, &with("1500")).await;
    let why = WaitReason::ServerHint(HintHeader::GrpcRetryPushbackMs);
    assert_eq!(first_wait(&report), (1500 * MS, why.clone()));
    let report = told(layer(), 200, &with("0")).await;
    assert_eq!(first_wait(&report), (Duration::ZERO, why), "to the letter");
    let report = told(layer(), 200, &with("-1")).await;
    assert_eq!(report.stop.name(), "forbidden_by_server");
}

#[tokio::test(start_paused = true)]
async fn the_backoff_begins_anew_after_a_pushback() {
    let policy = exact()
        .total(5)
        .backoff(Backoff::exponential(100 * MS))
        .build()
        .unwrap();
    let plain = || response(503, &[]);
    let server = Server::answering([
        plain(),
        plain(),
        response(503, &[("grpc-retry-pushback-ms", "7")]),
        plain(),
        plain(),
    ]);
    let service = RetryLayer::new(policy).layer(server.service());
    let answer = service.oneshot(get(A)).await;
    let attempts = report(&answer).attempts.iter();
    let waits = attempts.filter_map(|attempt| attempt.wait.as_ref());
    let waits: Vec<_> = waits.map(|wait| wait.planned.as_millis()).collect();
    assert_eq!(waits, [100, 200, 7, 100, 200]);
}

/// The waits of a crowd that was told the same.
async fn crowd(policy: RetryPolicyBuilder, headers: Headers<'_>) -> Vec<Duration> {
    let service = |server: Server| layer(policy.clone()).layer(server.service());
    // One layer for all, so that a seed gives each its own sequence.
    let server = Server::answering((0..200).map(|_| response(429, headers)));
    let service = service(server.clone());
    let requests = (0..200).map(|_| service.clone().oneshot(get(A)));
    let answers = join_all(requests).await;
    assert_eq!(server.count(), 400);
    answers
        .iter()
        .map(|answer| first_wait(report(answer)).0)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_crowd_comes_back_spread_and_nobody_earlier_than_asked() {
    // The jitter that is on by default: a tenth.
    let default = || RetryPolicy::builder().budget(None);
    for (headers, header, asked) in hints() {
        let waits = crowd(default(), &headers).await;
        let least = *waits.iter().min().expect("some");
        let most = *waits.iter().max().expect("some");
        assert!(least >= asked, "{headers:?}: {least:?}");
        if header == HintHeader::GrpcRetryPushbackMs {
            assert_eq!(most, asked, "exact");
            continue;
        }
        assert!(most <= asked + asked / 10, "{headers:?}: {most:?}");
        // 200 draws leave less than a fifth of the range free at either end.
        assert!(least < asked + asked / 50, "{headers:?}: {least:?}");
        assert!(most > asked + asked * 2 / 25, "{headers:?}: {most:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_jitter_is_a_choice_and_can_be_seeded() {
    let hint: Headers<'_> = &[("retry-after", "10")];
    let seconds = |waits: Vec<Duration>| {
        let seconds = waits.iter().map(|wait| wait.as_secs_f64() - 10.0);
        let (least, most) = seconds.fold((f64::MAX, 0.0_f64), |(a, b), s| (a.min(s), b.max(s)));
        (least, most)
    };
    assert_eq!(seconds(crowd(exact(), hint).await), (0.0, 0.0));
    let (least, most) = seconds(crowd(exact().retry_after_jitter(1.0), hint).await);
    assert!((0.0..1.0).contains(&least) && (9.0..=10.0).contains(&most));

    let seeded = |seed| exact().retry_after_jitter(0.5).seed(seed);
    let waits = crowd(seeded(7), hint).await;
    assert_eq!(waits, crowd(seeded(7), hint).await);
    assert_ne!(waits, crowd(seeded(8), hint).await);

    for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error = exact().retry_after_jitter(wrong).build().unwrap_err();
        assert_eq!(error.field(), "retry_after_jitter");
        assert_eq!(error.value(), wrong.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_and_not_the_jittered_wait_is_compared_with_the_cap() {
    let all = || exact().retry_after_jitter(1.0).retry_after_max(10.0);
    let hint: Headers<'_> = &[("retry-after", "10")];
    let waits = crowd(all(), hint).await;
    assert!(waits.iter().any(|wait| *wait > 15 * SECOND), "and yet sent");
    // What is cut to the cap is jittered from there: never shorter than the cap.
    let clamp = all().retry_after_mode(RetryAfterMode::Clamp);
    let waits = crowd(clamp, &[("retry-after", "3600")]).await;
    assert!(
        waits
            .iter()
            .all(|wait| (10 * SECOND..20 * SECOND).contains(wait))
    );
    assert!(waits.iter().any(|wait| *wait > 15 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_longest_hint_is_jittered_without_overflow() {
    let policy = exact()
        .retry_after_jitter(1.0)
        .retry_after_max(f64::MAX)
        .build()
        .unwrap();
    let server = Server::answering([response(503, &[("retry-after", "18446744073709551615")])]);
    let service = RetryLayer::new(policy).layer(server.service());
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    assert!(time::timeout(year, service.oneshot(get(A))).await.is_err());
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_clock_is_wrong_waits_as_long_as_any_other() {
    let date = ("date", "Thu, 01 Jan 2026 00:00:02 GMT");
    let hour = 3600;
    for now in [NOW, NOW - hour, NOW + hour, 0] {
        for hint in [
            ("retry-after", "Thu, 01 Jan 2026 00:00:05 GMT"),
            ("x-ratelimit-reset", "1767225605"),
        ] {
            let report = told(layer_at(now, exact()), 429, &[hint, date]).await;
            assert_eq!(first_wait(&report).0, 3 * SECOND, "{now} {hint:?}");
        }
        // Seconds need no clock.
        let report = told(layer_at(now, exact()), 429, &[("retry-after", "5"), date]).await;
        assert_eq!(first_wait(&report).0, 5 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_date_that_can_be_read_the_clients_clock_counts() {
    let hint = ("retry-after", "Thu, 01 Jan 2026 00:00:05 GMT");
    for date in ["", "now", "1767225602"] {
        let report = told(layer_at(NOW + 1, exact()), 429, &[hint, ("date", date)]).await;
        assert_eq!(first_wait(&report).0, 4 * SECOND, "{date:?}");
        assert_eq!(report.attempts[0].note, None);
    }
    let report = told(layer_at(NOW + 1, exact()), 429, &[hint]).await;
    assert_eq!(first_wait(&report).0, 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_date_leaves_the_wait_to_the_backoff_or_to_the_cap() {
    let hint = ("retry-after", "Thu, 01 Jan 2026 00:00:05 GMT");
    let late = ("date", "Tue, 01 Jan 2126 00:00:00 GMT");
    let report = told(layer(exact()), 429, &[hint, late]).await;
    assert_eq!(first_wait(&report), (BACKOFF, WaitReason::Backoff));
    let early = ("date", "Thu, 01 Jan 1970 00:00:00 GMT");
    let report = told(layer(exact()), 429, &[hint, early]).await;
    assert_eq!(report.stop.name(), "retry_after_too_long");
    let clamp = exact().retry_after_mode(RetryAfterMode::Clamp);
    let report = told(layer(clamp), 429, &[hint, early]).await;
    assert_eq!(first_wait(&report).0, 60 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_urllib3_preset_reads_retry_after_alone_and_exactly() {
    let urllib3 = || {
        let policy = RetryPolicy::urllib3_builder().backoff(Backoff::constant(BACKOFF));
        policy.status_forcelist([429, 503])
    };
    for (headers, header, wait) in hints() {
        let report = told(layer(urllib3()), 429, &headers).await;
        let expected = match header {
            HintHeader::RetryAfter => (wait, WaitReason::ServerHint(header)),
            _ => (BACKOFF, WaitReason::Backoff),
        };
        assert_eq!(first_wait(&report), expected, "{headers:?}");
    }
    let vetoes = [
        ("x-should-retry", "false"),
        ("grpc-retry-pushback-ms", "-1"),
    ];
    let report = told(layer(urllib3()), 503, &vetoes).await;
    assert_eq!(report.attempt_count(), 2);
    // The client's clock counts.
    let hint = ("retry-after", "Thu, 01 Jan 2026 00:00:05 GMT");
    let date = ("date", "Thu, 01 Jan 2026 00:00:02 GMT");
    let report = told(layer(urllib3()), 429, &[hint, date]).await;
    assert_eq!(first_wait(&report).0, 5 * SECOND);
    // Where it is asked for, also here.
    let waits = crowd(urllib3().retry_after_jitter(0.5), &[("retry-after", "10")]).await;
    assert!(waits.iter().all(|wait| *wait >= 10 * SECOND));
    assert!(waits.iter().any(|wait| *wait > 12 * SECOND));
}

/// Shared hints without jitter of their own.
fn exact_hints() -> SharedHints {
    SharedHints::builder().jitter(0.0).build().expect("valid")
}

#[tokio::test(start_paused = true)]
async fn a_success_is_not_looked_at() {
    for (headers, ..) in hints() {
        let server = Server::answering([response(200, &headers)]);
        let start = Instant::now();
        let service = layer(exact())
            .admission(exact_hints())
            .layer(server.service());
        for _ in 0..2 {
            let answer = service.clone().oneshot(get(A)).await.expect("a response");
            assert!(answer.extensions().get::<RetryReport>().is_none());
        }
        assert_eq!((server.count(), start.elapsed()), (2, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_passes_the_deadline_ends_the_request_at_once() {
    for (headers, header, needed) in hints() {
        let layer = layer(exact()).deadline(SECOND);
        let report = told(layer, 429, &headers).await;
        let stop = StopReason::DeadlineTooClose {
            left: SECOND,
            needed,
        };
        assert_eq!(report.stop, stop, "{header}");
        assert_eq!(report.elapsed, Duration::ZERO);
    }
}

/// The jitter takes what room there is, and not more: a request that has time is not given up.
#[tokio::test(start_paused = true)]
async fn jitter_does_not_carry_a_wait_past_the_deadline() {
    for _ in 0..300 {
        let server = Server::answering([response(429, &[("retry-after", "19")])]);
        let policy = RetryPolicy::builder().build().expect("valid");
        let layer = RetryLayer::new(policy).deadline(20 * SECOND);
        let start = Instant::now();
        let answer = layer
            .layer(server.service())
            .oneshot(get("http://a.test/"))
            .await;
        assert_eq!(answer.expect("in time").status(), 200);
        let took = start.elapsed();
        assert!((19 * SECOND..20 * SECOND).contains(&took), "{took:?}");
    }
    // What was asked itself does not fit.
    let server = Server::answering([response(429, &[("retry-after", "20")])]);
    let layer = RetryLayer::new(RetryPolicy::default()).deadline(20 * SECOND);
    let answer = layer
        .layer(server.service())
        .oneshot(get("http://a.test/"))
        .await;
    let needed = 20 * SECOND;
    let StopReason::DeadlineTooClose { needed: said, .. } = report(&answer).stop else {
        panic!("{answer:?}")
    };
    assert_eq!(said, needed, "without any jitter");
}

#[tokio::test(start_paused = true)]
async fn a_backoff_is_drawn_from_the_time_that_is_left() {
    let backoff = Backoff::exponential(SECOND)
        .jitter(Jitter::Full)
        .max(8 * SECOND);
    for _ in 0..100 {
        let server = Server::answering((0..4).map(|_| response(503, &[])));
        let policy = RetryPolicy::builder().total(4).backoff(backoff.clone());
        let layer = RetryLayer::new(policy.build().expect("valid")).deadline(3 * SECOND);
        let start = Instant::now();
        let answer = layer
            .layer(server.service())
            .oneshot(get("http://a.test/"))
            .await;
        assert_eq!(answer.expect("in time").status(), 200);
        assert!(start.elapsed() <= 3 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_has_a_backoff_of_its_own() {
    let backoff = Backoff::constant(50 * MS).throttle_base(SECOND);
    let policy = || exact().backoff(backoff.clone()).should_retry_header(None);
    for (status, headers, wait) in [
        (503, &[][..], 50 * MS),
        (429, &[], SECOND),
        // A hint of zero, and one that cannot be read.
        (503, &[("retry-after", "0")], SECOND),
        (503, &[("retry-after", "soon")], SECOND),
        (503, &[("retry-after", "7")], 7 * SECOND),
    ] {
        let report = told(layer(policy()), status, headers).await;
        assert_eq!(first_wait(&report).0, wait, "{status} {headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_not_registered_is_as_good_as_500() {
    for status in [509, 512, 520, 530, 598, 599, 600, 777, 999] {
        let report = told(layer(exact()), status, &[("retry-after", "7")]).await;
        let why = WaitReason::ServerHint(HintHeader::RetryAfter);
        assert_eq!(first_wait(&report), (7 * SECOND, why), "{status}");
        let status = StatusCode::from_u16(status).expect("a status");
        let note = Note::TreatedAs500 { status };
        assert_eq!(report.attempts[0].note.as_deref(), Some(&note));
        assert!(report.to_string().contains("is treated as 500"), "{report}");
    }
    let refused = |policy: RetryPolicyBuilder, status| async move {
        let report = told(layer(policy), status, &[]).await;
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(report.stop, StopReason::StatusNotListed { status });
    };
    // Those that are registered are known, and without 500 nothing is like it.
    for status in [501, 505, 506, 507, 508, 510, 511, 499, 418] {
        refused(exact(), status).await;
    }
    for status in [520, 600] {
        refused(exact().status_forcelist([502, 503]), status).await;
        let urllib3 = RetryPolicy::urllib3_builder().status_forcelist([500]);
        refused(urllib3.raise_on_status(false), status).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_to_an_authority_before_the_time_it_named() {
    for (headers, _, wait) in hints() {
        let server = Server::answering([response(429, &headers)]);
        let policy = exact().retry_after_jitter(0.1);
        let service = layer(policy)
            .admission(exact_hints())
            .layer(server.service());
        let start = Instant::now();
        let first = service.clone().oneshot(get(A));
        let others = (0..50_u32).map(|n| {
            let service = service.clone();
            async move {
                // Some at once, some shortly before the time, some after it.
                time::sleep(MS + wait * n / 40).await;
                let begin = Instant::now();
                let answer = service.clone().oneshot(get(A)).await;
                let other = service.oneshot(get(B));
                other.await.expect("another authority").status();
                (begin.duration_since(start), answer)
            }
        });
        let elsewhere = (0..50_u32).map(|n| {
            let service = service.clone();
            async move {
                time::sleep(MS + wait * n / 40).await;
                let begin = Instant::now();
                service.oneshot(get("http://c.test/")).await.expect("200");
                assert_eq!(begin.elapsed(), Duration::ZERO, "another authority");
            }
        });
        let (first, others, _) = tokio::join!(first, join_all(others), join_all(elsewhere));
        assert_eq!(report(&first).stop, StopReason::Succeeded);

        let times = server.times(start, A);
        assert_eq!((times.len(), times[0]), (52, Duration::ZERO));
        assert!(
            times[1..].iter().all(|at| *at >= wait),
            "{headers:?} {times:?}"
        );
        for (begin, answer) in &others {
            let response = answer.as_ref().expect("200");
            let report: Option<&RetryReport> = response.extensions().get();
            if *begin >= wait + MS {
                assert!(report.is_none(), "not held");
                continue;
            }
            // Held until the time itself, and not until the first one's jittered time.
            let Some(report) = report else { continue };
            let until = *begin + report.held;
            assert!(
                until >= wait && until <= wait + 2 * MS,
                "{until:?} {wait:?}"
            );
            assert!(report.to_string().contains("held back for "), "{report}");
            assert_eq!(report.attempt_count(), 1);
        }
        let held = others.iter().filter(|(begin, _)| *begin < wait).count();
        assert!((35..50).contains(&held), "{held}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_longer_than_the_deadline_ends_a_request_at_once() {
    let server = Server::answering([response(503, &[("retry-after", "5")])]);
    let service = layer(exact())
        .admission(exact_hints())
        .layer(server.service());
    let first = service.clone().oneshot(get(A));
    let hurried = async {
        time::sleep(SECOND).await;
        let begin = Instant::now();
        let mut request = get(A);
        let deadline = RequestDeadline::after(2 * SECOND);
        request.extensions_mut().insert(deadline);
        let error = service
            .clone()
            .oneshot(request)
            .await
            .expect_err("too close");
        assert_eq!(begin.elapsed(), Duration::ZERO);
        let (left, needed) = (2 * SECOND, 4 * SECOND);
        let stop = StopReason::DeadlineTooClose { left, needed };
        assert_eq!(*error.stop_reason(), stop);
        assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
        assert_eq!(error.report().attempt_count(), 0);
        assert_eq!(server.count(), 1);
    };
    let (first, ()) = tokio::join!(first, hurried);
    assert_eq!(report(&first).attempt_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_for_what_another_request_was_told() {
    let server = Server::answering([response(503, &[]), response(503, &[("retry-after", "5")])]);
    let policy = exact().backoff(Backoff::constant(SECOND));
    let service = layer(policy)
        .admission(exact_hints())
        .layer(server.service());
    let start = Instant::now();
    let backing_off = service.clone().oneshot(get(A));
    let told = async {
        time::sleep(500 * MS).await;
        service.clone().oneshot(get(A)).await
    };
    // Its own wait is over half a second after the other one was told five.
    let (backing_off, told) = tokio::join!(backing_off, told);
    assert!(backing_off.is_ok() && told.is_ok());
    let times = server.times(start, A);
    assert_eq!(times[..2], [Duration::ZERO, 500 * MS]);
    assert!(times[2..].iter().all(|at| *at >= 5500 * MS), "{times:?}");
    assert!(times[2..].iter().all(|at| *at <= 5502 * MS), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_during_a_hold_says_why_its_retry_waits() {
    let server = Server::answering([response(503, &[("retry-after", "5")]), response(503, &[])]);
    let inner = server.service();
    let slow = BoxCloneService::new(service_fn(move |request: Request<Body>| {
        let answer = inner.clone().oneshot(request);
        async move {
            time::sleep(SECOND).await;
            answer.await
        }
    }));
    let service = layer(exact()).admission(exact_hints()).layer(slow);
    let second = async {
        time::sleep(500 * MS).await;
        service.clone().oneshot(get(A)).await
    };
    // The second one is on its way when the first one is told, and fails half a second later.
    let (first, second) = tokio::join!(service.clone().oneshot(get(A)), second);
    assert_eq!(report(&first).stop, StopReason::Succeeded);
    let (wait, why) = first_wait(report(&second));
    assert_eq!(why, WaitReason::SharedHint);
    assert!(wait >= 4500 * MS && wait <= 4502 * MS, "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_shared_whatever_becomes_of_its_own_request() {
    let hint: Headers<'_> = &[("retry-after", "5")];
    let veto: Headers<'_> = &[("retry-after", "5"), ("x-should-retry", "false")];
    let with_deadline = || {
        let mut request = get(A);
        let deadline = RequestDeadline::after(SECOND);
        request.extensions_mut().insert(deadline);
        request
    };
    for (policy, request, headers, stop) in [
        (exact(), post(A), hint, "method_not_allowed"),
        (exact(), with_deadline(), hint, "deadline_too_close"),
        (exact().status(0), get(A), hint, "count_exhausted"),
        (
            exact().retry_after_max(1.0),
            get(A),
            hint,
            "retry_after_too_long",
        ),
        (exact(), get(A), veto, "forbidden_by_server"),
    ] {
        let server = Server::answering([response(503, headers)]);
        let service = layer(policy)
            .admission(exact_hints())
            .layer(server.service());
        let first = service.clone().oneshot(request).await;
        assert_eq!(report(&first).stop.name(), stop);
        let begin = Instant::now();
        let second = service.oneshot(get(A)).await;
        // No longer than the policy itself would have waited.
        let least = match stop {
            "retry_after_too_long" => SECOND,
            _ => 5 * SECOND,
        };
        let held = begin.elapsed();
        assert!(held >= least && held < least + 2 * MS, "{stop}: {held:?}");
        assert_eq!(report(&second).held, begin.elapsed(), "{stop}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_not_shared_unless_that_is_asked_for() {
    let server = Server::answering([response(503, &[("retry-after", "5")])]);
    let service = layer(exact()).layer(server.service());
    let start = Instant::now();
    let second = async {
        time::sleep(SECOND).await;
        service.clone().oneshot(get(A)).await.expect("200");
        assert_eq!(start.elapsed(), SECOND);
    };
    let (first, ()) = tokio::join!(service.clone().oneshot(get(A)), second);
    assert_eq!(report(&first).elapsed, 5 * SECOND);
}
