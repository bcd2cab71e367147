//! What the crate tells of a request is one line a thing, and holds no secrets.

use std::{borrow::Cow, convert::Infallible, fmt, sync::Arc, sync::Mutex, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request::Parts,
};
use http_body_util::{Empty, Full};
use proptest::prelude::*;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_http_retry::{
    RetryErrorKind, RetryLayer, RetryReport,
    budget::{Refused, RetryBudget},
    classify::{Classify, Opinion, Outcome},
    mounts::Mounts,
    policy::{
        Attempt, Backoff, Decision, Policy, RetryPolicy, StopDecision, StopReason, policy_fn,
    },
    stack::{LayerError, LayerOutcome},
};

use super::events::Log;

type Body = Full<Bytes>;

const BREAKS: [char; 11] = [
    '\r', '\n', '\u{85}', '\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}', '\u{200f}', '\u{61c}',
    '\0', '\u{b}',
];

/// An error that says, and shows, anything.
#[derive(Clone)]
struct Says(String);

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Says {}

fn layer() -> RetryLayer<RetryPolicy> {
    let policy = RetryPolicy::builder().backoff(Backoff::none()).build();
    RetryLayer::new(policy.expect("a valid policy"))
}

fn get(url: &str) -> Request<Body> {
    Request::get(url).body(Body::default()).expect("a request")
}

fn assert_clean(what: &str, text: &str, lines: bool) {
    assert!(!text.contains("5ecret"), "{what}: {text:?}");
    let text = if lines {
        text.replace('\n', "")
    } else {
        text.to_owned()
    };
    assert!(!text.contains(BREAKS), "{what}: {text:?}");
}

/// Every form in which a report leaves.
fn assert_report(report: &RetryReport) {
    // The lines of the timeline are the report's own.
    assert_clean("Display", &report.to_string(), true);
    assert_clean("Debug", &format!("{report:?}"), false);
    assert_clean("stop", &report.stop.to_string(), false);
    for attempt in &report.attempts {
        assert_clean("outcome", &attempt.outcome.to_string(), false);
        for note in attempt.notes() {
            assert_clean("note", &note.to_string(), false);
        }
    }
    #[cfg(feature = "serde")]
    {
        let json = serde_json::to_value(report).expect("it can be written");
        assert_strings(&json);
    }
}

#[cfg(feature = "serde")]
fn assert_strings(json: &serde_json::Value) {
    use serde_json::Value;

    match json {
        Value::String(text) => assert_clean("serde", text, false),
        Value::Array(all) => all.iter().for_each(assert_strings),
        Value::Object(all) => all.values().for_each(assert_strings),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn said() -> impl Strategy<Value = String> {
    let noise = || {
        let char = prop_oneof![
            2 => proptest::char::range('a', 'z'),
            2 => proptest::sample::select(&BREAKS[..]),
            1 => proptest::sample::select(&[' ', ':', '/', '(', '"'][..]),
        ];
        proptest::collection::vec(char, 0..8).prop_map(String::from_iter)
    };
    let secret = proptest::sample::select(
        &[
            "https://joe:5ecret@proxy.test:8080",
            "https://a.test/x?key=5ecret",
            "/cb?5ecret",
            "joe:5ecret@proxy",
        ][..],
    );
    (noise(), secret, noise())
        .prop_map(|(before, secret, after)| format!("{before} {secret} {after}"))
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().expect("a runtime").block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_others_say_the_report_is_clean(said in said()) {
        block_on(async {
            // The error of an attempt.
            let text = said.clone();
            let failing = service_fn(move |_: Request<Body>| {
                let error = Says(text.clone());
                async { Err::<Response<Body>, _>(error) }
            });
            let url = "http://joe:5ecret@a.test/x?key=5ecret";
            let error = layer().layer(failing).oneshot(get(url)).await.expect_err("it fails");
            assert_report(error.report());
            assert_clean("Display", &error.to_string(), false);
            assert_clean("Debug", &format!("{error:?}"), false);
            // What the caller gets is the error as it was.
            assert_eq!(error.downcast_inner::<Says>().map(|inner| &inner.0), Some(&said));

            // The reason of a classifier, for a retry and against one.
            for forbid in [false, true] {
                let text = said.clone();
                let layer = layer().classify(move |_: &Outcome<'_>| {
                    let because = text.clone().into();
                    if forbid { Opinion::Forbid(because) } else { Opinion::Retry(because) }
                });
                let unavailable = service_fn(|_: Request<Body>| async {
                    let response = Response::builder().status(503).body(Body::default());
                    Ok::<_, Infallible>(response.expect("valid"))
                });
                let response = layer.layer(unavailable).oneshot(get(url)).await.expect("one");
                assert_report(response.extensions().get().expect("a report"));
            }

            everything_else(&said).await;

            // The error of a service that is not ready.
            let mut not_ready = layer().layer(NotReady(said.clone()));
            let error = not_ready.ready().await.expect_err("not ready");
            assert_eq!(error.kind(), RetryErrorKind::NotReady);
            let text = "no request was made: the inner service failed to become ready";
            assert_eq!(error.report().to_string(), text);
            assert_clean("Display", &error.to_string(), false);
            assert_clean("Debug", &format!("{error:?}"), false);

            // The error of a body.
            let text = said.clone();
            let layer = layer().reopen_bodies(move |_: &_| Err::<Body, _>(Says(text.clone())));
            let reset = service_fn(|_: Request<Body>| async {
                Err::<Response<Body>, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
            });
            let error = layer.layer(reset).oneshot(get(url)).await.expect_err("it fails");
            assert_eq!(error.kind(), RetryErrorKind::Body);
            assert_clean("Display", &error.to_string(), false);
            assert_clean("Debug", &format!("{error:?}"), false);
        });
    }
}

/// A classifier of this name.
struct Named(String, Opinion);

impl Classify for Named {
    fn name(&self) -> &str {
        &self.0
    }

    fn classify(&self, _: &Outcome<'_>) -> Opinion {
        self.1.clone()
    }
}

/// What is told of a request that a layer like this sends to a server that does nothing else.
async fn tell<P, F>(layer: RetryLayer<P>, url: &str, serve: F)
where
    P: Policy + Clone,
    F: Fn() -> Result<Response<Body>, BoxError> + Clone,
{
    let log = Log::new();
    let _guard = tracing::subscriber::set_default(log.clone());
    let events = Arc::new(Mutex::new(Vec::new()));
    let layer = layer.on_event({
        let events = Arc::clone(&events);
        move |event| {
            let mut events = events.lock().expect("no panic");
            events.push(event.to_string());
            events.push(format!("{event:?}"));
            events.extend(event.url().map(str::to_owned));
        }
    });
    let service = service_fn(move |_: Request<Body>| std::future::ready(serve()));
    match layer.layer(service).oneshot(get(url)).await {
        Ok(response) => assert_report(response.extensions().get().expect("a report")),
        Err(error) => {
            assert_report(error.report());
            assert_clean("Display", &error.to_string(), false);
            assert_clean("Debug", &format!("{error:?}"), false);
        }
    }
    let events = std::mem::take(&mut *events.lock().expect("no panic"));
    assert!(!events.is_empty());
    for event in events {
        assert_clean("event", &event, false);
    }
    let logged = log.texts();
    assert!(!logged.is_empty());
    for (field, text) in logged {
        assert_clean(field, &text, false);
    }
}

/// Everywhere else that somebody may say it.
async fn everything_else(said: &str) {
    // Another URL is in the path.
    let url = "http://joe:5ecret@a.test/to/https://joe:5ecret@b.test/x?key=5ecret";
    let unavailable = || {
        let response = Response::builder().status(503).body(Body::default());
        Ok(response.expect("valid"))
    };
    let text = || Cow::from(said.to_owned());
    for opinion in [
        Opinion::Retry(text()),
        Opinion::RetryIn(text(), Duration::ZERO),
        Opinion::Unprocessed(text()),
        Opinion::Forbid(text()),
    ] {
        let classifier = Named(said.to_owned(), opinion.clone());
        tell(layer().classify(classifier), url, unavailable).await;

        let outcome = || {
            let mut outcome = LayerOutcome::new(said.to_owned());
            outcome.opinion = opinion.clone();
            outcome.url = Some(url.parse().expect("valid"));
            outcome.wait = Some(Duration::ZERO);
            outcome
        };
        tell(layer(), url, || {
            let mut response = unavailable()?;
            response.extensions_mut().insert(outcome());
            Ok(response)
        })
        .await;
        tell(layer(), url, || Err(LayerError::new(outcome()).into())).await;
        assert_clean("LayerError", &LayerError::new(outcome()).to_string(), false);
    }

    // The server's headers, as far as they can be sent.
    let value: String = said.chars().filter(|c| !c.is_control()).collect();
    let value = HeaderValue::from_bytes(value.as_bytes()).expect("no control characters");
    tell(layer(), url, || {
        let mut response = unavailable()?;
        for name in ["retry-after", "x-ratelimit-reset", "ratelimit"] {
            response.headers_mut().insert(name, value.clone());
        }
        Ok(response)
    })
    .await;

    // Hooks, and a policy of the user's own.
    let refuses = |error: String| move |_: &mut _, _: &_| Err::<(), BoxError>(error.clone().into());
    tell(
        layer().before_retry(refuses(said.to_owned())),
        url,
        unavailable,
    )
    .await;
    let moves = |parts: &mut Parts, _: &_| {
        parts.uri = Uri::from_static("http://joe:5ecret@b.test/http://joe:5ecret@c.test/?5ecret");
    };
    tell(layer().before_retry(moves), url, unavailable).await;
    let path = said.to_owned();
    tell(
        layer().redact_paths(move |_| path.clone()),
        url,
        unavailable,
    )
    .await;
    let stops = text();
    let stops = policy_fn(move |_: &Attempt<'_>| {
        Decision::Stop(StopDecision::because(StopReason::Custom(stops.clone())))
    });
    tell(RetryLayer::new(stops), url, unavailable).await;

    // No mount is like the URL.
    let mounts = Mounts::new().mount("https://a.test/to/", RetryPolicy::default());
    tell(RetryLayer::new(mounts.expect("valid")), url, unavailable).await;
}

#[derive(Clone, Debug)]
struct NotReady(String);

impl Service<Request<Body>> for NotReady {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<Body>, BoxError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Err(Box::new(Says(self.0.clone()))))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[test]
fn a_secret_in_a_path_is_hidden_in_everything_that_leaves() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let layer = layer()
        .redact_paths(|path| path.replace("5ecret", "-"))
        .on_event(move |event| {
            told.lock().expect("no panic").push(format!("{event:?}"));
        });
    let failing = service_fn(|request: Request<Body>| async move {
        let text = format!("error sending request for url ({})", request.uri());
        Err::<Response<Body>, _>(Says(text))
    });
    let request = get("https://api.test/bot5ecret/send?chat=1");
    let error = block_on(layer.layer(failing).oneshot(request)).expect_err("it fails");
    assert_report(error.report());
    assert_eq!(error.report().url, "https://api.test/bot-/send");
    assert!(
        error
            .report()
            .to_string()
            .contains("(https://api.test/bot-/send)")
    );
    let events = events.lock().expect("no panic");
    assert!(!events.is_empty());
    assert!(
        events.iter().all(|event| !event.contains("5ecret")),
        "{events:?}"
    );
}

#[test]
fn what_is_kept_of_a_response_is_bounded_whatever_its_headers_are() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("0"));
    for n in 0..16 {
        let long = format!("x-ratelimit-{}{n}", "a".repeat(20_000));
        let name = HeaderName::try_from(long).expect("a name");
        headers.insert(name, HeaderValue::from_static("1"));
        let name = HeaderName::try_from(format!("x-ratelimit-{n}")).expect("a name");
        // No text, so each byte becomes three.
        headers.insert(
            name,
            HeaderValue::from_bytes(&[0xff; 5000]).expect("a value"),
        );
    }
    let failing = service_fn(move |_: Request<Body>| {
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        *response.headers_mut() = headers.clone();
        async { Ok::<_, Infallible>(response) }
    });
    let response = block_on(layer().layer(failing).oneshot(get("http://a.test/"))).expect("one");
    let report: &RetryReport = response.extensions().get().expect("a report");
    for attempt in &report.attempts {
        let hint = attempt.hint.as_ref().expect("a hint");
        let bytes: usize = hint
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        assert!(
            hint.headers.len() <= 16 && bytes <= 16 * (64 + 256),
            "{bytes}"
        );
        assert!(hint.headers.iter().any(|(name, _)| name == "retry-after"));
    }
}

#[test]
fn effects_count_what_the_server_can_have_done() {
    fn effects(statuses: &'static [u16], judged: Option<fn() -> Opinion>) -> (u32, u32) {
        let mut layer = layer();
        if let Some(opinion) = judged {
            layer = layer.classify(move |exchange: &Outcome<'_>| match exchange {
                Outcome::Response { status, .. } if *status == 202 => opinion(),
                _ => Opinion::NoOpinion,
            });
        }
        let script = Arc::new(Mutex::new(statuses.iter()));
        let server = service_fn(move |_: Request<Body>| {
            let status = script
                .lock()
                .expect("no panic")
                .next()
                .copied()
                .unwrap_or(200);
            let response = Response::builder().status(status).body(Body::default());
            async { Ok::<_, Infallible>(response.expect("valid")) }
        });
        let mut request = get("http://a.test/");
        *request.method_mut() = Method::PUT;
        let response = block_on(layer.layer(server).oneshot(request)).expect("a response");
        let report: &RetryReport = response.extensions().get().expect("a report");
        let effects = report.effects();
        (*effects.start(), *effects.end())
    }
    let failed = || Opinion::Retry("gRPC 14".into());
    let unprocessed = || Opinion::Unprocessed("not taken".into());
    let forbidden = || Opinion::Forbid("no".into());
    assert_eq!(effects(&[503, 200], None), (1, 2));
    assert_eq!(effects(&[425, 200], None), (1, 1));
    assert_eq!(effects(&[421], None), (0, 0));
    assert_eq!(effects(&[202, 202, 200], Some(failed)), (1, 3));
    assert_eq!(effects(&[202, 200], Some(unprocessed)), (1, 1));
    // Judged a failure, and not repeated.
    assert_eq!(effects(&[202], Some(forbidden)), (0, 1));
}

#[cfg(feature = "serde")]
#[test]
fn a_report_with_more_headers_than_a_map_can_hold_is_replayed() {
    let headers: Vec<_> = (0..40_000)
        .map(|n| (format!("x-ratelimit-{n}"), "1"))
        .collect();
    let unavailable = service_fn(|_: Request<Body>| async {
        let response = Response::builder().status(503).header("retry-after", "0");
        Ok::<_, Infallible>(response.body(Body::default()).expect("valid"))
    });
    let request = get("http://a.test/");
    let response = block_on(layer().layer(unavailable).oneshot(request)).expect("one");
    let report: &RetryReport = response.extensions().get().expect("a report");
    let mut json = serde_json::to_value(report).expect("it can be written");
    for attempt in json["attempts"].as_array_mut().expect("attempts") {
        attempt["hint"]["headers"] = serde_json::to_value(&headers).expect("headers");
        attempt["outcome"] = serde_json::json!({
            "failed": {"kind": "read", "cause": "unknown", "error": "a\n\u{202e}https://a:5ecret@b/?5ecret"},
        });
    }
    json["url"] = "http://a.test/\r\nx".into();
    let read: RetryReport = serde_json::from_value(json).expect("it can be read");
    let _ = read.replay(&RetryPolicy::default()).to_string();
    // What was read back is shown in its lines, too.
    assert!(!read.to_string().contains(['\r', '\u{202e}']));
}

/// Reports with every kind of text in them.
#[cfg(feature = "serde")]
fn reports() -> Vec<serde_json::Value> {
    use serde_json::json;

    let words = [
        json!({"vetoed": {"by": "X", "because": "X"}}),
        json!({"no_mount": {"nearest": ["X", "X"]}}),
        json!({"custom": "X"}),
        json!({"rejected": {"by": "X", "retry_in": 1.5}}),
    ];
    let notes = [
        json!({"no_mount": {"nearest": ["X"]}}),
        json!({"unprocessed": {"by": "X", "because": "X"}}),
        json!({"reclassified": {"by": "X", "because": "X"}}),
        json!({"body_vouched": {"by": "X"}}),
    ];
    let evidence = [
        json!({"vouched": {"type_name": "X"}}),
        json!({"unvouched": {"link": 1, "shown_as": "X"}}),
    ];
    let mut reports = Vec::new();
    for n in 0..4 {
        reports.push(json!({
            "version": 1,
            "method": "GET",
            "url": "X",
            "attempts": [{
                "number": 1,
                "started": 0.0,
                "took": 0.1,
                "url": "X",
                "outcome": {
                    "failed": {"kind": "read", "cause": "io", "sent": "unknown", "error": "X"},
                },
                "wait": {"planned": 0.1, "why": {"opinion": {"by": "X"}}},
                "gates": {"passed": 1, "failed": 2},
                "note": notes[n],
                "layer_notes": notes,
                "hint": {
                    "at": {"secs_since_epoch": 0, "nanos_since_epoch": 0},
                    "headers": [["X", "X"]],
                },
                "evidence": evidence[n % 2],
                "drained": {"bytes": 1, "took": 0.1, "complete": true},
            }],
            "stop": words[n],
            "elapsed": 0.2,
        }));
    }
    reports
}

#[cfg(feature = "serde")]
fn replaced(json: &mut serde_json::Value, said: &str) {
    use serde_json::Value;

    match json {
        Value::String(text) if text == "X" => said.clone_into(text),
        Value::Array(all) => all.iter_mut().for_each(|json| replaced(json, said)),
        Value::Object(all) => all.values_mut().for_each(|json| replaced(json, said)),
        _ => {}
    }
}

#[cfg(feature = "serde")]
proptest! {
    #[test]
    fn a_report_that_is_read_back_is_as_clean_as_one_that_is_made(said in said()) {
        for mut report in reports() {
            replaced(&mut report, &said);
            let read: RetryReport = serde_json::from_value(report).expect("it can be read");
            assert_report(&read);
            // Nor does anything get lost on the way.
            let written = serde_json::to_value(&read).expect("it can be written");
            let again: RetryReport = serde_json::from_value(written).expect("it can be read");
            assert_eq!(again, read);
        }
    }
}

/// What was clean stays as it was: nothing is redacted twice.
#[cfg(feature = "serde")]
#[test]
fn a_report_is_the_same_after_it_was_read_back() {
    for url in [
        "https://a.test/x",
        "https://[::1]:8443/@a/b;c=d",
        "a.test:443",
    ] {
        for mut report in reports() {
            replaced(&mut report, url);
            let read: RetryReport = serde_json::from_value(report.clone()).expect("it is read");
            assert_eq!(serde_json::to_value(&read).expect("it is written"), report);
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_report_has_a_version_and_one_without_is_read() {
    let mut report = reports().remove(0);
    let read = |report: &serde_json::Value| serde_json::from_value::<RetryReport>(report.clone());
    let now = read(&report).expect("it can be read");
    assert_eq!(
        serde_json::to_value(&now).expect("it is written")["version"],
        1
    );
    report["version"] = 2.into();
    let error = read(&report).expect_err("a newer one").to_string();
    assert!(
        error.starts_with("`version` is 2,") && error.ends_with("reads up to 1"),
        "{error}"
    );
    let fields = report.as_object_mut().expect("an object");
    fields.remove("version");
    // As an older version wrote it.
    fields.insert("stop".to_owned(), "budget_exhausted".into());
    let old = read(&report).expect("it can be read");
    assert_eq!(old.stop, StopReason::BudgetExhausted(Refused::default()));
    assert_eq!(old.attempts, now.attempts);
    assert_eq!(old.stop.to_string(), "the shared retry budget is used up");
}

/// R6
#[test]
fn an_exhausted_budget_says_what_it_had_and_what_was_needed() {
    let budget = RetryBudget::builder()
        .capacity(1)
        .ratio(0.25)
        .min_per_second(0);
    let policy = RetryPolicy::builder()
        .backoff(Backoff::none())
        .budget(budget.build().expect("valid"));
    let layer = RetryLayer::new(policy.build().expect("valid"));
    let unavailable = service_fn(|_: Request<Body>| async {
        let response = Response::builder().status(503).body(Body::default());
        Ok::<_, Infallible>(response.expect("valid"))
    });
    let response = block_on(layer.layer(unavailable).oneshot(get("http://a.test/"))).expect("one");
    let report: &RetryReport = response.extensions().get().expect("a report");
    let StopReason::BudgetExhausted(refused) = report.stop else {
        panic!("{report}");
    };
    let (balance, needed) = (refused.balance(), refused.needed());
    assert!(balance.is_some() && balance < needed, "{refused}");
    let line = format!(
        "the shared retry budget is used up: {} tokens left, {} needed",
        balance.expect("known"),
        needed.expect("known")
    );
    assert!(report.to_string().ends_with(&line), "{report}");
    #[cfg(feature = "serde")]
    {
        let json = serde_json::to_value(report).expect("it can be written");
        let read: RetryReport = serde_json::from_value(json).expect("it can be read");
        assert_eq!(read.stop, report.stop);
    }
}
