//! tonic's channel, below the client of tonic-health.
//!
//! How the type is written down: a generated client has the service that it calls as a parameter,
//! and takes every one that maps a request with tonic's own body to a response. A `Channel` takes
//! no other body, so that what is recorded is made one again; the function that does it is a part
//! of the type, and is written down as a pointer.
//!
//! Every call is a POST. Under `RetryPolicy::default()` it is sent again only if the server has
//! certainly not processed it.

use std::time::Duration;

use bytes::Bytes;
use clients::{
    Place, Told, claim,
    grpc::{Call, Server, framed},
    places::NO_SUCH_NAME,
};
use h2::Reason;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_client::HealthClient},
};
use tower::Layer;
use tower_http_retry::{
    Retry, RetryError, RetryLayer,
    body::{RecordBody, RecordedBody},
    classify::Stage,
    policy::{Limit, RetryPolicy},
};

type Retrying = Retry<Channel, RetryPolicy, RecordBody<fn(RecordedBody<Body>) -> Body>>;
type Health = HealthClient<Retrying>;

fn layer(told: &Told) -> RetryLayer<RetryPolicy> {
    let policy = RetryPolicy::builder().backoff_factor(0.0).build();
    RetryLayer::new(policy.expect("valid")).on_event(told.hook())
}

fn client(endpoint: Endpoint, layer: RetryLayer<RetryPolicy>) -> Health {
    let layer = layer.replay_bodies_as(8_000_000, Body::new as fn(RecordedBody<Body>) -> Body);
    HealthClient::new(layer.layer(endpoint.connect_lazy()))
}

fn endpoint(url: impl Into<String>) -> Endpoint {
    Endpoint::from_shared(url.into()).expect("a URL")
}

/// Asks for the health of this service, and returns the code of the answer.
async fn check(mut client: Health, service: &str) -> Result<i32, Status> {
    let service = service.to_owned();
    let response = client.check(HealthCheckRequest { service }).await?;
    Ok(response.into_inner().status)
}

/// The message of such a request, and of a service that serves, as protobuf has them.
fn request(service: &str) -> Bytes {
    let length = u8::try_from(service.len()).expect("short");
    framed(&[&[0x0a, length], service.as_bytes()].concat())
}

fn serving() -> Call {
    Call::Message(Bytes::from_static(&[0x08, 0x01]))
}

const SERVING: i32 = 1;

#[track_caller]
fn failed(result: Result<i32, Status>, code: Code) -> Status {
    let status = result.expect_err("failed");
    assert_eq!(status.code(), code, "{status:?}");
    status
}

#[track_caller]
fn never_sent(told: &Told, attempt: &str) {
    assert_eq!(
        told.story(),
        [attempt, attempt, attempt, attempt, "count_exhausted"],
        "{}",
        told.report()
    );
    assert_eq!(told.report().effects(), 0..=0);
}

#[tokio::test]
async fn a_server_of_tonics_own_is_asked_once() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("orders", ServingStatus::Serving)
        .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let serve = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serve);

    let told = Told::default();
    let client = client(endpoint(url), layer(&told));
    assert_eq!(check(client, "orders").await.expect("serving"), SERVING);
    assert!(told.reports().is_empty());
}

#[tokio::test]
async fn a_stream_that_is_refused_is_opened_again_with_the_whole_message() {
    claim("tonic: stream refused", async {
        let told = Told::default();
        let server = Server::start([Call::Reset(Reason::REFUSED_STREAM), serving()]).await;
        let client = client(endpoint(server.url()), layer(&told));
        assert_eq!(check(client, "orders").await.expect("serving"), SERVING);
        let refused = "connect: refused unprocessed (REFUSED_STREAM)";
        assert_eq!(told.story(), [refused, "200", "succeeded"]);
        assert_eq!(told.report().effects(), 1..=1);
        let received = server.received();
        assert_eq!(received.len(), 2);
        for call in received {
            assert_eq!(call.target, "/grpc.health.v1.Health/Check");
            assert_eq!(call.body, request("orders"));
            assert!(call.whole);
        }
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_closed_is_tried_again() {
    claim("tonic: port closed", async {
        let (told, place) = (Told::default(), Place::closed());
        let client = client(endpoint(place.url()), layer(&told));
        let status = failed(check(client, "orders").await, Code::Unavailable);
        never_sent(&told, "connect: connection refused");
        // Our error is in the chain of tonic's.
        let error = std::error::Error::source(&status).expect("a source");
        let error = error.downcast_ref::<RetryError>().expect("ours");
        assert_eq!(error.report(), &told.report());
    })
    .await;
}

/// What a user can say today: that tonic's outermost error stands in front of another, and that it
/// makes a `ConnectError` only before anything was sent.
#[tokio::test]
async fn a_connection_that_is_not_made_is_tried_again_for_who_vouches_for_tonic() {
    let closed = Place::closed();
    let unanswered = Place::unanswered().await;
    for endpoint in [
        endpoint(closed.url()),
        endpoint(format!("http://{NO_SUCH_NAME}")),
        endpoint(unanswered.url()).connect_timeout(Duration::from_millis(20)),
    ] {
        let told = Told::default();
        let layer = layer(&told)
            .vouch::<tonic::transport::Error>(Stage::Transparent)
            .vouch::<tonic::ConnectError>(Stage::NeverSent);
        failed(
            check(client(endpoint, layer), "orders").await,
            Code::Unavailable,
        );
        let story = told.story();
        assert_eq!(story.len(), 5, "{}", told.report());
        assert!(story[0].starts_with("connect: "), "{story:?}");
        assert_eq!(story[4], "count_exhausted");
        assert_eq!(told.report().effects(), 0..=0);
    }
}

#[tokio::test]
async fn a_name_that_is_unknown_is_looked_up_again() {
    claim("tonic: name unknown", async {
        let told = Told::default();
        let client = client(endpoint(format!("http://{NO_SUCH_NAME}")), layer(&told));
        failed(check(client, "orders").await, Code::Unavailable);
        never_sent(&told, "connect: name not resolved");
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_tried_again() {
    claim("tonic: connect timeout", async {
        let (told, place) = (Told::default(), Place::unanswered().await);
        let endpoint = endpoint(place.url()).connect_timeout(Duration::from_millis(20));
        failed(
            check(client(endpoint, layer(&told)), "orders").await,
            Code::Unavailable,
        );
        never_sent(&told, "connect: connect timed out");
    })
    .await;
}

#[tokio::test]
async fn tonics_own_timeout_is_charged_to_read() {
    claim("tonic: timeout", async {
        let told = Told::default();
        let server = Server::start(vec![Call::Silence; 4]).await;
        let endpoint = endpoint(server.url()).timeout(Duration::from_millis(200));
        failed(
            check(client(endpoint, layer(&told)), "orders").await,
            Code::Cancelled,
        );
        assert_eq!(told.story(), ["read: timed out", "method_not_allowed"]);
        assert!(server.received().len() <= 1);
    })
    .await;
}

#[tokio::test]
async fn tonics_own_timeout_is_not_tried_again_where_read_is_off() {
    claim("tonic: timeout where read is off", async {
        let told = Told::default();
        let server = Server::start(vec![Call::Silence; 4]).await;
        let policy = RetryPolicy::builder()
            .backoff_factor(0.0)
            .read(Limit::Never)
            .allowed_methods(["POST"])
            .build();
        let layer = RetryLayer::new(policy.expect("valid")).on_event(told.hook());
        let endpoint = endpoint(server.url()).timeout(Duration::from_millis(200));
        failed(
            check(client(endpoint, layer), "orders").await,
            Code::Cancelled,
        );
        assert_eq!(told.story(), ["read: timed out", "kind_disabled"]);
        assert!(server.received().len() <= 1);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_was_lost_with_its_connection_is_there_once() {
    let told = Told::default();
    let server = Server::start([Call::Close]).await;
    let client = client(endpoint(server.url()), layer(&told));
    check(client, "orders").await.expect_err("lost");
    let story = told.story();
    assert!(story[0].starts_with("read: "), "{story:?}");
    assert_eq!(story[1..], ["method_not_allowed"]);
    assert_eq!(server.received().len(), 1);
    assert_eq!(told.report().effects(), 0..=1);
}

#[tokio::test]
async fn a_call_that_a_proxy_answers_with_503_is_there_once() {
    let told = Told::default();
    let server = Server::start([Call::Http(503)]).await;
    let client = client(endpoint(server.url()), layer(&told));
    failed(check(client, "orders").await, Code::Unavailable);
    assert_eq!(told.story(), ["503", "method_not_allowed"]);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_call_that_fails_with_a_200_is_told() {
    let told = Told::default();
    let server = Server::start([Call::Status(14)]).await;
    let client = client(endpoint(server.url()), layer(&told));
    failed(check(client, "orders").await, Code::Unavailable);
    let report = told.report();
    assert!(report.to_string().contains("UNAVAILABLE"), "{report}");
    assert_eq!(report.stop.name(), "method_not_allowed");
    assert_eq!(report.effects(), 0..=1);
    assert_eq!(server.received().len(), 1);
}
