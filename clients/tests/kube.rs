//! kube.
//!
//! How the type is written down: not at all, since `kube::Client` hides what it is made of. What
//! has to be right is the order: a `ClientBuilder` made of a `Config` is not `Clone`, and every
//! request that may be sent again clones the service below, so that a `BufferLayer` goes first.
//! `kube::client::Body` says by itself whether it can be cloned.
//!
//! kube's own retries, up to 15 of them and for every method, must be off: they would multiply with
//! ours, and send a POST again after a 503.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use clients::{
    Answer, Case, Outcome, Place, Server, Step, Told, claim,
    table::{self, Client as Trust},
    tls::Identity,
};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::PostParams,
    client::{Body, ClientBuilder},
};
use serde_json::json;
use tower::buffer::BufferLayer;
use tower_http_retry::{
    RetryError, RetryLayer,
    classify::{self as outcome, Opinion},
    policy::{HintHeader, RetryPolicy, WaitReason},
};

fn client(mut config: Config, layer: RetryLayer<RetryPolicy>) -> Client {
    config.default_retry = false;
    ClientBuilder::try_from(config)
        .expect("a client")
        .with_layer(&BufferLayer::new(1024))
        .with_layer(&layer.clone_bodies_with(Body::try_clone))
        .build()
}

fn config(url: impl AsRef<str>) -> Config {
    Config::new(url.as_ref().parse().expect("a URL"))
}

async fn exchange(case: Case) -> Vec<Outcome> {
    let root_cert = case.identity.map(|identity| vec![identity.der().to_vec()]);
    let mut config = config(case.base);
    config.root_cert = root_cert;
    let client = client(config, case.layer);
    let mut outcomes = Vec::new();
    for request in case.requests {
        outcomes.push(send(&client, request).await);
    }
    outcomes
}

async fn send(client: &Client, request: Request<Bytes>) -> Outcome {
    match client.send(request.map(Body::from)).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes());
            Outcome::Response(head.status, body.map_err(|error| error.to_string()))
        }
        Err(kube::Error::Service(error)) if error.is::<RetryError>() => {
            Outcome::Error(error.to_string())
        }
        Err(error) => panic!("our error does not arrive as it is: {error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_comes_out_as_it_must() {
    table::run("kube", Trust::Proves, None, exchange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_under_tls_comes_out_as_it_must() {
    let identity = Some(Arc::new(Identity::new()));
    table::run("kube over TLS", Trust::Proves, identity, exchange).await;
}

fn layer(told: &Told) -> RetryLayer<RetryPolicy> {
    let policy = RetryPolicy::builder().backoff_factor(0.0).build();
    RetryLayer::new(policy.expect("valid")).on_event(told.hook())
}

fn post() -> Request<Bytes> {
    let request = Request::post("/api/v1/namespaces/default/configmaps");
    request.body(Bytes::from_static(b"{}")).expect("valid")
}

fn config_map() -> ConfigMap {
    let map = json!({"metadata": {"name": "settings"}, "data": {"key": "value"}});
    serde_json::from_value(map).expect("a config map")
}

/// If this changes, nobody needs to be told to switch them off.
#[tokio::test]
async fn kubes_own_retries_are_on_unless_they_are_switched_off() {
    assert!(config("http://localhost").default_retry);
}

#[tokio::test]
async fn an_object_that_is_replaced_arrives_whole_each_time() {
    let told = Told::default();
    let server = Server::start([503, 503]).await;
    let client = client(config(server.url()), layer(&told));
    let maps = Api::<ConfigMap>::namespaced(client, "default");
    let how = PostParams::default();
    let replaced = maps.replace("settings", &how, &config_map()).await;
    assert_eq!(replaced.expect("replaced"), config_map());
    assert_eq!(told.story(), ["503", "503", "200", "succeeded"]);
    // The layer is above what knows the cluster.
    assert_eq!(
        told.report().url,
        "/api/v1/namespaces/default/configmaps/settings"
    );
    let received = server.received();
    assert_eq!(received.len(), 3);
    for request in received {
        assert_eq!(request.method, Method::PUT);
        let map: ConfigMap = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(map, config_map());
    }
}

#[tokio::test]
async fn an_object_is_created_once() {
    let told = Told::default();
    let status = r#"{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503}"#;
    let server = Server::start([Answer::status(503).json(status)]).await;
    let client = client(config(server.url()), layer(&told));
    let maps = Api::<ConfigMap>::namespaced(client, "default");
    let created = maps.create(&PostParams::default(), &config_map()).await;
    let Err(kube::Error::Api(status)) = created else {
        panic!("{created:?}")
    };
    assert_eq!(status.code, 503);
    assert_eq!(told.story(), ["503", "method_not_allowed"]);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn an_object_is_created_although_nobody_listened_at_first() {
    let told = Told::default();
    let place = Place::closed();
    let client = client(config(place.url()), layer(&told));
    let maps = Api::<ConfigMap>::namespaced(client, "default");
    let created = maps.create(&PostParams::default(), &config_map()).await;
    let Err(kube::Error::Service(error)) = created else {
        panic!("{created:?}")
    };
    let error = error.downcast::<RetryError>().expect("ours");
    assert_eq!(error.report(), &told.report());
    assert_eq!(error.report().attempt_count(), 4);
    assert_eq!(error.report().effects(), 0..=0);
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_tried_again_also_for_a_post() {
    let told = Told::default();
    let place = Place::unanswered().await;
    let mut config = config(place.url());
    config.connect_timeout = Some(Duration::from_millis(20));
    let outcome = send(&client(config, layer(&told)), post()).await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    let late = "connect: connect timed out";
    assert_eq!(told.story(), [late, late, late, late, "count_exhausted"]);
    assert_eq!(told.report().effects(), 0..=0);
}

#[tokio::test]
async fn kubes_own_timeout_is_charged_to_read() {
    let told = Told::default();
    let server = Server::start(vec![Step::Silence; 4]).await;
    let mut config = config(server.url());
    config.read_timeout = Some(Duration::from_millis(100));
    let outcome = send(&client(config, layer(&told)), post()).await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    assert_eq!(told.story(), ["read: timed out", "method_not_allowed"]);
    assert!(server.received().len() <= 1);
}

#[tokio::test]
async fn a_proxy_that_wants_credentials_is_asked_once() {
    claim("kube: proxy answers 407", async {
        let told = Told::default();
        let proxy = Server::start([407, 407, 407, 407]).await;
        let mut config = config("https://localhost");
        config.proxy_url = Some(proxy.url().parse().expect("a URL"));
        let outcome = send(&client(config, layer(&told)), post()).await;
        assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
        assert_eq!(told.story().last().expect("an end"), "not_transient");
        assert_eq!(proxy.received().len(), 1);
    })
    .await;
}

/// The server's flow control turns a request down before it looks at it, and says when to come back
/// ("API Priority and Fairness"): so that also a write can be sent again, as Kubernetes' own client
/// for Go does.
fn flow_control(outcome: &outcome::Outcome<'_>) -> Opinion {
    match outcome {
        outcome::Outcome::Response { status, headers }
            if *status == StatusCode::TOO_MANY_REQUESTS && headers.contains_key("retry-after") =>
        {
            Opinion::Unprocessed("flow control".into())
        }
        _ => Opinion::NoOpinion,
    }
}

#[tokio::test]
async fn recipe_an_object_that_flow_control_turned_down_is_created_when_it_says_so() {
    let told = Told::default();
    let later = Answer::status(429).header("retry-after", "1");
    let server = Server::start([later]).await;
    let client = client(config(server.url()), layer(&told).classify(flow_control));
    let maps = Api::<ConfigMap>::namespaced(client, "default");
    let created = maps.create(&PostParams::default(), &config_map()).await;
    assert_eq!(created.expect("created"), config_map());
    assert_eq!(told.story(), ["429", "200", "succeeded"]);
    let report = told.report();
    let wait = report.attempts[0].wait.as_ref().expect("a wait");
    assert!(wait.planned >= Duration::from_secs(1), "{report}");
    assert_eq!(wait.why, WaitReason::ServerHint(HintHeader::RetryAfter));
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].body, received[1].body);
    assert!(received.iter().all(|request| request.whole));
}

#[tokio::test]
async fn recipe_an_object_whose_creation_was_lost_is_not_created_again() {
    let told = Told::default();
    let server = Server::start([Step::CloseBeforeHead]).await;
    let client = client(config(server.url()), layer(&told).classify(flow_control));
    let maps = Api::<ConfigMap>::namespaced(client, "default");
    let created = maps.create(&PostParams::default(), &config_map()).await;
    created.expect_err("lost");
    let lost = "read: connection closed before the response";
    assert_eq!(told.story(), [lost, "method_not_allowed"]);
    assert_eq!(server.received().len(), 1);
}
