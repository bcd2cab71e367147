//! axum's `Router`, called in process: a service that calls another one without a network between
//! them, or a test of a handler.
//!
//! How the type is written down: a `Router` is a service of requests with any body, so that it is
//! named as it is. The requests that come out of an extractor have axum's own body, which is not
//! `Clone`; the third parameter says that bodies are recorded.
//!
//! Around a router's own routes (`Router::layer`), the layer's error must become a response, since
//! a router never fails: `HandleErrorLayer` above it says which.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, error_handling::HandleErrorLayer, extract::State, routing::any};
use bytes::Bytes;
use clients::{Case, Outcome, Told};
use futures_util::stream;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_http_retry::{
    Retry, RetryError, RetryLayer, RetryReport, body::RecordBody, policy::RetryPolicy,
};

type InProcess = Retry<Router, RetryPolicy, RecordBody>;

/// The statuses with which a handler answers, and the requests that it got.
#[derive(Clone, Default)]
struct Handler {
    script: Arc<Mutex<VecDeque<u16>>>,
    got: Arc<Mutex<Vec<(Method, Bytes)>>>,
}

impl Handler {
    fn answering(statuses: impl IntoIterator<Item = u16>) -> Self {
        let handler = Self::default();
        handler.script.lock().expect("sound").extend(statuses);
        handler
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/orders", any(Self::answer))
            .with_state(self.clone())
    }

    /// Answers with the next status, and with the content if that is 200.
    async fn answer(
        State(handler): State<Self>,
        method: Method,
        body: Bytes,
    ) -> (StatusCode, Bytes) {
        let next = handler.script.lock().expect("sound").pop_front();
        let got = (method, body.clone());
        handler.got.lock().expect("sound").push(got);
        match next {
            None => (StatusCode::OK, body),
            Some(status) => (
                StatusCode::from_u16(status).expect("a status"),
                Bytes::new(),
            ),
        }
    }

    fn got(&self) -> Vec<(Method, Bytes)> {
        self.got.lock().expect("sound").clone()
    }
}

fn layer(told: &Told) -> RetryLayer<RetryPolicy, RecordBody> {
    let policy = RetryPolicy::builder().backoff_factor(0.0).build();
    RetryLayer::new(policy.expect("valid"))
        .on_event(told.hook())
        .replay_bodies(64 * 1024)
}

fn order(method: Method) -> Request<Bytes> {
    let request = Request::builder().method(method).uri("/orders");
    request
        .body(Bytes::from_static(b"an order"))
        .expect("valid")
}

async fn send(client: InProcess, request: Request<Bytes>) -> Outcome {
    let mut outcomes = Case::exchange(vec![request], client, Body::from).await;
    outcomes.pop().expect("one")
}

#[tokio::test]
async fn a_handler_that_is_busy_gets_the_whole_request_again() {
    let (told, handler) = (Told::default(), Handler::answering([503, 429]));
    let outcome = send(layer(&told).layer(handler.router()), order(Method::PUT)).await;
    assert!(
        matches!(&outcome, Outcome::Response(status, Ok(body)) if *status == 200 && body == "an order"),
        "{outcome:?}"
    );
    assert_eq!(told.story(), ["503", "429", "200", "succeeded"]);
    let whole = (Method::PUT, Bytes::from_static(b"an order"));
    assert_eq!(handler.got(), [whole.clone(), whole.clone(), whole]);
}

#[tokio::test]
async fn a_post_is_handled_once() {
    let (told, handler) = (Told::default(), Handler::answering([503]));
    let outcome = send(layer(&told).layer(handler.router()), order(Method::POST)).await;
    assert!(
        matches!(&outcome, Outcome::Response(status, _) if *status == 503),
        "{outcome:?}"
    );
    assert_eq!(told.story(), ["503", "method_not_allowed"]);
    assert_eq!(handler.got().len(), 1);
    assert_eq!(told.report().effects(), 0..=1);
}

#[tokio::test]
async fn a_route_that_does_not_exist_is_asked_for_once() {
    let (told, handler) = (Told::default(), Handler::default());
    let request = Request::get("/nothing").body(Bytes::new()).expect("valid");
    send(layer(&told).layer(handler.router()), request).await;
    assert_eq!(told.story(), ["404", "status_not_listed"]);
    assert!(handler.got().is_empty());
}

#[tokio::test]
async fn a_stream_arrives_whole_each_time() {
    let (told, handler) = (Told::default(), Handler::answering([503]));
    let chunks = || (0..50_u8).map(|n| Bytes::from(vec![n; 1000]));
    let body = Body::from_stream(stream::iter(chunks().map(Ok::<_, Infallible>)));
    let request = Request::put("/orders").body(body).expect("valid");
    let client: InProcess = layer(&told).layer(handler.router());
    let response = client.oneshot(request).await.expect("a response");
    assert_eq!(
        response.extensions().get::<RetryReport>(),
        Some(&told.report())
    );
    let whole = Bytes::from_iter(chunks().flatten());
    let body = response.into_body().collect().await.expect("a body");
    assert!(body.to_bytes() == whole);
    let got = handler.got();
    assert_eq!(got.len(), 2);
    assert!(got.iter().all(|(_, body)| *body == whole));
}

#[tokio::test]
async fn around_a_routers_own_routes_an_error_becomes_a_response() {
    let (told, handler) = (Told::default(), Handler::answering([503]));
    let router = handler.router().layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(|error: RetryError| async move {
                (StatusCode::BAD_GATEWAY, error.to_string())
            }))
            .layer(layer(&told)),
    );
    let request = Request::put("/orders").body(Body::from("an order"));
    let response = router.oneshot(request.expect("valid")).await;
    let Ok(response) = response;
    assert_eq!(response.status(), 200);
    assert_eq!(told.story(), ["503", "200", "succeeded"]);
    assert_eq!(handler.got().len(), 2);
}
