//! The spans of attempts, as OpenTelemetry gets them.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use opentelemetry::{
    Value,
    trace::{SpanKind, Status, TracerProvider},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http_retry::{
    BoxError, RetryLayer,
    policy::{Backoff, RetryPolicy},
    telemetry::AttemptSpanLayer,
};
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

type Body = Full<Bytes>;

fn exported() -> (InMemorySpanExporter, SdkTracerProvider) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    (exporter, provider)
}

fn attribute(span: &SpanData, name: &str) -> Option<Value> {
    let mut all = span.attributes.iter();
    let found = all.find(|attribute| attribute.key.as_str() == name)?;
    Some(found.value.clone())
}

fn policy() -> RetryPolicy {
    RetryPolicy::builder()
        .backoff(Backoff::constant(Duration::from_millis(50)))
        .build()
        .expect("a policy")
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_a_client_span_and_a_child_of_the_caller_s() {
    let (exporter, provider) = exported();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let _guard = tracing::subscriber::set_default(subscriber);

    // A 503, a reset connection, an attempt that takes too long, and a success.
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(policy()).attempt_timeout(Duration::from_secs(1)))
        .layer(AttemptSpanLayer::new())
        .service(service_fn(move |_: Request<Body>| {
            let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move {
                let status = match call {
                    0 => 503,
                    1 => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
                    2 => std::future::pending().await,
                    _ => 200,
                };
                Ok(Response::builder()
                    .status(status)
                    .body(Body::default())
                    .expect("valid"))
            }
        }));
    let request = Request::get("http://user:secret@a.test:8080/x?token=secret")
        .body(Body::default())
        .expect("valid");
    let caller = tracing::info_span!("caller");
    let response = stack.oneshot(request).instrument(caller).await;
    assert!(response.expect("a response").status().is_success());

    let spans = exporter.get_finished_spans().expect("the spans");
    let caller = spans
        .iter()
        .find(|span| span.name == "caller")
        .expect("the caller's");
    let attempts: Vec<_> = spans.iter().filter(|span| span.name != "caller").collect();
    assert_eq!(attempts.len(), 4);
    let string = |text: &str| Some(Value::from(text.to_owned()));
    for (number, (span, (status, error))) in attempts
        .iter()
        .zip([
            (Some(503), Some("503")),
            (None, Some("ConnectionReset")),
            (None, Some("timeout")),
            (Some(200), None),
        ])
        .enumerate()
    {
        assert_eq!(span.parent_span_id, caller.span_context.span_id());
        assert_eq!(span.span_context.trace_id(), caller.span_context.trace_id());
        assert_eq!((&*span.name, &span.span_kind), ("GET", &SpanKind::Client));
        assert_eq!(attribute(span, "http.request.method"), string("GET"));
        assert_eq!(attribute(span, "url.full"), string("http://a.test:8080/x"));
        assert_eq!(attribute(span, "server.address"), string("a.test"));
        assert_eq!(attribute(span, "server.port"), Some(Value::I64(8080)));
        let resent = (number > 0).then_some(Value::I64(number as i64));
        assert_eq!(attribute(span, "http.request.resend_count"), resent);
        let status = status.map(Value::I64);
        assert_eq!(attribute(span, "http.response.status_code"), status);
        assert_eq!(attribute(span, "error.type"), error.and_then(string));
        let failed = matches!(span.status, Status::Error { .. });
        assert_eq!(failed, error.is_some(), "{:?}", span.status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_method_that_is_not_well_known_does_not_name_the_span() {
    let (exporter, provider) = exported();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let _guard = tracing::subscriber::set_default(subscriber);

    let stack = ServiceBuilder::new()
        .layer(AttemptSpanLayer::new())
        .service(service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::default()))
        }));
    let request = Request::builder().method("PURGE").uri("https://a.test/");
    let request = request.body(Body::default()).expect("valid");
    let response: Result<_, BoxError> = stack.oneshot(request).await;
    response.expect("a response");
    let spans = exporter.get_finished_spans().expect("the spans");
    assert_eq!(spans[0].name, "HTTP");
    let value = |name| attribute(&spans[0], name).map(|value| value.to_string());
    assert_eq!(value("http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(
        value("http.request.method_original").as_deref(),
        Some("PURGE")
    );
    assert_eq!(value("server.port").as_deref(), Some("443"));
}

/// Sends one request through `stack`, and returns the spans of its attempts.
async fn spans_of<S>(stack: S, uri: &str, for_long: Duration) -> Vec<SpanData>
where
    S: tower::Service<Request<Body>, Response = Response<Body>>,
{
    let (exporter, provider) = exported();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let _guard = tracing::subscriber::set_default(subscriber);
    let request = Request::get(uri).body(Body::default()).expect("valid");
    let _ = tokio::time::timeout(for_long, stack.oneshot(request)).await;
    exporter.get_finished_spans().expect("the spans")
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_caller_is_gone_was_cancelled_and_its_span_ends() {
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(policy()))
        .layer(AttemptSpanLayer::new())
        .service(service_fn(|_: Request<Body>| async {
            std::future::pending::<Result<Response<Body>, Infallible>>().await
        }));
    let spans = spans_of(stack, "http://a.test/", Duration::from_secs(1)).await;
    assert_eq!(spans.len(), 1);
    let error = attribute(&spans[0], "error.type");
    assert_eq!(error, Some(Value::from("cancelled".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_request_is_a_timeout_too() {
    let deadline = Duration::from_secs(1);
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(policy()).deadline(deadline))
        .layer(AttemptSpanLayer::new())
        .service(service_fn(|_: Request<Body>| async {
            std::future::pending::<Result<Response<Body>, Infallible>>().await
        }));
    let spans = spans_of(stack, "http://a.test/", 10 * deadline).await;
    let error = attribute(&spans[0], "error.type");
    assert_eq!(error, Some(Value::from("timeout".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn secrets_in_paths_are_shown_as_the_layer_is_told() {
    let layer = AttemptSpanLayer::new().redact_paths(|path| path.replace("s3cret", "-"));
    let stack = ServiceBuilder::new()
        .layer(layer)
        .service(service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::default()))
        }));
    let uri = "http://me:s3cret@[::1]:81/bots3cret/send?key=s3cret";
    let spans = spans_of(stack, uri, Duration::from_secs(1)).await;
    let string = |text: &str| Some(Value::from(text.to_owned()));
    assert_eq!(
        attribute(&spans[0], "url.full"),
        string("http://[::1]:81/bot-/send")
    );
    assert_eq!(attribute(&spans[0], "server.address"), string("::1"));
    assert!(!format!("{spans:?}").contains("s3cret"));
}

#[cfg(feature = "redirect")]
#[tokio::test(start_paused = true)]
async fn a_redirect_is_a_resend_too() {
    use tower_http_retry::redirect::RedirectLayer;

    let calls = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let policy = policy();
    let stack = ServiceBuilder::new()
        .layer(RedirectLayer::new(&policy))
        .layer(RetryLayer::new(policy))
        .layer(AttemptSpanLayer::new())
        .service(service_fn(move |_: Request<Body>| {
            let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let response = Response::builder().status([302, 503, 200][call as usize]);
            let response = response.header("location", "/y").body(Body::default());
            async move { Ok::<_, Infallible>(response.expect("valid")) }
        }));
    let spans = spans_of(stack, "http://a.test/x", Duration::from_secs(5)).await;
    let counts: Vec<_> = spans
        .iter()
        .map(|span| attribute(span, "http.request.resend_count"))
        .collect();
    let expected = [None, Some(Value::I64(1)), Some(Value::I64(2))];
    assert_eq!(counts, expected);
}
