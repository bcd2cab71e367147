//! hyper-util's legacy client over hyper-rustls.
//!
//! How the type is written down: the client's own type, in ours.
//! [`Retry`](tower_http_retry::Retry) has three parameters: the client below it, the policy, and
//! how bodies are sent again, which may be left out as long as they are simply cloned.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use clients::{
    Case, Outcome, Place, Server, Step, Told, claim,
    grpc::{self, Call},
    table::{self, Client},
    tls::Identity,
};
use h2::Reason;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        self,
        connect::{HttpConnector, proxy::Tunnel},
    },
    rt::TokioExecutor,
};
use tower::{Layer, Service};
use tower_http_retry::{Retry, RetryError, RetryLayer, policy::RetryPolicy};

type Http = Retry<legacy::Client<HttpConnector, Full<Bytes>>, RetryPolicy>;
type Https = Retry<legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>, RetryPolicy>;

fn http(layer: &RetryLayer<RetryPolicy>) -> Http {
    layer.layer(legacy::Client::builder(TokioExecutor::new()).build_http())
}

fn https(layer: &RetryLayer<RetryPolicy>, trusted: &Identity) -> Https {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(trusted.trusted())
        .https_only()
        .enable_http1()
        .build();
    layer.layer(legacy::Client::builder(TokioExecutor::new()).build(connector))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_in_plain_text_comes_out_as_it_must() {
    table::run("hyper", Client::Proves, None, |case: Case| async move {
        Case::exchange(case.requests, http(&case.layer), Full::new).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_under_tls_comes_out_as_it_must() {
    let identity = Some(Arc::new(Identity::new()));
    table::run(
        "hyper over TLS",
        Client::Proves,
        identity,
        |case: Case| async move {
            let identity = case.identity.expect("https");
            Case::exchange(case.requests, https(&case.layer, &identity), Full::new).await
        },
    )
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

async fn send<S>(client: S, request: Request<Bytes>) -> Outcome
where
    S: Service<Request<Full<Bytes>>, Response = Response<Incoming>, Error = RetryError>,
{
    let mut outcomes = Case::exchange(vec![request], client, Full::new).await;
    outcomes.pop().expect("one")
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_looked_at_once() {
    let told = Told::default();
    let server = Server::start_tls(&Identity::new(), [] as [Step; 0]).await;
    let outcome = send(
        https(&layer(&told), &Identity::new()),
        post(server.tls_url()),
    )
    .await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    assert_eq!(
        told.story(),
        ["other: certificate not acceptable", "not_transient"]
    );
    assert_eq!(server.connections(), 1);
    assert_eq!(told.report().effects(), 0..=0);
}

#[tokio::test]
async fn a_handshake_that_is_cut_off_is_begun_again_also_for_a_post() {
    let told = Told::default();
    let server = Server::to_a_handshake(b"").await;
    let outcome = send(
        https(&layer(&told), &Identity::new()),
        post(server.tls_url()),
    )
    .await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    let cut = "connect: TLS handshake cut off";
    assert_eq!(told.story(), [cut, cut, cut, cut, "count_exhausted"]);
    assert_eq!(server.connections(), 4);
    assert_eq!(told.report().effects(), 0..=0);
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_asked_once() {
    let told = Told::default();
    let server = Server::to_a_handshake(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let outcome = send(
        https(&layer(&told), &Identity::new()),
        post(server.tls_url()),
    )
    .await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    assert_eq!(
        told.story(),
        ["other: peer does not speak compatible TLS", "not_transient"]
    );
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_tried_again_also_for_a_post() {
    let told = Told::default();
    let place = Place::unanswered().await;
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(Duration::from_millis(20)));
    let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let outcome = send(layer(&told).layer(client), post(place.url())).await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    let late = "connect: connect timed out";
    assert_eq!(told.story(), [late, late, late, late, "count_exhausted"]);
    assert_eq!(told.report().effects(), 0..=0);
}

/// A client that tunnels through this proxy.
fn tunneling(proxy: &Server) -> legacy::Client<Tunnel<HttpConnector>, Full<Bytes>> {
    let proxy = proxy.url().parse().expect("a URL");
    legacy::Client::builder(TokioExecutor::new()).build(Tunnel::new(proxy, HttpConnector::new()))
}

#[tokio::test]
async fn a_proxy_that_wants_credentials_is_asked_once() {
    claim("hyper: proxy answers 407", async {
        let told = Told::default();
        let proxy = Server::start([407, 407, 407, 407]).await;
        let client = layer(&told).layer(tunneling(&proxy));
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
async fn a_proxy_that_cannot_reach_the_server_is_asked_again_also_for_a_post() {
    let told = Told::default();
    let proxy = Server::start([502, 503, 504, 502]).await;
    let client = layer(&told).layer(tunneling(&proxy));
    let outcome = send(client, post("https://localhost/orders")).await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    let story = told.story();
    assert_eq!(story.last().expect("an end"), "count_exhausted");
    assert!(
        story[..4]
            .iter()
            .all(|attempt| attempt.starts_with("connect: ")),
        "{story:?}"
    );
    assert_eq!(proxy.received().len(), 4);
    assert_eq!(told.report().effects(), 0..=0);
}

/// HTTP/2, as the server and the client agree in the handshake.
#[tokio::test]
async fn a_stream_that_is_refused_over_http2_is_sent_again_also_for_a_post() {
    let told = Told::default();
    let identity = Identity::new();
    let server = grpc::Server::start_tls(&identity, [Call::Reset(Reason::REFUSED_STREAM)]).await;
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(identity.trusted())
        .https_only()
        .enable_http2()
        .build();
    let client = layer(&told).layer(legacy::Client::builder(TokioExecutor::new()).build(connector));
    let outcome = send(client, post(server.tls_url())).await;
    assert!(matches!(outcome, Outcome::Response(..)), "{outcome:?}");
    assert_eq!(
        told.story(),
        [
            "connect: refused unprocessed (REFUSED_STREAM)",
            "200",
            "succeeded"
        ]
    );
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[1].body, "an order");
    assert_eq!(told.report().effects(), 1..=1);
}
