//! What the crate tells of a request is one line a thing, and holds no secrets.

use std::{convert::Infallible, fmt, sync::Arc, sync::Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use proptest::prelude::*;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_http_retry::{
    RetryErrorKind, RetryLayer, RetryReport,
    classify::{Opinion, Outcome},
    policy::{Backoff, RetryPolicy},
};

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
