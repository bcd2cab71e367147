//! `ReqwestService` below the retries, on real sockets.
#![cfg(feature = "reqwest")]

use std::{convert::Infallible, io, time::Duration};

use axum::{Router, body::to_bytes, extract::Request as AxumRequest, response::IntoResponse};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{ServiceBuilder, ServiceExt};
use tower_http_retry::{
    Retry, RetryError, RetryErrorKind, RetryLayer, RetryReport,
    body::RecordBody,
    classify::Cause,
    policy::{Backoff, RetryPolicy, StopReason},
    reqwest::ReqwestService,
};

type Client = Retry<ReqwestService, RetryPolicy, RecordBody>;

fn client(reqwest: reqwest::ClientBuilder) -> Client {
    let policy = RetryPolicy::builder()
        .total(2)
        .backoff(Backoff::constant(Duration::from_millis(1)))
        .build()
        .expect("valid");
    ServiceBuilder::new()
        .layer(RetryLayer::new(policy).replay_bodies(1024 * 1024))
        .service(ReqwestService::build(reqwest).expect("a client"))
}

fn plain() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy()
}

/// A server that hands each connection, with its number, to `serve` once a head was read.
async fn raw<F>(serve: impl Fn(usize, TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((mut socket, _)) = listener.accept().await else {
                return;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match socket.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            tokio::spawn(serve(number, socket));
        }
    });
    format!("http://{address}")
}

/// Closes the first connection after the request, and answers all others.
async fn closing_once() -> String {
    raw(|number, mut socket| async move {
        if number == 0 {
            return Ok(());
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        socket.write_all(answer).await
    })
    .await
}

fn request(method: Method, url: String) -> Request<reqwest::Body> {
    Request::builder()
        .method(method)
        .uri(url)
        .body(reqwest::Body::default())
        .expect("valid")
}

async fn send(
    client: &Client,
    request: Request<reqwest::Body>,
) -> Result<Response<reqwest::Body>, RetryError> {
    client.clone().oneshot(request).await
}

#[track_caller]
fn failed_with(error: &RetryError, cause: Cause) {
    let last = error.report().attempts.last().expect("an attempt");
    let tower_http_retry::AttemptOutcome::Failed { cause: found, .. } = &last.outcome else {
        panic!("not a failure: {error}");
    };
    assert_eq!(*found, cause, "{error:?}");
}

#[tokio::test]
async fn the_response_is_reqwests_again_with_its_url() {
    let url = closing_once().await;
    let response = send(
        &client(plain()),
        request(Method::GET, format!("{url}/a?b=c")),
    )
    .await;
    let response = response.expect("a response");
    let report = response.extensions().get::<RetryReport>().expect("retried");
    assert_eq!(report.attempt_count(), 2);

    let response = reqwest::Response::from(response);
    assert_eq!(response.url().as_str(), format!("{url}/a?b=c"));
    assert_eq!(response.text().await.expect("a body"), "ok");
}

#[tokio::test]
async fn a_connection_closed_before_the_response_is_not_repeated_for_a_post() {
    let url = closing_once().await;
    let error = send(&client(plain()), request(Method::POST, url)).await;
    let error = error.expect_err("closed");
    failed_with(&error, Cause::IncompleteMessage);
    assert_eq!(
        *error.stop_reason(),
        StopReason::MethodNotAllowed {
            method: Method::POST
        }
    );
    assert!(error.downcast_inner::<reqwest::Error>().is_some());
}

#[tokio::test]
async fn a_refused_connection_is_repeated_for_a_post() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let error = send(&client(plain()), request(Method::POST, url)).await;
    let error = error.expect_err("refused");
    failed_with(&error, Cause::ConnectionRefused);
    assert_eq!(error.report().attempt_count(), 3);
    assert_eq!(error.report().effects(), 0..=0);
}

#[tokio::test]
async fn reqwests_own_timeout_is_a_read_failure() {
    let url = raw(|_, socket| async move {
        let _held = socket;
        std::future::pending().await
    })
    .await;
    let hurried = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_millis(20));
    let error = send(&client(hurried), request(Method::GET, url)).await;
    let error = error.expect_err("too late");
    failed_with(&error, Cause::Timeout);
    assert_eq!(error.kind(), RetryErrorKind::Failed);
    assert_eq!(error.report().attempt_count(), 3);
}

#[tokio::test]
async fn a_url_that_cannot_be_requested_is_an_error_and_not_repeated() {
    for url in ["/relative", "ftp://a.test/"] {
        let error = send(&client(plain()), request(Method::GET, url.to_owned())).await;
        let error = error.expect_err("not sent");
        assert!(
            matches!(error.stop_reason(), StopReason::NotTransient { .. }),
            "{url}: {error:?}"
        );
        assert_eq!(error.report().attempt_count(), 1);
    }
}

/// Answers the content, and 503 in its place to every first request for a path with `flaky`.
async fn echo() -> String {
    let flaky = std::sync::atomic::AtomicBool::new(true);
    let flaky = std::sync::Arc::new(flaky);
    let app = Router::new().fallback(move |request: AxumRequest| {
        let first = request.uri().path() == "/flaky"
            && flaky.swap(false, std::sync::atomic::Ordering::Relaxed);
        async move {
            let moved = request.uri().path() == "/moved";
            let body = to_bytes(request.into_body(), usize::MAX).await;
            let status = match (first, moved) {
                (true, _) => StatusCode::SERVICE_UNAVAILABLE,
                (_, true) => StatusCode::TEMPORARY_REDIRECT,
                _ => StatusCode::OK,
            };
            (status, [("location", "/")], body.unwrap_or_default()).into_response()
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

fn chunks(n: u8) -> reqwest::Body {
    let chunks = (0..n).map(|i| Ok::<_, Infallible>(Bytes::from(vec![i; 1000])));
    reqwest::Body::wrap_stream(futures_util::stream::iter(chunks))
}

#[tokio::test]
async fn a_streamed_upload_arrives_whole_the_second_time() {
    let url = echo().await;
    let upload = Request::put(format!("{url}/flaky")).body(chunks(200));
    let response = send(&client(plain()), upload.expect("valid")).await;
    let response = response.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    let report = response.extensions().get::<RetryReport>().expect("retried");
    assert_eq!(report.attempt_count(), 2);
    let echoed = reqwest::Response::from(response).bytes().await;
    let expected: Vec<u8> = (0..200).flat_map(|i| vec![i; 1000]).collect();
    assert!(echoed.expect("a body") == expected);
}

#[tokio::test]
async fn a_failure_of_the_requests_own_body_is_not_repeated() {
    let url = echo().await;
    let broken = futures_util::stream::iter([
        Ok(Bytes::from_static(b"the first half")),
        Err(io::Error::other("the file is gone")),
    ]);
    let upload = Request::put(url).body(reqwest::Body::wrap_stream(broken));
    let error = send(&client(plain()), upload.expect("valid")).await;
    let error = error.expect_err("broken");
    failed_with(&error, Cause::RequestBody);
    assert_eq!(error.report().attempt_count(), 1);
}

#[tokio::test]
async fn reqwests_own_body_stays_one_that_reqwest_can_repeat() {
    let url = format!("{}/moved", echo().await);
    let following = reqwest::Client::builder().no_proxy().build();
    let service = ReqwestService::new(following.expect("a client"));

    let own = Request::post(&url).body(reqwest::Body::from("again"));
    let response = service.clone().oneshot(own.expect("valid")).await;
    let response = response.expect("a response");
    assert_eq!(response.status(), StatusCode::OK);
    let response = reqwest::Response::from(response);
    assert_eq!(response.url().path(), "/");
    assert_eq!(response.text().await.expect("a body"), "again");

    let other = Request::post(&url).body(Full::new(Bytes::from_static(b"once")));
    let response = service.oneshot(other.expect("valid")).await;
    let response = response.expect("a response");
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
}
