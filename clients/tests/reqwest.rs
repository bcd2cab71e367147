//! reqwest.
//!
//! How the type is written down: reqwest's client is a service of reqwest's own requests, so that
//! [`ReqwestService`] stands for it in ours. `reqwest::Body` is cloned only where it is not a
//! stream, so that the third parameter says that bodies are recorded.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use clients::{
    Answer, Case, Outcome, Place, Server, Step, Told, claim,
    table::{self, Client},
    tls::Identity,
};
use http::{Method, Request};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http_retry::{
    Retry, RetryLayer, RetryReport, body::RecordBody, policy::RetryPolicy, reqwest::ReqwestService,
};

type Reqwest = Retry<ReqwestService, RetryPolicy, RecordBody>;

/// The client as it comes, with its own redirects and retries.
fn as_it_comes() -> ReqwestService {
    provider();
    ReqwestService::new(reqwest::Client::new())
}

/// The client without anything that sends a request of its own: only so do its errors prove that
/// a request was not sent.
fn once(builder: reqwest::ClientBuilder) -> ReqwestService {
    provider();
    ReqwestService::build(builder).expect("a client")
}

fn around(layer: RetryLayer<RetryPolicy>, client: ReqwestService) -> Reqwest {
    layer.replay_bodies(8_000_000).layer(client)
}

/// reqwest makes its TLS when it is built, and takes the process's provider for it.
fn provider() {
    // Fails where another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_comes_out_as_it_must_with_default_settings() {
    let client = as_it_comes();
    exchange("reqwest as it comes", Client::ProvesNothing, None, client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_comes_out_as_it_must() {
    let client = once(reqwest::Client::builder());
    exchange("reqwest", Client::Proves, None, client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_under_tls_comes_out_as_it_must() {
    let identity = Arc::new(Identity::new());
    let builder = reqwest::Client::builder().tls_backend_preconfigured(identity.trusted());
    let client = once(builder);
    exchange("reqwest over TLS", Client::Proves, Some(identity), client).await;
}

/// Sends the table through one client: it takes long to make, and its connections are kept by
/// authority.
async fn exchange(
    name: &'static str,
    proves: Client,
    identity: Option<Arc<Identity>>,
    client: ReqwestService,
) {
    table::run(name, proves, identity, move |case: Case| {
        let client = around(case.layer, client.clone());
        Case::exchange(case.requests, client, reqwest::Body::from)
    })
    .await;
}

fn layer(told: &Told) -> RetryLayer<RetryPolicy> {
    let policy = RetryPolicy::builder().backoff_factor(0.0).build();
    RetryLayer::new(policy.expect("valid")).on_event(told.hook())
}

fn post(url: impl Into<String>) -> Request<Bytes> {
    let request = Request::post(url.into());
    request
        .body(Bytes::from_static(b"an order"))
        .expect("valid")
}

async fn send(client: Reqwest, request: Request<Bytes>) -> Outcome {
    let mut outcomes = Case::exchange(vec![request], client, reqwest::Body::from).await;
    outcomes.pop().expect("one")
}

#[tokio::test]
async fn a_post_that_was_answered_with_a_redirect_to_nowhere_is_there_once() {
    for status in [301, 302, 303, 307, 308] {
        for body in ["an order", ""] {
            let content = if body.is_empty() { "without" } else { "with" };
            let name = format!("reqwest as it comes: {status} {content} content");
            claim(&name, async move {
                let nowhere = Place::closed();
                let answer = Answer::status(status).header("location", nowhere.url());
                let server = Server::start(vec![answer; 4]).await;
                let told = Told::default();
                let request = Request::post(server.url()).body(body.into());
                let request = request.expect("valid");
                send(around(layer(&told), as_it_comes()), request).await;
                let received = server.received();
                assert_eq!(received.len(), 1, "{received:#?}");
                assert_eq!(received[0].body, body);
                for report in told.reports() {
                    assert!(*report.effects().end() == 1, "{report}");
                }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_redirect_that_is_not_followed_is_the_callers() {
    let told = Told::default();
    let server = Server::start([Answer::status(303).header("location", "/elsewhere")]).await;
    let client = around(layer(&told), once(reqwest::Client::builder()));
    let outcome = send(client, post(server.url())).await;
    assert!(matches!(outcome, Outcome::Response(status, _) if status == 303));
    assert_eq!(server.received().len(), 1);
    assert_eq!(told.reports().len(), 0);
}

/// Above the retries, each hop is a request of its own.
#[tokio::test]
async fn redirects_are_followed_above_the_retries() {
    let told = Told::default();
    let elsewhere = Answer::status(303).header("location", "/elsewhere");
    let server = Server::start([elsewhere, Answer::status(503)]).await;
    let client = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(layer(&told).replay_bodies(64 * 1024))
        .service(once(reqwest::Client::builder()));
    let request = post(server.url()).map(reqwest::Body::from);
    let response = client.oneshot(request).await.expect("a response");
    assert_eq!(response.status(), 200);
    assert_eq!(told.story(), ["503", "200", "succeeded"]);
    let received: Vec<_> = server
        .received()
        .iter()
        .map(|request| format!("{} {}", request.method, request.target))
        .collect();
    assert_eq!(received, ["POST /", "GET /elsewhere", "GET /elsewhere"]);
}

#[tokio::test]
async fn reqwests_own_timeout_is_charged_to_read() {
    let told = Told::default();
    let server = Server::start(vec![Step::Silence; 4]).await;
    let hurried = reqwest::Client::builder().timeout(Duration::from_millis(100));
    let outcome = send(around(layer(&told), once(hurried)), post(server.url())).await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    assert_eq!(told.story(), ["read: timed out", "method_not_allowed"]);
    assert!(server.received().len() <= 1);
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_tried_again_also_for_a_post() {
    let told = Told::default();
    let place = Place::unanswered().await;
    let hurried = reqwest::Client::builder().connect_timeout(Duration::from_millis(20));
    let outcome = send(around(layer(&told), once(hurried)), post(place.url())).await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    let late = "connect: connect timed out";
    assert_eq!(told.story(), [late, late, late, late, "count_exhausted"]);
    assert_eq!(told.report().effects(), 0..=0);
}

#[tokio::test]
async fn a_proxy_that_wants_credentials_is_asked_once() {
    claim("reqwest: proxy answers 407", async {
        let told = Told::default();
        let proxy = Server::start([407, 407, 407, 407]).await;
        let by_proxy = reqwest::Proxy::all(proxy.url()).expect("a proxy");
        let client = around(
            layer(&told),
            once(reqwest::Client::builder().proxy(by_proxy)),
        );
        let outcome = send(client, post("https://localhost/orders")).await;
        assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
        assert_eq!(told.story().last().expect("an end"), "not_transient");
        assert_eq!(told.report().effects(), 0..=0);
        let connects = proxy.received();
        assert_eq!(connects.len(), 1, "{connects:?}");
        assert_eq!(connects[0].method, Method::CONNECT);
    })
    .await;
}

#[tokio::test]
async fn a_stream_arrives_whole_each_time() {
    let told = Told::default();
    let server = Server::start([503, 503]).await;
    let chunks = || (0..200_u8).map(|n| Bytes::from(vec![n; 1000]));
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(
        chunks().map(Ok::<_, Infallible>),
    ));
    let request = Request::put(server.url()).body(stream).expect("valid");
    let client = around(layer(&told), once(reqwest::Client::builder()));
    let response = client.oneshot(request).await.expect("a response");
    assert_eq!(
        response.extensions().get::<RetryReport>(),
        Some(&told.report())
    );
    // What reqwest's users know how to read.
    let response = reqwest::Response::from(response);
    let whole: Vec<u8> = chunks().flatten().collect();
    assert!(response.bytes().await.expect("a body") == whole);
    let received = server.received();
    assert_eq!(received.len(), 3);
    assert!(
        received
            .iter()
            .all(|request| request.whole && request.body == whole)
    );
}
