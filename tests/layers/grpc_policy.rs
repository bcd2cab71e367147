//! `RetryPolicy::grpc` and gRFC A6: its own examples as a table, and each of its rules.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::duplex;
use tower::{Layer, ServiceExt, service_fn};
use tower_http_retry::{
    AttemptOutcome, AttemptRecord, BoxError, RequestDeadline, RetryError, RetryErrorKind,
    RetryLayer, RetryReport,
    body::PeekedBody,
    budget::RetryBudget,
    classify::Stage,
    grpc::{GrpcCode, GrpcLayer},
    lint::Lint,
    policy::{
        Backoff, DynPolicy, GrpcPolicies, Limit, Note, Policy, Preset, RequestHead, RetryPolicy,
        Session, SharedPolicy, StopReason, WaitReason,
    },
    reason::{Cause, HintHeader, LimitKind},
    throttle::AdaptiveThrottle,
};

use super::grpc::{Answer, Scripted, Server, Step, plain_call, report, trailers};

const MS: Duration = Duration::from_millis(1);

/// What A6 shows: four attempts, 100 ms doubling to 1 s, UNAVAILABLE.
fn a6() -> RetryPolicy {
    RetryPolicy::grpc()
}

async fn ask(policy: &RetryPolicy, server: &Server) -> Response<PeekedBody<Scripted>> {
    let client = RetryLayer::new(policy.clone()).layer(GrpcLayer::new().layer(server.clone()));
    client.oneshot(plain_call()).await.expect("a response")
}

/// A failure without a message, with these fields beside its status.
fn failed(code: u8) -> Answer {
    Answer::trailers_only(code)
}

fn pushback(code: u8, value: &str) -> Answer {
    failed(code).head("grpc-retry-pushback-ms", value)
}

/// The same in the trailers, behind a head.
fn pushback_behind(code: u8, value: &str) -> Answer {
    Answer::grpc([Step::Trailers(vec![
        ("grpc-status", code.to_string()),
        ("grpc-retry-pushback-ms", value.to_owned()),
    ])])
}

/// How long each wait may be.
type Waits = &'static [(u64, u64)];

const FIRST: (u64, u64) = (80, 120);
const SECOND: (u64, u64) = (160, 240);
const THIRD: (u64, u64) = (320, 480);

#[tokio::test(start_paused = true)]
async fn a6s_own_examples() {
    let exhausted = StopReason::CountExhausted {
        kind: LimitKind::Total,
        limit: 3,
    };
    let forbidden = StopReason::ForbiddenByServer {
        header: HintHeader::GrpcRetryPushbackMs,
    };
    let not_listed = |code| StopReason::GrpcStatusNotListed { code };
    let table: Vec<(&str, Vec<Answer>, Waits, StopReason)> = vec![
        ("a success", vec![Answer::ok()], &[], StopReason::Succeeded),
        (
            "as many attempts as `maxAttempts`, within a fifth of the backoff",
            vec![failed(14); 4],
            &[FIRST, SECOND, THIRD],
            exhausted.clone(),
        ),
        (
            "a success after failures",
            vec![failed(14), failed(14), Answer::ok()],
            &[FIRST, SECOND],
            StopReason::Succeeded,
        ),
        (
            "a fatal code",
            vec![failed(3)],
            &[],
            not_listed(GrpcCode::InvalidArgument),
        ),
        (
            "a fatal code after a retry",
            vec![failed(14), failed(13)],
            &[FIRST],
            not_listed(GrpcCode::Internal),
        ),
        (
            "a code that does not exist",
            vec![failed(99)],
            &[],
            not_listed(GrpcCode::Unknown),
        ),
        (
            "a pushback is waited for exactly, and the backoff starts anew",
            vec![failed(14), pushback(14, "700"), failed(14), failed(14)],
            &[FIRST, (700, 700), FIRST],
            exhausted.clone(),
        ),
        (
            "a pushback in trailers",
            vec![
                failed(14),
                pushback_behind(14, "700"),
                failed(14),
                Answer::ok(),
            ],
            &[FIRST, (700, 700), FIRST],
            StopReason::Succeeded,
        ),
        (
            "a pushback of nothing",
            vec![pushback(14, "0"), Answer::ok()],
            &[(0, 0)],
            StopReason::Succeeded,
        ),
        (
            "a pushback of a day",
            vec![pushback(14, "86400000"), Answer::ok()],
            &[(86_400_000, 86_400_000)],
            StopReason::Succeeded,
        ),
        (
            "a pushback after the last attempt",
            vec![failed(14), failed(14), failed(14), pushback(14, "5")],
            &[FIRST, SECOND, THIRD],
            exhausted,
        ),
        (
            "a pushback does not make a fatal code retryable",
            vec![pushback(5, "5")],
            &[],
            not_listed(GrpcCode::NotFound),
        ),
        ("never", vec![pushback(14, "-1")], &[], forbidden.clone()),
        (
            "never, behind a head",
            vec![pushback_behind(14, "-1")],
            &[],
            forbidden.clone(),
        ),
        (
            "a pushback that cannot be read",
            vec![pushback(14, "soon")],
            &[],
            forbidden.clone(),
        ),
        (
            "a pushback of 33 bits",
            vec![pushback(14, "2147483648")],
            &[],
            forbidden,
        ),
        (
            "a proxy's answer has the code that gRPC gives its status",
            vec![Answer::http(503), Answer::http(429), Answer::ok()],
            &[FIRST, SECOND],
            StopReason::Succeeded,
        ),
        (
            "one that stands for another code",
            vec![Answer::http(404)],
            &[],
            not_listed(GrpcCode::Unimplemented),
        ),
        (
            "a redirect",
            vec![Answer::http(302)],
            &[],
            not_listed(GrpcCode::Unknown),
        ),
        (
            "no content",
            vec![Answer::http(204)],
            &[],
            not_listed(GrpcCode::Unknown),
        ),
    ];
    for (name, answers, waits, stop) in table {
        let server = Server::with(answers);
        let response = ask(&a6(), &server).await;
        let calls = server.calls();
        let seen: Vec<_> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(seen.len(), waits.len(), "{name}: {seen:?}");
        for (seen, (least, most)) in seen.iter().zip(waits) {
            // A timer has steps of a millisecond.
            let most = MS * u32::try_from(*most + 1).expect("short");
            let least = MS * u32::try_from(*least).expect("short");
            assert!((least..=most).contains(seen), "{name}: {seen:?}");
        }
        match response.extensions().get::<RetryReport>() {
            Some(report) => assert_eq!(report.stop, stop, "{name}"),
            None => assert_eq!(stop, StopReason::Succeeded, "{name}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_codes_are_a_setting_of_every_preset() {
    let codes = [GrpcCode::Aborted];
    let grpc = RetryPolicy::grpc_builder().retryable_status_codes(codes);
    let grpc = grpc.build().expect("valid");
    let default = RetryPolicy::builder()
        .retryable_status_codes(codes)
        .allowed_methods(["POST"])
        .build()
        .expect("valid");
    for policy in [grpc, default] {
        let server = Server::with([failed(10), failed(14)]);
        let response = ask(&policy, &server).await;
        assert_eq!(server.calls().len(), 2);
        let code = GrpcCode::Unavailable;
        assert_eq!(
            report(&response).stop,
            StopReason::GrpcStatusNotListed { code }
        );
    }
}

fn balance(policy: &RetryPolicy) -> f64 {
    let budget = policy.budget().expect("a budget");
    let slot = budget.slot(plain_call().uri());
    let now = tokio::time::Instant::now().into_std();
    budget.balance(slot, now).expect("known")
}

#[tokio::test(start_paused = true)]
async fn the_throttle_counts_what_a6_counts() {
    let table: [(&str, Vec<Answer>, f64); 8] = [
        ("a success pays in", vec![Answer::ok()], 0.1),
        (
            "a listed code takes one, each time",
            vec![failed(14), failed(14), Answer::ok()],
            -1.9,
        ),
        ("so does the last attempt", vec![failed(14); 4], -4.0),
        ("a fatal code is neither", vec![failed(5)], 0.0),
        (
            "a pushback that says never is a failure",
            vec![pushback(5, "-1")],
            -1.0,
        ),
        ("once", vec![pushback(14, "-1")], -1.0),
        (
            "a listed code that is committed is a failure",
            vec![Answer::grpc([Step::Data("x"), trailers(14)])],
            -1.0,
        ),
        (
            "a success in a 200 with a message",
            vec![Answer::ok(), failed(5)],
            0.1,
        ),
    ];
    for (name, answers, change) in table {
        let policy = RetryPolicy::grpc_builder().retry_throttling(20, 0.1);
        let policy = policy.build().expect("valid");
        // There must be room for what is paid in.
        ask(&policy, &Server::with(vec![failed(14), Answer::ok()])).await;
        let before = balance(&policy);
        assert_eq!(before, 19.1);
        let server = Server::with(answers);
        while server.has_answers() {
            ask(&policy, &server).await;
        }
        let seen = balance(&policy) - before;
        assert!((seen - change).abs() < 1e-9, "{name}: {seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttle_with_half_its_tokens_refuses_retries_until_calls_succeed() {
    let policy = RetryPolicy::grpc_builder().retry_throttling(4, 0.5);
    let policy = policy.build().expect("valid");
    // 4 tokens, of which more than 2 must be left.
    let server = Server::with(vec![failed(14); 2]);
    let response = ask(&policy, &server).await;
    assert_eq!(report(&response).stop.name(), "budget_exhausted");
    assert_eq!(balance(&policy), 2.0);
    let server = Server::with([failed(14)]);
    let response = ask(&policy, &server).await;
    assert_eq!(report(&response).stop.name(), "budget_exhausted");
    for _ in 0..5 {
        ask(&policy, &Server::with([Answer::ok()])).await;
    }
    assert_eq!(balance(&policy), 3.5);
    let server = Server::with([failed(14), Answer::ok()]);
    ask(&policy, &server).await;
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_throttle_counts_what_the_code_says() {
    for (answer, accepted) in [
        (Answer::ok(), true),
        (failed(5), true),
        (failed(13), true),
        (failed(14), false),
        (failed(8), false),
        (Answer::grpc([trailers(14)]), false),
        (Answer::http(503), false),
    ] {
        let throttle = AdaptiveThrottle::builder().k(1.0).build().expect("valid");
        let policy = RetryPolicy::grpc_builder().max_attempts(1).budget(None);
        let layer = RetryLayer::new(policy.build().expect("valid")).admission(throttle.clone());
        let client = layer.layer(GrpcLayer::new().layer(Server::with([answer.clone()])));
        client.oneshot(plain_call()).await.expect("a response");
        let slot = throttle.slot(plain_call().uri());
        let now = tokio::time::Instant::now().into_std();
        let rejects = throttle.probability(slot, now) > 0.0;
        assert_eq!(rejects, !accepted, "{answer:?}");
    }
}

/// The error of a call that finds its connection closed before anything is written to it.
async fn never_left() -> BoxError {
    let (client, _server) = duplex(1024);
    let io = TokioIo::new(client);
    let (mut send, connection) = http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("sent");
    drop(connection);
    let call = Request::post("http://a.test/")
        .body(Empty::<Bytes>::new())
        .expect("valid");
    send.send_request(call).await.expect_err("closed").into()
}

/// The error of a call whose stream the server resets.
async fn reset(reason: h2::Reason) -> BoxError {
    let (client, server) = duplex(64 * 1024);
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(server).await.expect("a handshake");
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_reset(reason);
        }
    });
    let io = TokioIo::new(client);
    let (mut send, connection) = http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("sent");
    tokio::spawn(connection);
    let call = Request::post("http://a.test/")
        .body(Empty::<Bytes>::new())
        .expect("valid");
    send.send_request(call).await.expect_err("reset").into()
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    NeverLeft,
    Reset(h2::Reason),
    Broken,
    Refused,
    Ok,
}

const STREAM: Fault = Fault::Reset(h2::Reason::REFUSED_STREAM);

/// Sends a call to a client that fails so, one attempt after the other, and then always as at last.
async fn transport(
    layer: RetryLayer<RetryPolicy>,
    faults: &[Fault],
) -> Result<Response<Full<Bytes>>, RetryError> {
    let at = Arc::new(AtomicU32::new(0));
    let faults = faults.to_vec();
    let client = service_fn(move |_: Request<Full<Bytes>>| {
        let at = at.fetch_add(1, Relaxed) as usize;
        let fault = faults[at.min(faults.len() - 1)];
        async move {
            match fault {
                Fault::NeverLeft => Err(never_left().await),
                Fault::Reset(reason) => Err(reset(reason).await),
                Fault::Broken => Err(test_support::probe::reset()),
                Fault::Refused => Err(test_support::probe::refused()),
                Fault::Ok => Ok(Response::new(Full::default())),
            }
        }
    });
    // The client of one connection, whose errors are hyper's own.
    let layer = layer.vouch::<hyper::Error>(Stage::Call);
    layer.layer(client).oneshot(plain_call()).await
}

fn reported(result: Result<Response<Full<Bytes>>, RetryError>) -> RetryReport {
    match result {
        Ok(response) => report(&response).clone(),
        Err(error) => error.report().clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn what_never_left_is_sent_until_the_deadline_and_counts_for_nothing() {
    let policy = a6();
    let layer = RetryLayer::new(policy.clone()).deadline(Duration::from_secs(60));
    let report = reported(transport(layer, &[Fault::NeverLeft]).await);
    assert!(
        matches!(report.stop, StopReason::DeadlineTooClose { .. }),
        "{report}"
    );
    assert!(report.attempt_count() > 50, "{report}");
    let waits: Vec<_> = report
        .attempts
        .iter()
        .filter_map(|at| at.wait.as_ref())
        .collect();
    assert_eq!(waits[0].why, WaitReason::NeverProcessed);
    assert!(waits[0].planned.is_zero());
    assert!(waits[1].planned >= 80 * MS, "no storm: {report}");
    assert!(waits.iter().all(|wait| wait.charged.is_none()));
    assert_eq!(report.effects(), 0..=0);
    assert_eq!(balance(&policy), 10.0);

    // The limit of the policy is untouched.
    let layer = RetryLayer::new(a6().to_builder().max_attempts(2).build().expect("valid"));
    let layer = layer.deadline(Duration::from_secs(60));
    let script = [vec![Fault::NeverLeft; 9], vec![Fault::Broken, Fault::Ok]].concat();
    assert_eq!(
        reported(transport(layer, &script).await).attempt_count(),
        11
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_what_never_left_becomes_a_failure_in_the_end() {
    let report = reported(transport(RetryLayer::new(a6()), &[Fault::NeverLeft]).await);
    assert_eq!(report.attempt_count(), 10 + 4, "{report}");
    assert!(matches!(report.stop, StopReason::CountExhausted { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_is_sent_again_once_and_then_by_the_policy() {
    let policy = a6();
    let report = reported(transport(RetryLayer::new(policy.clone()), &[STREAM]).await);
    assert_eq!(report.attempt_count(), 1 + 4, "{report}");
    let free = report.attempts[0].wait.as_ref().expect("a retry");
    assert!(free.planned.is_zero() && free.charged.is_none());
    let next = report.attempts[1].wait.as_ref().expect("a retry");
    assert!(next.charged.is_some() && next.planned >= 80 * MS);
    assert_eq!(balance(&policy), 10.0 - 4.0);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_processed_is_sent_again_whatever_the_policy_says() {
    for builder in [
        a6().to_builder().max_attempts(1),
        a6().to_builder().retryable_status_codes([]),
        a6().to_builder().total(Limit::Never),
    ] {
        for fault in [STREAM, Fault::NeverLeft] {
            let layer = RetryLayer::new(builder.clone().build().expect("valid"));
            let response = transport(layer, &[fault, Fault::Ok]).await;
            assert_eq!(reported(response).attempt_count(), 2, "{fault:?}");
        }
        // What failed otherwise is not.
        let layer = RetryLayer::new(builder.build().expect("valid"));
        let response = transport(layer, &[Fault::Broken]).await;
        assert_eq!(reported(response).attempt_count(), 1);
    }
    let off = a6().to_builder().unprocessed(0).max_attempts(1);
    let layer = RetryLayer::new(off.build().expect("valid"));
    assert_eq!(
        reported(transport(layer, &[STREAM]).await).attempt_count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_connection_has_the_code_that_grpc_gives_it() {
    let reset = |reason| Fault::Reset(reason);
    for (fault, code) in [
        (Fault::Broken, None),
        (Fault::Refused, None),
        (reset(h2::Reason::CANCEL), Some(GrpcCode::Cancelled)),
        (reset(h2::Reason::INTERNAL_ERROR), Some(GrpcCode::Internal)),
        (
            reset(h2::Reason::ENHANCE_YOUR_CALM),
            Some(GrpcCode::ResourceExhausted),
        ),
    ] {
        let report = reported(transport(RetryLayer::new(a6()), &[fault]).await);
        match code {
            None => assert_eq!(report.attempt_count(), 4, "{fault:?}: {report}"),
            Some(code) => {
                let stop = StopReason::GrpcStatusNotListed { code };
                assert_eq!(report.stop, stop, "{fault:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_repeated_only_where_its_code_is_listed() {
    for (codes, attempts) in [
        (vec![GrpcCode::Unavailable], 1),
        (vec![GrpcCode::DeadlineExceeded], 4),
    ] {
        let policy = RetryPolicy::grpc_builder().retryable_status_codes(codes);
        let layer = RetryLayer::new(policy.build().expect("valid")).attempt_timeout(50 * MS);
        let hangs = service_fn(|_: Request<Full<Bytes>>| {
            std::future::pending::<Result<Response<Full<Bytes>>, BoxError>>()
        });
        let error = layer
            .layer(hangs)
            .oneshot(plain_call())
            .await
            .expect_err("late");
        assert_eq!(error.report().attempt_count(), attempts);
        let outcome = &error.report().attempts[0].outcome;
        assert!(
            matches!(
                outcome,
                AttemptOutcome::Failed {
                    cause: Cause::AttemptTimeout,
                    ..
                }
            ),
            "{outcome:?}"
        );
    }
}

#[test]
fn the_preset_is_a6s_own_example() {
    let policy = RetryPolicy::grpc();
    assert_eq!(policy.preset(), Preset::Grpc);
    assert_eq!(policy.total(), Limit::AtMost(3));
    assert_eq!(
        policy.budget(),
        Some(&RetryBudget::grpc(10, 0.1).expect("valid"))
    );
    let written = RetryPolicy::grpc_builder()
        .max_attempts(4)
        .initial_backoff(0.1)
        .max_backoff(1)
        .backoff_multiplier(2.0)
        .retryable_status_codes([GrpcCode::Unavailable])
        .retry_throttling(10, 0.1)
        .build()
        .expect("valid");
    let waits = |policy: &RetryPolicy| {
        let mut waits = vec![(Duration::ZERO, Duration::ZERO)];
        for n in 1..6 {
            let before = waits[waits.len() - 1];
            waits.push(policy.backoff().bounds(n, before));
        }
        waits
    };
    assert_eq!(waits(&written), waits(&policy));
    assert_eq!(policy.lint(), [], "nothing is wrong with it");
}

#[test]
fn what_makes_no_sense_is_named() {
    let builder = RetryPolicy::grpc_builder;
    for (wrong, text) in [
        (builder().max_attempts(0), "`max_attempts` is 0"),
        (builder().initial_backoff(0), "`initial_backoff` is 0"),
        (builder().initial_backoff(-1.0), "`initial_backoff` is -1"),
        (builder().max_backoff(0.0), "`max_backoff` is 0"),
        (builder().backoff_multiplier(0.5), "`multiplier` is 0.5"),
        (
            builder().retryable_status_codes([GrpcCode::Ok]),
            "`retryable_status_codes` is OK",
        ),
        (builder().retry_throttling(0, 0.1), "`max_tokens` is 0"),
        (builder().retry_throttling(10, 0.0), "`ratio` is 0"),
    ] {
        let error = wrong.build().expect_err(text).to_string();
        assert!(error.starts_with(text), "{error}");
    }
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<Option<String>> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    texts.into_iter().map(some).collect()
}

/// Waits a second before each retry, exactly.
fn every_second() -> RetryPolicy {
    let backoff = Backoff::constant(Duration::from_secs(1));
    let policy = RetryPolicy::grpc_builder().backoff(backoff).budget(None);
    policy.build().expect("valid")
}

#[tokio::test(start_paused = true)]
async fn each_attempt_says_what_is_left_and_how_many_there_were() {
    let second = Duration::from_secs(1);
    let layer = || RetryLayer::new(every_second()).grpc_headers();
    let timed = |limit: &str| {
        let mut call = plain_call();
        let limit = limit.parse().expect("a header value");
        call.headers_mut().insert("grpc-timeout", limit);
        call
    };
    let table = [
        ("no limit", layer(), plain_call(), texts(["", "", "", ""])),
        (
            "the deadline",
            layer().deadline(10 * second),
            plain_call(),
            // As fine as eight digits are.
            texts(["10000000u", "9000000u", "8000000u", "7000000u"]),
        ),
        (
            "the attempt's timeout, until less is left",
            layer()
                .deadline(Duration::from_millis(3500))
                .attempt_timeout(2 * second),
            plain_call(),
            texts(["2000000u", "2000000u", "1500000u", "500000u"]),
        ),
        (
            "what the call says, for all attempts",
            layer(),
            timed("4S"),
            texts(["4000000u", "3000000u", "2000000u", "1000000u"]),
        ),
        (
            "the sooner of the two",
            layer().deadline(5 * second),
            timed("1H"),
            texts(["5000000u", "4000000u", "3000000u", "2000000u"]),
        ),
    ];
    for (name, layer, call, timeouts) in table {
        let server = Server::with(vec![failed(14); 4]);
        let client = layer.layer(GrpcLayer::new().layer(server.clone()));
        let _ = client.oneshot(call).await.expect("a response");
        // A timer may end a millisecond late.
        let seen = server.headers("grpc-timeout");
        let near = |seen: &Option<String>, expected: &Option<String>| match (seen, expected) {
            (None, None) => true,
            (Some(seen), Some(expected)) => {
                let micros = |text: &str| text.trim_end_matches('u').parse().unwrap_or(0_u64);
                (0..=4000).contains(&micros(expected).saturating_sub(micros(seen)))
                    && micros(seen) <= micros(expected)
                    && seen.ends_with('u')
                    && seen.len() <= 9
            }
            _ => false,
        };
        let same = seen
            .iter()
            .zip(&timeouts)
            .all(|(seen, expected)| near(seen, expected));
        assert!(seen.len() == 4 && same, "{name}: {seen:?}");
        let attempts = server.headers("grpc-previous-rpc-attempts");
        assert_eq!(attempts, texts(["", "1", "2", "3"]), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_calls_own_timeout_ends_it() {
    let mut call = plain_call();
    let limit = "1500m".parse().expect("a header value");
    call.headers_mut().insert("grpc-timeout", limit);
    let server = Server::with(vec![failed(14); 2]);
    let layer = RetryLayer::new(every_second()).grpc_headers();
    let response = layer
        .layer(server.clone())
        .oneshot(call)
        .await
        .expect("a response");
    assert!(matches!(
        report(&response).stop,
        StopReason::DeadlineTooClose { .. }
    ));
    assert_eq!(server.calls().len(), 2);
}

/// A server that reads so much of each request, and then fails; and what it has read.
#[derive(Clone, Default)]
struct Reader {
    frames: Option<usize>,
    read: Arc<std::sync::Mutex<Vec<Vec<u8>>>>,
}

impl Reader {
    async fn answer<B>(self, request: Request<B>) -> Result<Response<Full<Bytes>>, BoxError>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let mut body = std::pin::pin!(request.into_body());
        let mut read = Vec::new();
        for _ in 0..self.frames.unwrap_or(usize::MAX) {
            match body.frame().await {
                Some(frame) => read.extend(frame.map_err(Into::into)?.into_data().ok().unwrap()),
                None => break,
            }
        }
        self.read.lock().expect("no panic").push(read);
        let response = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "14")
            .body(Full::default());
        Ok(response.expect("a response"))
    }
}

/// gRFC A6, "When Retries are Valid": what no longer fits into the buffer commits the call.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_longer_than_what_is_kept_commits_its_call() {
    const KEEP: u64 = 8;
    let bytes = |text: &'static str| text.as_bytes().to_vec();
    // The pieces of a request, how many of them the server reads, and what it gets each time.
    for (pieces, frames, attempts) in [
        (vec!["0123", "4567"], None, vec![bytes("01234567"); 4]),
        (vec!["0123", "45678"], None, vec![bytes("012345678")]),
        (vec!["0123456789"], None, vec![bytes("0123456789")]),
        // A server that fails before it has read too much: the rest is still to be had.
        (vec!["0123", "45678"], Some(1), vec![bytes("0123"); 4]),
        (
            vec!["0123", "4567", "8"],
            Some(2),
            vec![bytes("01234567"); 4],
        ),
        (vec!["0123", "4567", "8"], Some(3), vec![bytes("012345678")]),
    ] {
        let reader = Reader {
            frames,
            ..Reader::default()
        };
        let server = reader.clone();
        let server = service_fn(move |request| server.clone().answer(request));
        let layer = RetryLayer::new(a6()).replay_bodies(KEEP);
        let client = layer.layer(GrpcLayer::new().layer(server));
        let (whole, pieces): (u64, Vec<_>) = (
            pieces.iter().map(|piece| piece.len() as u64).sum(),
            pieces
                .into_iter()
                .map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from(piece))))
                .collect(),
        );
        let body = StreamBody::new(stream::iter(pieces));
        let call = plain_call().map(|_| body);
        let response = client.oneshot(call).await.expect("a response");
        let told = report(&response);
        let read = reader.read.lock().expect("no panic").clone();
        assert_eq!(read, attempts, "{told}");
        if attempts.len() == 1 {
            let (sent, limit) = (whole, KEEP);
            assert_eq!(told.stop, StopReason::BodyNotReplayable { sent, limit });
            let shown = told.to_string();
            assert!(
                shown.ends_with(&format!(
                    "not retried: the request body cannot be sent again: {whole} bytes were read, 8 \
                     could be kept"
                )),
                "{shown}"
            );
        } else {
            assert_eq!(told.stop.name(), "count_exhausted");
        }
    }
}

/// As in grpc, the sooner of what a service config says and what else there is.
#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_service_config_is_a_deadline_among_others() {
    let second = Duration::from_secs(1);
    let policies = |timeout: u32| {
        let policies = GrpcPolicies::new(a6()).timeout("/", 60 * second)?;
        let policies = policies.name("/helloworld.Greeter/", a6())?;
        policies.timeout("/helloworld.Greeter/", timeout * second)
    };
    let policies = |timeout| policies(timeout).expect("it is named");
    let said = |text: &'static str| {
        let mut call = plain_call();
        let value = text.parse().expect("a header value");
        call.headers_mut().insert("grpc-timeout", value);
        call
    };
    let with_deadline = |time: u32| {
        let mut call = plain_call();
        let deadline = RequestDeadline::after(time * second);
        call.extensions_mut().insert(deadline);
        call
    };
    let other = || {
        let mut call = plain_call();
        *call.uri_mut() = "http://other.test/other.Service/Call"
            .parse()
            .expect("a URI");
        call
    };
    let layer = |timeout| RetryLayer::new(policies(timeout)).grpc_headers();
    for (name, layer, call, expected) in [
        ("alone", layer(3), plain_call(), 3),
        (
            "before the layer's",
            layer(3).deadline(5 * second),
            plain_call(),
            3,
        ),
        (
            "after the layer's",
            layer(7).deadline(5 * second),
            plain_call(),
            5,
        ),
        ("before the header's", layer(3), said("5S"), 3),
        ("after the header's", layer(7), said("5S"), 5),
        ("before the request's own", layer(3), with_deadline(5), 3),
        ("after the request's own", layer(7), with_deadline(5), 5),
        ("that of all others", layer(3), other(), 60),
        ("none left", layer(0), plain_call(), 0),
    ] {
        let calls = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&calls);
        let hangs = service_fn(move |request: Request<Full<Bytes>>| {
            let told = request.headers().get("grpc-timeout").cloned();
            seen.lock().expect("no panic").push(told);
            std::future::pending::<Result<Response<Full<Bytes>>, BoxError>>()
        });
        let start = tokio::time::Instant::now();
        let error = layer.layer(hangs).oneshot(call).await.expect_err(name);
        assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded, "{name}");
        let deadline = expected * second;
        assert_eq!(
            *error.stop_reason(),
            StopReason::DeadlineExceeded { deadline },
            "{name}"
        );
        assert_eq!(start.elapsed(), deadline, "{name}");
        let calls = calls.lock().expect("no panic");
        let told = calls
            .iter()
            .flatten()
            .map(|value| value.to_str().expect("text"));
        let micros = format!("{}u", deadline.as_micros());
        match expected {
            0 => assert!(calls.is_empty(), "{name}"),
            _ => assert!(told.eq([&*micros]), "{name}"),
        }
    }
}

/// Whatever is put around the policies.
#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_service_config_holds_in_every_wrapping() {
    fn deadline<P: Policy>(policy: P) -> Option<Duration> {
        let request = plain_call();
        policy.session(&RequestHead::of(&request)).deadline()
    }
    let second = Duration::from_secs(1);
    let policies = GrpcPolicies::new(a6());
    let policies = policies.timeout("/", second).expect("all others");
    let expected = Some(second);
    assert_eq!(deadline(&policies), expected);
    assert_eq!(deadline(Arc::new(policies.clone())), expected);
    let boxed: Box<dyn DynPolicy> = Box::new(policies.clone());
    assert_eq!(deadline(boxed), expected);
    assert_eq!(deadline(SharedPolicy::new(policies.clone())), expected);
    #[cfg(feature = "reload")]
    assert_eq!(
        deadline(tower_http_retry::policy::Reloadable::new(policies.clone())),
        expected
    );
    {
        use tower_http_retry::mounts::Mounts;
        let mounts = Mounts::new().fallback(policies.clone());
        assert_eq!(deadline(mounts), expected);
        let mounts = Mounts::new().mount("http://greeter.test", policies.clone());
        assert_eq!(deadline(mounts.expect("a prefix")), expected);
    }
    #[cfg(feature = "shadow")]
    assert_eq!(
        deadline(tower_http_retry::shadow::Shadow::new(
            policies.clone(),
            a6()
        )),
        expected
    );
    // A policy of the request's own takes the place of all of it.
    let mut call = plain_call();
    call.extensions_mut().insert(SharedPolicy::new(policies));
    let hangs = service_fn(|_: Request<Full<Bytes>>| {
        std::future::pending::<Result<Response<Full<Bytes>>, BoxError>>()
    });
    let error = RetryLayer::new(a6()).layer(hangs).oneshot(call).await;
    let error = error.expect_err("it hangs");
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    let unnamed = GrpcPolicies::new(a6()).timeout("/a.B/Get", second);
    assert_eq!(
        unnamed.expect_err("it was not named").to_string(),
        "`name` is /a.B/Get: must be a name that has a policy, or `/` for all others"
    );
}

#[tokio::test(start_paused = true)]
async fn a_status_of_grpcs_goes_before_that_of_http() {
    let ok = Answer::http(503).head("grpc-status", "0");
    let response = ask(&a6(), &Server::with([ok])).await;
    assert!(response.extensions().get::<RetryReport>().is_none());
    let not_found = Answer::http(503).head("grpc-status", "5");
    let response = ask(&a6(), &Server::with([not_found])).await;
    let code = GrpcCode::NotFound;
    assert_eq!(
        report(&response).stop,
        StopReason::GrpcStatusNotListed { code }
    );
}

/// On a socket: the head has come, and then the stream is reset.
#[tokio::test]
async fn a_reset_behind_the_head_has_the_code_that_grpc_gives_it() {
    use test_support::net::{
        fault::{Act, Answer, FaultServer, Play, Protocol},
        http2::code as reset,
    };
    for (reset, code, attempts) in [
        (reset::INTERNAL_ERROR, GrpcCode::Internal, 1),
        (reset::ENHANCE_YOUR_CALM, GrpcCode::ResourceExhausted, 1),
        (reset::REFUSED_STREAM, GrpcCode::Unavailable, 4),
        (reset::CANCEL, GrpcCode::Cancelled, 1),
        // hyper takes this one for the end of the body: there is no status.
        (reset::NO_ERROR, GrpcCode::Unknown, 1),
    ] {
        let head = Answer::new(200).header("content-type", "application/grpc");
        let acts = [Act::HalfABody(head.content("")), Act::ResetStream(reset)];
        let server = FaultServer::start(Protocol::Http2, None, move |_| Play::serve(acts.clone()));
        let server = server.await;
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build::<_, Full<Bytes>>(server.connector());
        let policy = a6()
            .to_builder()
            .backoff(Backoff::none())
            .budget(None)
            .build();
        let client = RetryLayer::new(policy.expect("valid")).layer(GrpcLayer::new().layer(client));
        let call = Request::post(server.uri("/a.B/Get")).body(Full::default());
        let response = client.oneshot(call.expect("a request")).await;
        let response = response.expect("a response");
        let told = report(&response);
        assert_eq!(
            told.attempts[0].failed_within,
            Some(Cause::Grpc(code)),
            "{told}"
        );
        assert_eq!(told.attempt_count(), attempts, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_processed_is_no_previous_attempt() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let client = service_fn({
        let seen = Arc::clone(&seen);
        move |request: Request<Full<Bytes>>| {
            let before = request.headers().get("grpc-previous-rpc-attempts");
            let before = before.map(|value| value.to_str().expect("text").to_owned());
            let number = {
                let mut seen = seen.lock().expect("no panic");
                seen.push(before);
                seen.len()
            };
            async move {
                match number {
                    1 => Err(never_left().await),
                    2 => Err(reset(h2::Reason::REFUSED_STREAM).await),
                    3 => Err(test_support::probe::reset()),
                    _ => Ok(Response::new(Full::<Bytes>::default())),
                }
            }
        }
    });
    let layer = RetryLayer::new(a6())
        .grpc_headers()
        .vouch::<hyper::Error>(Stage::Call);
    layer
        .layer(client)
        .oneshot(plain_call())
        .await
        .expect("a response");
    assert_eq!(*seen.lock().expect("no panic"), texts(["", "", "", "1"]));
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_the_head_says_that_trailers_are_not_seen_without_the_layer() {
    let notes = |response: &Response<Scripted>| {
        let notes = report(response).attempts.iter();
        let has = |record: &AttemptRecord| record.notes().any(|note| *note == Note::GrpcHeadOnly);
        notes.map(has).collect::<Vec<_>>()
    };
    let server = Server::with(vec![failed(14), failed(14), failed(5)]);
    let client = RetryLayer::new(a6()).layer(server);
    let response = client.oneshot(plain_call()).await.expect("a response");
    assert_eq!(notes(&response), [true, false, false], "once is enough");
    let shown = report(&response).to_string();
    assert!(
        shown.contains("a `GrpcLayer` below the retries would see"),
        "{shown}"
    );

    let response = ask(&a6(), &Server::with([failed(5)])).await;
    let shown = report(&response).to_string();
    assert!(!shown.contains("GrpcLayer"), "{shown}");
}
