//! reqwest in its own words: [`RetryClient`] takes its requests and returns its responses.
//!
//! How the type is written down: `RetryClient`.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use clients::{Answer, Place, Server, Step, story::story};
use futures_util::stream;
use reqwest::{Response, multipart::Form};
use tower_http_retry::{
    RetryError, RetryErrorKind, RetryLayer, RetryReport,
    policy::{Idempotent, RetryDisabled, RetryPolicy, StopReason},
    reqwest::RetryClient,
};

/// The default policy, without waits.
fn quick() -> RetryLayer<RetryPolicy> {
    let policy = RetryPolicy::builder().backoff_factor(0.0).build();
    RetryLayer::new(policy.expect("valid"))
}

fn client() -> RetryClient {
    built(quick(), reqwest::Client::builder())
}

fn built(layer: RetryLayer<RetryPolicy>, builder: reqwest::ClientBuilder) -> RetryClient {
    // reqwest makes its TLS when it is built, and takes the process's provider for it. This fails
    // where another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    RetryClient::build(layer, builder.no_proxy()).expect("a client")
}

fn told(result: &Result<Response, RetryError>) -> Vec<String> {
    match result {
        Ok(response) => match response.extensions().get::<RetryReport>() {
            Some(report) => story(report),
            None => Vec::new(),
        },
        Err(error) => story(error.report()),
    }
}

fn requests(server: &Server) -> Vec<String> {
    let received = server.received();
    let lines = received.iter();
    lines
        .map(|it| format!("{} {}", it.method, it.target))
        .collect()
}

fn to(location: impl Into<String>, status: u16) -> Step {
    Answer::status(status).header("location", location).into()
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_the_response_is_reqwests_own() {
    let server = Server::start([503, 503]).await;
    let result = client().put(server.url()).body("three apples").send().await;
    assert_eq!(told(&result), ["503", "503", "200", "succeeded"]);
    let response = result.expect("a response");
    assert_eq!(response.url().as_str(), format!("{}/", server.url()));
    assert_eq!(response.text().await.expect("a text"), "three apples");
}

#[tokio::test]
async fn what_reqwest_builds_is_sent_as_it_is() {
    let server = Server::start([503]).await;
    let client = client();
    let order = serde_json::json!({"apples": 3});
    let request = client
        .put(server.url())
        .with(|request| request.json(&order));
    let request = request.header("x-one", "1").bearer_auth("secret");
    request.send().await.expect("a response");

    // The same, built elsewhere.
    let other = reqwest::Client::new().put(server.url()).json(&order);
    let request = other.header("x-one", "1").bearer_auth("secret");
    client
        .with_builder(request)
        .send()
        .await
        .expect("a response");

    let request = client
        .put(server.url())
        .with(|request| request.json(&order));
    let request = request.header("x-one", "1").bearer_auth("secret").build();
    let request = request.expect("a request");
    client.execute(request).await.expect("a response");

    let received = server.received();
    assert_eq!(received.len(), 4);
    for request in &received {
        assert_eq!(request.body, r#"{"apples":3}"#);
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["content-length"], "12");
        assert_eq!(request.headers["x-one"], "1");
        assert_eq!(request.headers["authorization"], "Bearer secret");
        assert!(!request.headers.contains_key("transfer-encoding"));
    }
}

#[tokio::test]
async fn a_post_that_may_have_been_applied_is_sent_once_and_says_so() {
    let server = Server::start([503]).await;
    let result = client().post(server.url()).body("an order").send().await;
    assert_eq!(told(&result), ["503", "method_not_allowed"]);
    assert_eq!(result.expect("a response").status(), 503);
    assert_eq!(requests(&server), ["POST /"]);
}

#[tokio::test]
async fn a_mark_makes_a_post_repeatable_and_another_switches_retries_off() {
    let server = Server::start([503]).await;
    let request = client().post(server.url()).extension(Idempotent);
    assert_eq!(told(&request.send().await), ["503", "200", "succeeded"]);

    let server = Server::start([503]).await;
    let request = client().get(server.url()).extension(RetryDisabled);
    let response = request.send().await.expect("a response");
    assert_eq!(response.status(), 503);
    assert_eq!(requests(&server), ["GET /"]);
}

#[tokio::test]
async fn a_connection_that_is_refused_is_tried_again_and_reqwests_error_is_found() {
    let place = Place::closed();
    let error = client()
        .post(place.url())
        .send()
        .await
        .expect_err("refused");
    assert_eq!(error.report().attempt_count(), 4);
    let inner = error.downcast_inner::<reqwest::Error>().expect("reqwest's");
    assert!(inner.is_connect());
}

#[tokio::test]
async fn a_request_that_cannot_be_built_is_an_error_without_an_attempt() {
    let error = client().get("no url").send().await.expect_err("no request");
    assert_eq!(error.report().attempt_count(), 0);
    assert_eq!(error.to_string(), "the request could not be built");
    let inner = error.downcast_inner::<reqwest::Error>().expect("reqwest's");
    assert!(inner.is_builder());
}

#[tokio::test]
async fn a_body_in_memory_is_sent_again_whatever_its_size() {
    let server = Server::start([503]).await;
    let content = Bytes::from(vec![7; 1_000_000]);
    let result = client()
        .put(server.url())
        .body(content.clone())
        .send()
        .await;
    assert_eq!(told(&result), ["503", "200", "succeeded"]);
    let received = server.received();
    assert!(received.iter().all(|it| it.whole && it.body == content));
}

fn streamed(size: usize) -> reqwest::Body {
    let chunks = (0..size / 1000).map(|_| Ok::<_, Infallible>(Bytes::from(vec![7; 1000])));
    reqwest::Body::wrap_stream(stream::iter(chunks))
}

#[tokio::test]
async fn a_stream_is_sent_again_up_to_the_limit_and_above_it_says_why_not() {
    let server = Server::start([503]).await;
    let result = client()
        .put(server.url())
        .body(streamed(60_000))
        .send()
        .await;
    assert_eq!(told(&result), ["503", "200", "succeeded"]);
    let received = server.received();
    assert!(
        received
            .iter()
            .all(|it| it.whole && it.body.len() == 60_000)
    );

    let server = Server::start([503]).await;
    let result = client()
        .put(server.url())
        .body(streamed(100_000))
        .send()
        .await;
    assert_eq!(told(&result), ["503", "body_not_replayable"]);
    assert_eq!(server.received().len(), 1);

    let server = Server::start([503]).await;
    let client = client().replay_streams(100_000);
    let result = client
        .put(server.url())
        .body(streamed(100_000))
        .send()
        .await;
    assert_eq!(told(&result), ["503", "200", "succeeded"]);
}

#[tokio::test]
async fn a_multipart_form_arrives_whole_each_time() {
    let server = Server::start([503]).await;
    let form = Form::new().text("fruit", "apple").text("count", "3");
    let request = client().put(server.url()).with(|it| it.multipart(form));
    assert_eq!(told(&request.send().await), ["503", "200", "succeeded"]);
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].body, received[1].body);
    assert!(received[1].body.windows(5).any(|part| part == b"apple"));
    let kind = received[1].headers["content-type"].to_str().expect("text");
    assert!(kind.starts_with("multipart/form-data; boundary="), "{kind}");
}

#[tokio::test]
async fn redirects_are_followed_and_each_hop_is_a_request_of_its_own() {
    let server = Server::start([to("/elsewhere", 303), Step::from(503)]).await;
    let result = client().post(server.url()).body("an order").send().await;
    assert_eq!(told(&result), ["303", "503", "200", "succeeded"]);
    let response = result.expect("a response");
    assert_eq!(response.url().path(), "/elsewhere");
    assert_eq!(
        requests(&server),
        ["POST /", "GET /elsewhere", "GET /elsewhere"]
    );
}

#[tokio::test]
async fn a_post_that_is_redirected_to_nowhere_is_there_once() {
    for status in [301, 302, 303, 307, 308] {
        let nowhere = Place::closed();
        let server = Server::start([to(nowhere.url(), status)]).await;
        let result = client().post(server.url()).body("an order").send().await;
        let error = result.expect_err("nobody is there");
        assert_eq!(error.report().attempt_count(), 5, "{status}: {error}");
        assert_eq!(requests(&server), ["POST /"], "{status}");
    }
}

#[tokio::test]
async fn as_many_redirects_are_followed_as_reqwest_follows_and_none_takes_from_the_retries() {
    let hops = |count: usize| (1..=count).map(|hop| to(format!("/{hop}"), 302));
    let busy = [503, 503, 503].map(Step::from);
    let server = Server::start(hops(10).chain(busy)).await;
    let response = client().get(server.url()).send().await.expect("a response");
    assert_eq!(response.status(), 200);
    assert_eq!(response.url().path(), "/10");
    assert_eq!(server.received().len(), 14);

    let server = Server::start(hops(11)).await;
    let error = client()
        .get(server.url())
        .send()
        .await
        .expect_err("too many");
    assert_eq!(error.kind(), RetryErrorKind::Redirect);
    assert!(matches!(
        error.stop_reason(),
        StopReason::CountExhausted { .. }
    ));
    assert_eq!(server.received().len(), 11);
    // What reqwest does with as many.
    let server = Server::start(hops(11)).await;
    let own = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let error = own.get(server.url()).send().await.expect_err("too many");
    assert!(error.is_redirect());
    assert_eq!(server.received().len(), 11);
}

#[tokio::test]
async fn a_stream_that_was_not_kept_ends_at_a_redirect_that_wants_it_again() {
    let server = Server::start([to("/elsewhere", 307)]).await;
    let request = client().put(server.url()).body(streamed(100_000));
    let error = request.send().await.expect_err("the stream has gone");
    assert_eq!(error.kind(), RetryErrorKind::Redirect);
    let stop = error.stop_reason();
    assert!(
        matches!(stop, StopReason::BodyNotReplayable { .. }),
        "{stop}"
    );
    assert_eq!(requests(&server), ["PUT /"]);
}

#[tokio::test]
async fn without_redirects_each_is_the_response() {
    let server = Server::start([to("/elsewhere", 303)]).await;
    let client = client().max_redirects(0);
    let response = client.post(server.url()).send().await.expect("a response");
    assert_eq!(response.status(), 303);
    assert_eq!(response.headers()["location"], "/elsewhere");
    assert_eq!(requests(&server), ["POST /"]);
}

#[tokio::test]
async fn another_origin_gets_the_timeout_and_no_secrets() {
    let other = Server::start([Step::Silence]).await;
    let server = Server::start([to(other.url(), 307)]).await;
    let policy = RetryPolicy::builder().total(0).build().expect("valid");
    let client = built(RetryLayer::new(policy), reqwest::Client::builder());
    let request = client
        .put(server.url())
        .body("all of it")
        .bearer_auth("secret");
    let request = request.timeout(Duration::from_millis(300));
    let error = request.send().await.expect_err("nobody answers");
    let inner = error.downcast_inner::<reqwest::Error>().expect("reqwest's");
    assert!(inner.is_timeout());
    let received = other.received();
    assert_eq!(received[0].body, "all of it");
    assert!(!received[0].headers.contains_key("authorization"));
    assert!(server.received()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn one_deadline_is_for_all_hops() {
    let server = Server::start([to("/silent", 303), Step::Silence]).await;
    let layer = quick().deadline(Duration::from_millis(300));
    let client = built(layer, reqwest::Client::builder());
    let error = client.get(server.url()).send().await.expect_err("too late");
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
    assert!(error.report().elapsed < Duration::from_secs(10));
}

#[tokio::test]
async fn what_the_builder_says_of_redirects_and_retries_has_no_effect() {
    let server = Server::start([to("/elsewhere", 303), Step::from(503), Step::from(503)]).await;
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let layer = RetryLayer::new(RetryPolicy::builder().total(0).build().expect("valid"));
    let response = built(layer, builder).get(server.url()).send().await;
    assert_eq!(response.expect("a response").status(), 503);
    assert_eq!(requests(&server), ["GET /", "GET /elsewhere"]);
}

#[tokio::test]
async fn a_client_is_shared_between_tasks() {
    let server = Server::start([503]).await;
    let client = client();
    let tasks = [0, 1].map(|_| tokio::spawn(client.get(server.url()).send()));
    for task in tasks {
        let response = task.await.expect("no panic").expect("a response");
        assert_eq!(response.status(), 200);
    }
    assert_eq!(server.received().len(), 3);
    assert_eq!(server.connections(), 2);
}

mod lines {
    //! What it takes: the same three retries, there and here.

    type Result = std::result::Result<reqwest::Response, Box<dyn std::error::Error>>;

    async fn there(url: String) -> Result {
        use reqwest_middleware::ClientBuilder;
        use reqwest_retry::{RetryTransientMiddleware, policies::ExponentialBackoff};

        let policy = ExponentialBackoff::builder().build_with_max_retries(3);
        let client = ClientBuilder::new(reqwest::Client::new())
            .with(RetryTransientMiddleware::new_with_policy(policy))
            .build();
        Ok(client.get(url).send().await?)
    }

    async fn here(url: String) -> Result {
        use tower_http_retry::{RetryLayer, policy::RetryPolicy, reqwest::RetryClient};

        let policy = RetryPolicy::builder().total(3).build()?;
        let client = RetryClient::build(RetryLayer::new(policy), reqwest::Client::builder())?;
        Ok(client.get(url).send().await?)
    }

    #[tokio::test]
    async fn as_many_lines_are_enough_as_reqwests_middleware_takes() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = clients::Server::start([503, 503]).await;
        assert_eq!(there(server.url()).await.expect("a response").status(), 200);
        assert_eq!(here(server.url()).await.expect("a response").status(), 200);

        let source = include_str!("reqwest_client.rs");
        let lines = |name: &str| {
            let begin = source.find(&format!("async fn {name}(")).expect("there");
            let body = &source[begin..];
            let end = body.find("\n    }\n").expect("its end");
            body[..end]
                .lines()
                .filter(|line| !line.trim().is_empty())
                .count()
                - 1
        };
        assert_eq!((lines("there"), lines("here")), (7, 4));
    }

    /// Why redirects are followed above the retries.
    #[tokio::test]
    async fn the_middleware_repeats_a_post_that_was_redirected_and_this_does_not() {
        use reqwest_middleware::ClientBuilder;
        use reqwest_retry::{RetryTransientMiddleware, policies::ExponentialBackoff};

        let _ = rustls::crypto::ring::default_provider().install_default();
        let script = || [super::to("/elsewhere", 303), 503.into()];
        let server = clients::Server::start(script()).await;
        let short = std::time::Duration::from_millis(1);
        let policy = ExponentialBackoff::builder().retry_bounds(short, short);
        let policy = policy.build_with_max_retries(1);
        let there = ClientBuilder::new(reqwest::Client::new())
            .with(RetryTransientMiddleware::new_with_policy(policy))
            .build();
        there.post(server.url()).send().await.expect("a response");
        assert_eq!(
            super::requests(&server),
            ["POST /", "GET /elsewhere", "POST /"]
        );

        let server = clients::Server::start(script()).await;
        let here = super::client().post(server.url()).send().await;
        assert_eq!(here.expect("a response").status(), 200);
        assert_eq!(
            super::requests(&server),
            ["POST /", "GET /elsewhere", "GET /elsewhere"]
        );
    }
}
