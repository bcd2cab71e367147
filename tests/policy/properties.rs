//! What holds whatever a policy is told and whatever happens to a request.
//!
//! Properties of a single part stand beside it: backoff, hints, budget, replayed bodies, snapshots,
//! mounts, and the round trip of configurations.

use std::{
    cell::RefCell,
    collections::VecDeque,
    error::Error,
    fmt, io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use proptest::{collection::vec, prelude::*, sample::select};
use tower::{Layer, ServiceExt, service_fn};
use tower_http_retry::{
    BoxError, RetryLayer, RetryReport,
    classify::{Cause, Failure, FailureKind, Outcome, Sent, classify},
    dry_run::ScriptedOutcome,
    policy::{
        Attempt, Backoff, Decision, Eligibility, Idempotent, Jitter, Limit, LimitKind, Methods,
        Policy, Preset, RequestHead, RetryAfterMode, RetryPolicy, RetryPolicyBuilder, Session,
        WaitReason,
    },
};

// --- policies ----------------------------------------------------------------------------------

fn limit(most: i64) -> impl Strategy<Value = Limit> {
    prop_oneof![
        1 => Just(Limit::Never),
        2 => Just(Limit::Unlimited),
        5 => (0..most).prop_map(Limit::AtMost),
    ]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (0..10_000_u64).prop_map(Duration::from_millis),
        any::<u64>().prop_map(Duration::from_nanos),
    ]
}

fn backoff() -> impl Strategy<Value = Backoff> {
    let jitter = prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        Just(Jitter::Decorrelated),
        (0..1000_u64).prop_map(|ms| Jitter::Additive(Duration::from_millis(ms))),
    ];
    (duration(), 0..4_u8, duration(), jitter).prop_map(|(base, kind, max, jitter)| {
        let backoff = match kind {
            0 => Backoff::constant(base),
            1 => Backoff::exponential(base),
            2 => Backoff::linear(base),
            _ => Backoff::fibonacci(base),
        };
        backoff.max(max).jitter(jitter)
    })
}

fn methods() -> impl Strategy<Value = Option<Methods>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(Methods::any())),
        1 => vec(select(vec![Method::GET, Method::POST, Method::PATCH]), 0..3)
            .prop_map(|methods| Some(methods.into())),
    ]
}

fn of(preset: Preset) -> RetryPolicyBuilder {
    match preset {
        Preset::Urllib3 => RetryPolicy::urllib3_builder(),
        _ => RetryPolicy::builder(),
    }
}

/// Any policy without a budget.
fn policy() -> impl Strategy<Value = RetryPolicy> {
    let limits = (limit(6), limit(4), limit(4), limit(4), limit(4));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let preset = select(&[Preset::Default, Preset::Urllib3][..]);
    let hints = (duration(), 0.0..=1.0, any::<u64>());
    // 200 is what a script ends with: a policy without limits would repeat it forever.
    let statuses = vec(
        (100_u16..1000).prop_filter("200 ends a script", |status| *status != 200),
        0..8,
    );
    (
        preset,
        limits,
        0..4_u32,
        methods(),
        statuses,
        backoff(),
        flags,
        hints,
    )
        .prop_map(
            |(preset, limits, unprocessed, methods, statuses, backoff, flags, hints)| {
                let (total, connect, read, status, other) = limits;
                let (respect, clamp, raise) = flags;
                let (cap, jitter, seed) = hints;
                let mut policy = of(preset)
                    .total(total)
                    .connect(connect)
                    .read(read)
                    .status(status)
                    .other(other)
                    .unprocessed(unprocessed)
                    // Those that mean something, and any.
                    .status_forcelist([429, 500, 503].into_iter().chain(statuses))
                    .backoff(backoff)
                    .respect_retry_after_header(respect)
                    .retry_after_max(cap)
                    .retry_after_mode(if clamp {
                        RetryAfterMode::Clamp
                    } else {
                        RetryAfterMode::GiveUp
                    })
                    .retry_after_jitter(jitter)
                    .raise_on_status(raise)
                    .budget(None)
                    .seed(seed);
                if let Some(methods) = methods {
                    policy = policy.allowed_methods(methods);
                }
                policy.build().expect("a valid policy")
            },
        )
}

// --- requests, and what happens to them --------------------------------------------------------

fn request() -> impl Strategy<Value = Request<()>> {
    let methods = [
        "GET", "HEAD", "PUT", "DELETE", "POST", "PATCH", "QUERY", "CUSTOM",
    ];
    (select(methods.to_vec()), any::<bool>(), any::<bool>()).prop_map(|(method, keyed, marked)| {
        let mut request = Request::builder().method(method).uri("http://a.test/");
        if keyed {
            request = request.header("idempotency-key", "\"a\"");
        }
        if marked {
            request = request.extension(Idempotent);
        }
        request.body(()).expect("a request")
    })
}

const CAUSES: [Cause; 37] = [
    Cause::ConnectionRefused,
    Cause::Dns,
    Cause::ConnectTimeout,
    Cause::ConnectReset,
    Cause::TlsHandshake,
    Cause::ConnectOther,
    Cause::Overloaded,
    Cause::Canceled,
    Cause::RefusedStream,
    Cause::GoAway,
    Cause::IncompleteMessage,
    Cause::ConnectionReset,
    Cause::BrokenPipe,
    Cause::UnexpectedEof,
    Cause::Timeout,
    Cause::AttemptTimeout,
    Cause::InvalidResponse,
    Cause::ResponseBody,
    Cause::Http2(2),
    Cause::EnhanceYourCalm,
    Cause::DispatchGone,
    Cause::Io,
    Cause::Certificate,
    Cause::ClientCertificate,
    Cause::TlsProtocol,
    Cause::UnsupportedScheme,
    Cause::InvalidUri,
    Cause::UnsupportedVersion,
    Cause::RequestBody,
    Cause::InvalidRequest,
    Cause::Redirect,
    Cause::Status(StatusCode::SERVICE_UNAVAILABLE),
    Cause::Status(StatusCode::NOT_FOUND),
    Cause::Unknown,
    // The most frequent ones, once more.
    Cause::ConnectionRefused,
    Cause::ConnectionReset,
    Cause::RefusedStream,
];

fn outcome() -> impl Strategy<Value = ScriptedOutcome> {
    let names = [
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "grpc-retry-pushback-ms",
        "ratelimit",
        "ratelimit-reset",
        "x-ratelimit-reset",
        "x-ratelimit-remaining",
        "location",
        "date",
    ];
    let value = prop_oneof![
        (0..100_u32).prop_map(|number| number.to_string()),
        any::<i128>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        "[ -~]{0,20}",
        select(
            &[
                "true",
                "false",
                "-1",
                "Fri, 31 Dec 9999 23:59:59 GMT",
                "99999999999999999999",
            ][..]
        )
        .prop_map(str::to_owned),
    ];
    let response = (
        prop_oneof![
            4 => select(&[429_u16, 500, 503][..]),
            1 => 100..1000_u16,
        ],
        vec((select(names.to_vec()), value), 0..3),
    )
        .prop_map(|(status, headers)| {
            let status = StatusCode::from_u16(status).expect("a status");
            headers.into_iter().fold(
                ScriptedOutcome::response(status),
                |response, (name, value)| {
                    let value = HeaderValue::try_from(value).expect("visible ASCII");
                    response.header(HeaderName::from_static(name), value)
                },
            )
        });
    let sent = select(
        &[
            Sent::Never,
            Sent::Unprocessed,
            Sent::Unknown,
            Sent::Answered,
        ][..],
    );
    let failure = (select(&CAUSES[..]), sent)
        .prop_map(|(cause, sent)| ScriptedOutcome::failure(Failure::new(cause, sent)));
    prop_oneof![failure, response]
}

/// Decides until the end, or until there is no outcome left: each outcome, and what was decided.
fn decided<'a>(
    policy: &RetryPolicy,
    request: &Request<()>,
    outcomes: &'a [ScriptedOutcome],
) -> Vec<(Outcome<'a>, Decision)> {
    let mut session = policy.session(&RequestHead::of(request));
    let mut decisions = Vec::new();
    if let Eligibility::Never(_) = session.eligibility() {
        // It is not asked.
        return decisions;
    }
    for (number, outcome) in (1..).zip(outcomes) {
        let outcome = outcome.outcome();
        if let Outcome::Response { status, headers } = outcome {
            if session.is_final(status, headers) {
                break;
            }
        }
        let decision = session.decide(&Attempt::new(number, request.method(), outcome));
        let goes_on = matches!(decision, Decision::Retry(_));
        decisions.push((outcome, decision));
        if !goes_on {
            break;
        }
    }
    decisions
}

fn most(limit: Limit) -> usize {
    match limit {
        Limit::Never => 0,
        Limit::AtMost(most) => usize::try_from(most).unwrap_or(0),
        Limit::Unlimited => usize::MAX,
    }
}

/// Whether the request may be sent again although it may have been applied.
fn may_repeat(policy: &RetryPolicy, request: &Request<()>) -> bool {
    let keyed = request.headers().contains_key("idempotency-key");
    policy.allowed_methods().contains(request.method())
        || request.extensions().get::<Idempotent>().is_some()
        || policy.preset() == Preset::Default && keyed
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_limit_is_ever_exceeded(
        policy in policy(),
        request in request(),
        outcomes in vec(outcome(), 1..40),
    ) {
        let decisions = decided(&policy, &request, &outcomes);
        let mut retries = 0;
        let mut free = 0;
        let mut charged = [0; LimitKind::ALL.len()];
        for (_, decision) in &decisions {
            let Decision::Retry(retry) = decision else { continue };
            retries += 1;
            match retry.charged {
                None => free += 1,
                Some(kind) => {
                    let at = LimitKind::ALL.iter().position(|known| *known == kind);
                    charged[at.expect("a kind")] += 1;
                }
            }
        }
        let total = most(policy.total());
        prop_assert!(retries - free <= total, "{} of {total}", retries - free);
        prop_assert!(retries <= total.saturating_add(policy.unprocessed() as usize));
        prop_assert!(total > 0 || retries == 0, "none is none");
        prop_assert!(free <= policy.unprocessed() as usize);
        prop_assert!(policy.preset() == Preset::Default || free == 0);
        for (kind, charged) in LimitKind::ALL.into_iter().zip(charged) {
            prop_assert!(charged <= most(policy.limit(kind)), "{charged} of {kind}");
        }
    }

    #[test]
    fn what_may_have_been_applied_is_repeated_only_where_it_may_be(
        policy in policy(),
        request in request(),
        outcomes in vec(outcome(), 1..40),
    ) {
        let may_repeat = may_repeat(&policy, &request);
        for (outcome, decision) in decided(&policy, &request, &outcomes) {
            let Decision::Retry(_) = decision else { continue };
            match (outcome, policy.preset()) {
                _ if may_repeat => {}
                (Outcome::Error { failure, .. }, Preset::Default) => {
                    let sent = failure.sent;
                    prop_assert!(sent.is_safe_to_repeat(), "{}: {sent:?}", failure.cause);
                }
                // urllib3's `other` ignores the method.
                (Outcome::Error { failure, .. }, _) => {
                    let kind = failure.kind;
                    let is_free = failure.sent.is_safe_to_repeat() || kind == FailureKind::Other;
                    prop_assert!(is_free, "{}: {kind}", failure.cause);
                }
                (Outcome::Response { status, .. }, _) => {
                    prop_assert!(false, "{status} of a {}", request.method());
                }
                _ => {}
            }
        }
    }

    #[test]
    fn what_cannot_work_is_not_repeated(
        policy in policy(),
        request in request(),
        outcomes in vec(outcome(), 1..40),
    ) {
        for (outcome, decision) in decided(&policy, &request, &outcomes) {
            let (Decision::Retry(_), Outcome::Error { failure, .. }) = (decision, outcome) else {
                continue;
            };
            let cause = failure.cause;
            prop_assert!(!cause.is_user_error(), "{cause}");
            prop_assert!(policy.preset() == Preset::Urllib3 || !cause.is_permanent(), "{cause}");
        }
    }

    #[test]
    fn a_wait_has_a_reason_and_keeps_its_bounds(
        policy in policy(),
        request in request(),
        outcomes in vec(outcome(), 1..40),
    ) {
        let cap = policy.retry_after_max();
        let jitter = cap.as_secs_f64() * policy.retry_after_jitter() * 1.000_001;
        let jitter = Duration::try_from_secs_f64(jitter).unwrap_or(Duration::MAX);
        for (_, decision) in decided(&policy, &request, &outcomes) {
            let Decision::Retry(retry) = decision else { continue };
            let wait = retry.wait;
            match retry.why {
                WaitReason::Immediate => prop_assert_eq!(wait, Duration::ZERO),
                WaitReason::NeverProcessed => {
                    prop_assert_eq!(wait, Duration::ZERO);
                    prop_assert_eq!(retry.charged, None);
                }
                WaitReason::Backoff => {
                    prop_assert!(wait <= policy.backoff().get_max(), "{wait:?}");
                }
                WaitReason::ServerHint(_) | WaitReason::ServerHintClamped(_) => {
                    prop_assert!(policy.respect_retry_after_header());
                    let asked = retry.asked.expect("a time was asked for");
                    prop_assert!(asked <= cap, "{asked:?} of {cap:?}");
                    prop_assert!(wait >= asked, "{wait:?} for {asked:?}");
                    prop_assert!(wait <= asked.saturating_add(jitter), "{wait:?} for {asked:?}");
                }
                why => prop_assert!(false, "{why:?} is not the policy's"),
            }
        }
    }

    /// What is kept of a request is let go with its last attempt, so it must be the last.
    #[test]
    fn nothing_follows_the_last_attempt(
        policy in policy(),
        request in request(),
        outcomes in vec(outcome(), 1..40),
    ) {
        let mut is_last = false;
        for (_, decision) in decided(&policy, &request, &outcomes) {
            let Decision::Retry(retry) = decision else { continue };
            prop_assert!(!is_last, "a retry after the last one");
            is_last = retry.last;
        }
    }

    #[test]
    fn the_end_has_a_reason(
        policy in policy(),
        request in request(),
        outcomes in vec(outcome(), 1..40),
    ) {
        for (_, decision) in decided(&policy, &request, &outcomes) {
            if let Decision::Stop(stop) = decision {
                prop_assert!(!stop.reason.is_success());
                prop_assert!(!stop.reason.to_string().is_empty());
            }
        }
    }

    /// A policy that can be built decides, and one that cannot says which number is wrong.
    #[test]
    fn no_number_is_too_much(
        preset in select(&[Preset::Default, Preset::Urllib3][..]),
        limits: [i64; 6],
        unprocessed: u32,
        numbers: [f64; 5],
        request in request(),
        outcomes in vec(outcome(), 1..20),
    ) {
        let [total, connect, read, redirect, status, other] = limits;
        let [factor, max, jitter, cap, part] = numbers;
        let policy = of(preset)
            .total(total)
            .connect(connect)
            .read(read)
            .redirect(redirect)
            .status(status)
            .other(other)
            .unprocessed(unprocessed)
            .status_forcelist([429, 503])
            .backoff_factor(factor)
            .backoff_max(max)
            .backoff_jitter(jitter)
            .retry_after_max(cap)
            .retry_after_jitter(part)
            .budget(None)
            .build();
        match policy {
            Ok(policy) => drop(decided(&policy, &request, &outcomes)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

// --- through the layer -------------------------------------------------------------------------

/// What a server gets of an attempt.
type Arrived = (Method, String, Version, HeaderMap, Option<u64>, Bytes);

fn head() -> impl Strategy<Value = Request<Bytes>> {
    let name = "[a-z][a-z0-9-]{0,12}";
    let value = vec(prop_oneof![32..127_u8, 128..=255_u8], 0..30);
    let path = "(/[a-z0-9%._~-]{0,8}){1,4}(\\?[a-z=&]{0,8})?";
    (
        request(),
        path,
        vec((name, value), 0..12),
        vec(any::<u8>(), 0..200),
        select(vec![Version::HTTP_10, Version::HTTP_11, Version::HTTP_2]),
    )
        .prop_map(|(request, path, headers, content, version)| {
            let (mut parts, ()) = request.into_parts();
            let uri = format!("http://a.test{}", path.replace('%', "%41"));
            parts.uri = uri.parse().expect("a URI");
            for (name, value) in headers {
                parts.headers.append(
                    HeaderName::try_from(name).expect("a name"),
                    HeaderValue::from_bytes(&value).expect("a value"),
                );
            }
            parts.version = version;
            parts.extensions.insert(7_u64);
            Request::from_parts(parts, content.into())
        })
}

/// Sends a request to a server that answers like this in turn, and then with success.
fn send(
    layer: &RetryLayer<RetryPolicy>,
    request: Request<Bytes>,
    outcomes: &[ScriptedOutcome],
) -> (Option<RetryReport>, Vec<Arrived>) {
    let arrived = RefCell::new(Vec::new());
    let left = RefCell::new(outcomes.iter().collect::<VecDeque<_>>());
    let (arriving, leaving) = (&arrived, &left);
    let server = service_fn(move |request: Request<Full<Bytes>>| async move {
        let (parts, body) = request.into_parts();
        let content = body.collect().await.expect("infallible").to_bytes();
        assert!(arriving.borrow().len() < 1000, "repeated without an end");
        arriving.borrow_mut().push((
            parts.method,
            parts.uri.to_string(),
            parts.version,
            parts.headers,
            parts.extensions.get().copied(),
            content,
        ));
        let outcome = leaving.borrow_mut().pop_front();
        match outcome.map(ScriptedOutcome::outcome) {
            Some(Outcome::Error { .. }) => Err(BoxError::from(io::Error::from(
                io::ErrorKind::ConnectionReset,
            ))),
            Some(Outcome::Response { status, headers }) => {
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = status;
                *response.headers_mut() = headers.clone();
                Ok(response)
            }
            _ => Ok(Response::new(Full::default())),
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let sending = layer.layer(server).oneshot(request.map(Full::new));
    let report = match runtime.block_on(sending) {
        Ok(response) => response.extensions().get().cloned(),
        Err(error) => Some(error.report().clone()),
    };
    (report, arrived.into_inner())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_report_tells_every_attempt_and_no_other(
        policy in policy(),
        request in head(),
        outcomes in vec(outcome(), 1..20),
    ) {
        // The wait of a policy with the longest waits would not end before the end of time.
        let layer = RetryLayer::new(policy.clone()).deadline(Duration::from_secs(1_000_000));
        let (report, arrived) = send(&layer, request, &outcomes);
        let attempts = report.as_ref().map_or(1, RetryReport::attempt_count);
        prop_assert_eq!(arrived.len(), attempts);
        let retries = most(policy.total()).saturating_add(policy.unprocessed() as usize);
        prop_assert!(attempts - 1 <= retries, "{attempts}");
        if let Some(report) = report {
            let numbers: Vec<_> = report.attempts.iter().map(|attempt| attempt.number).collect();
            prop_assert_eq!(numbers, (1..).take(attempts).collect::<Vec<u32>>());
            let waits = report.attempts.iter().filter(|attempt| attempt.wait.is_some());
            prop_assert!(waits.count() >= attempts - 1);
            let effects = report.effects();
            prop_assert!(effects.start() <= effects.end());
            prop_assert!(*effects.end() as usize <= attempts);
        }
    }

    #[test]
    fn every_attempt_sends_the_same(
        request in head(),
        outcomes in vec(outcome(), 1..6),
        preset in select(&[Preset::Default, Preset::Urllib3][..]),
    ) {
        let policy = of(preset)
            .total(20)
            .allowed_methods(Methods::any())
            .status_forcelist(400..600)
            .budget(None)
            .build()
            .expect("valid");
        let layer = RetryLayer::new(policy).deadline(Duration::from_secs(1_000_000));
        let (_, arrived) = send(&layer, request, &outcomes);
        for attempt in &arrived {
            prop_assert_eq!(attempt, &arrived[0]);
        }
    }
}

// --- errors ------------------------------------------------------------------------------------

/// An error that says nothing and has a cause.
#[derive(Debug)]
struct Opaque(BoxError);

/// An error that is its own cause.
#[derive(Debug)]
struct Cyclic(String);

/// An error that is one of ten thousand, each the cause of the one before.
#[derive(Debug)]
struct Deep(usize);

const DEPTH: usize = 10_000;

fn deep(at: usize) -> Option<&'static Deep> {
    static CHAIN: OnceLock<Vec<Deep>> = OnceLock::new();
    CHAIN.get_or_init(|| (0..DEPTH).map(Deep).collect()).get(at)
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it failed")
    }
}

impl fmt::Display for Cyclic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Deep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} below", DEPTH - self.0)
    }
}

impl Error for Opaque {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

impl Error for Cyclic {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

impl Error for Deep {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        deep(self.0 + 1).map(|error| error as _)
    }
}

const KINDS: [io::ErrorKind; 12] = [
    io::ErrorKind::ConnectionRefused,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::NotConnected,
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::TimedOut,
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::InvalidData,
    io::ErrorKind::InvalidInput,
    io::ErrorKind::HostUnreachable,
    io::ErrorKind::WouldBlock,
    io::ErrorKind::Other,
];

fn innermost() -> impl Strategy<Value = (u8, io::ErrorKind, String)> {
    (0..4_u8, select(&KINDS[..]), ".{0,80}")
}

fn error((kind, io, text): (u8, io::ErrorKind, String)) -> BoxError {
    match kind {
        0 => io::Error::from(io).into(),
        1 => Cyclic(text).into(),
        2 => Deep(0).into(),
        _ => text.into(),
    }
}

fn wrapped(error: BoxError, kind: u8) -> BoxError {
    match kind {
        0 => Opaque(error).into(),
        1 => io::Error::other(error).into(),
        2 => Arc::new(Opaque(error)).into(),
        _ => Box::new(Opaque(error)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_chain_of_errors_is_classified(
        innermost in innermost(),
        wrappers in vec(0..4_u8, 0..40),
    ) {
        let error = wrappers.iter().fold(error(innermost), |error, kind| wrapped(error, *kind));
        let failure = classify(&*error);
        // Nothing in such a chain proves anything.
        prop_assert!(!failure.sent.is_safe_to_repeat());
        prop_assert!(matches!(failure.kind, FailureKind::Read | FailureKind::Other));
        prop_assert_eq!(classify(&*error), failure);
    }

    /// What wraps an error does not hide what it is, up to the documented depth.
    #[test]
    fn a_wrapper_hides_nothing(
        kind in select(&KINDS[..]),
        wrappers in vec(select(&[0_u8, 2, 3][..]), 0..14),
    ) {
        let bare = classify(&io::Error::from(kind));
        let error = wrappers
            .iter()
            .fold(io::Error::from(kind).into(), |error, kind| wrapped(error, *kind));
        prop_assert_eq!(classify(&*error), bare);
    }

    /// A chain without an end ends in a report all the same.
    #[test]
    fn any_chain_of_errors_is_reported(
        innermost in innermost(),
        wrappers in vec(0..4_u8, 0..40),
        preset in select(&[Preset::Default, Preset::Urllib3][..]),
    ) {
        let make = || {
            let error = error(innermost.clone());
            wrappers.iter().fold(error, |error, kind| wrapped(error, *kind))
        };
        let server = service_fn(|_: Request<Full<Bytes>>| {
            let error = make();
            async { Err::<Response<Full<Bytes>>, _>(error) }
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let policy = of(preset).total(2).budget(None).build().expect("valid");
        let request = Request::get("http://a.test/").body(Full::default()).expect("a request");
        let sending = RetryLayer::new(policy).layer(server).oneshot(request);
        let error = runtime.block_on(sending).expect_err("it fails");
        prop_assert!(error.report().attempt_count() <= 3);
        prop_assert!(!error.report().stop.is_success());
        prop_assert!(error.to_string().len() < 10_000);
        prop_assert!(error.report().to_string().len() < 10_000);
    }
}
