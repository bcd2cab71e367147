//! octocrab.
//!
//! How the type is written down: not at all, since `Octocrab` hides what it is made of. The layer
//! goes onto a service that it is given (`with_service`), first of all layers, so that it sees
//! requests as they are sent: with the whole URL. octocrab's own retries belong to the client that
//! it makes by itself, and are not in such a one.
//!
//! `OctoBody` is `Clone`, but a clone shares what is sent: after the first attempt it is empty.
//! So the body is recorded, and what is recorded is made an `OctoBody` again.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use clients::{
    Answer, Case, Outcome, Server, Told,
    table::{self, Client},
};
use http::{HeaderName, Method, Request, StatusCode, Uri, header::USER_AGENT};
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use octocrab::{
    AuthState, OctoBody, Octocrab, OctocrabBuilder,
    service::middleware::{base_uri::BaseUriLayer, extra_headers::ExtraHeadersLayer},
};
use serde_json::json;
use tower::Layer;
use tower_http_retry::{
    Retry, RetryError, RetryLayer,
    body::{RecordBody, RecordedBody},
    classify::{self as outcome, Opinion},
    policy::{HintHeader, RetryPolicy, WaitReason},
};

/// What octocrab is given, if it has to be named.
type Service = Retry<
    legacy::Client<HttpConnector, OctoBody>,
    RetryPolicy,
    RecordBody<fn(RecordedBody<OctoBody>) -> OctoBody>,
>;

fn service(layer: RetryLayer<RetryPolicy>) -> Service {
    layer
        .replay_bodies_as(8_000_000, OctoBody::new as fn(_) -> _)
        .layer(legacy::Client::builder(TokioExecutor::new()).build_http())
}

fn client(base: &str, layer: RetryLayer<RetryPolicy>) -> Octocrab {
    let base: Uri = base.parse().expect("a URL");
    let headers: Vec<(HeaderName, _)> = vec![(USER_AGENT, "tests".parse().expect("valid"))];
    OctocrabBuilder::new_empty()
        .with_service(service(layer))
        .with_layer(&BaseUriLayer::new(base))
        .with_layer(&ExtraHeadersLayer::new(Arc::new(headers)))
        .with_auth(AuthState::None)
        .build()
        .expect("a client")
}

async fn exchange(case: Case) -> Vec<Outcome> {
    let client = client(&case.base, case.layer);
    let mut outcomes = Vec::new();
    for request in case.requests {
        outcomes.push(send(&client, request).await);
    }
    outcomes
}

async fn send(client: &Octocrab, request: Request<Bytes>) -> Outcome {
    match client.send(request.map(OctoBody::from)).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes());
            Outcome::Response(head.status, body.map_err(|error| error.to_string()))
        }
        Err(octocrab::Error::Service { source, .. }) if source.is::<RetryError>() => {
            Outcome::Error(source.to_string())
        }
        Err(error) => panic!("our error does not arrive as it is: {error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_comes_out_as_it_must() {
    table::run("octocrab", Client::Proves, None, exchange).await;
}

fn layer(told: &Told) -> RetryLayer<RetryPolicy> {
    let policy = RetryPolicy::builder().backoff_factor(0.0).build();
    RetryLayer::new(policy.expect("valid")).on_event(told.hook())
}

#[tokio::test]
async fn what_is_put_arrives_whole_each_time() {
    let told = Told::default();
    let server = Server::start([503, 503]).await;
    let client = client(&server.url(), layer(&told));
    let content = json!({"labels": ["bug", "help wanted"]});
    let response = client
        ._put("/repos/a/b/issues/1/labels", Some(&content))
        .await;
    assert_eq!(response.expect("a response").status(), 200);
    assert_eq!(told.story(), ["503", "503", "200", "succeeded"]);
    let url = format!("{}/repos/a/b/issues/1/labels", server.url());
    assert_eq!(told.report().url, url);
    let received = server.received();
    assert_eq!(received.len(), 3);
    for request in received {
        assert_eq!(request.method, Method::PUT);
        assert_eq!(request.body, serde_json::to_vec(&content).expect("JSON"));
        assert_eq!(request.headers[USER_AGENT], "tests");
    }
}

#[tokio::test]
async fn an_issue_is_created_once() {
    let told = Told::default();
    let busy = Answer::status(502).json(r#"{"message": "Server Error"}"#);
    let server = Server::start([busy]).await;
    let client = client(&server.url(), layer(&told));
    let created = client.issues("a", "b").create("A title").send().await;
    let Err(octocrab::Error::GitHub { source, .. }) = created else {
        panic!("{created:?}")
    };
    assert_eq!(source.status_code, 502);
    assert_eq!(told.story(), ["502", "method_not_allowed"]);
    assert_eq!(server.received().len(), 1);
}

/// Without a body, as octocrab sends it: `OctoBody::empty()`, which says of itself that it cannot
/// be cloned.
#[tokio::test]
async fn a_request_without_content_is_sent_again() {
    let told = Told::default();
    let server = Server::start([503]).await;
    let client = client(&server.url(), layer(&told));
    let response = client._get("/rate_limit").await.expect("a response");
    assert_eq!(response.status(), 200);
    assert_eq!(told.story(), ["503", "200", "succeeded"]);
}

/// GitHub's rate limits, as its documentation has them ("Best practices for using the REST API"):
/// a 403 with `retry-after`, or with nothing remaining until `x-ratelimit-reset`, means later; any
/// other 403 means no. What is over the limit is turned down unprocessed, a POST as well.
fn rate_limited(outcome: &outcome::Outcome<'_>) -> Opinion {
    let outcome::Outcome::Response { status, headers } = outcome else {
        return Opinion::NoOpinion;
    };
    let exhausted = headers
        .get("x-ratelimit-remaining")
        .is_some_and(|left| left == "0");
    if *status == StatusCode::FORBIDDEN && (headers.contains_key("retry-after") || exhausted) {
        return Opinion::Unprocessed("GitHub's rate limit".into());
    }
    Opinion::NoOpinion
}

#[tokio::test]
async fn recipe_a_secondary_rate_limit_is_waited_for() {
    let told = Told::default();
    let later = Answer::status(403).header("retry-after", "1");
    let server = Server::start([later]).await;
    let client = client(&server.url(), layer(&told).classify(rate_limited));
    let response = client._get("/search/code?q=x").await.expect("a response");
    assert_eq!(response.status(), 200);
    assert_eq!(told.story(), ["403", "200", "succeeded"]);
    let report = told.report();
    let wait = report.attempts[0].wait.as_ref().expect("a wait");
    assert!(wait.planned >= Duration::from_secs(1), "{report}");
    assert_eq!(wait.why, WaitReason::ServerHint(HintHeader::RetryAfter));
}

/// The clock of the server is the one that counts.
#[tokio::test]
async fn recipe_a_primary_rate_limit_is_waited_for() {
    let told = Told::default();
    let later = Answer::status(403)
        .header("date", "Wed, 18 May 2033 03:33:20 GMT")
        .header("x-ratelimit-remaining", "0")
        .header("x-ratelimit-reset", "2000000001");
    let server = Server::start([later]).await;
    let client = client(&server.url(), layer(&told).classify(rate_limited));
    let response = client._get("/repos/a/b").await.expect("a response");
    assert_eq!(response.status(), 200);
    assert_eq!(told.story(), ["403", "200", "succeeded"]);
    let report = told.report();
    let wait = report.attempts[0].wait.as_ref().expect("a wait");
    assert!(wait.planned >= Duration::from_secs(1), "{report}");
}

#[tokio::test]
async fn recipe_an_issue_that_is_over_the_limit_is_created_later() {
    let told = Told::default();
    let later = Answer::status(403).header("retry-after", "1");
    let server = Server::start([later]).await;
    let client = client(&server.url(), layer(&told).classify(rate_limited));
    let title = json!({"title": "A title"});
    let response = client._post("/repos/a/b/issues", Some(&title)).await;
    assert_eq!(response.expect("a response").status(), 200);
    assert_eq!(told.story(), ["403", "200", "succeeded"]);
    let whole = serde_json::to_vec(&title).expect("JSON");
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|request| request.body == whole));
    assert_eq!(told.report().effects(), 1..=1);
}

#[tokio::test]
async fn recipe_a_limit_that_ends_in_an_hour_is_not_waited_for() {
    let told = Told::default();
    let later = Answer::status(403).header("retry-after", "3600");
    let server = Server::start([later]).await;
    let client = client(&server.url(), layer(&told).classify(rate_limited));
    let response = client._get("/repos/a/b").await.expect("a response");
    assert_eq!(response.status(), 403);
    assert_eq!(told.story(), ["403", "retry_after_too_long"]);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn recipe_what_is_forbidden_is_asked_for_once() {
    let told = Told::default();
    let server = Server::start([Answer::status(403).header("x-ratelimit-remaining", "59")]).await;
    let client = client(&server.url(), layer(&told).classify(rate_limited));
    let response = client._get("/repos/a/b").await.expect("a response");
    assert_eq!(response.status(), 403);
    assert_eq!(told.story(), ["403", "status_not_listed"]);
    assert_eq!(server.received().len(), 1);
}
