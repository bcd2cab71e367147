//! Ten thousand headers, in a response and in a request.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use tower::{Layer, ServiceExt};
use tower_http_retry::{RetryError, RetryLayer, RetryReport, policy::Preset};

use super::{PRESETS, quick};
use test_support::net::{
    client,
    fault::{Act, FaultServer, Names, Play, Protocol, in_turn},
};

const HEADERS: usize = 10_000;

fn name(number: usize) -> HeaderName {
    // Some names come again, far apart.
    format!("x-{}", number % 9_000).parse().expect("a name")
}

/// An HTTP/1.1 response with many headers; the last of them says when to come back.
fn response(status: u16, content: &str) -> Vec<u8> {
    let mut text = format!(
        "HTTP/1.1 {status} \r\ncontent-length: {}\r\n",
        content.len()
    );
    for number in 0..HEADERS {
        text += &format!("{}: {status}-{number}\r\n", name(number));
    }
    text += "retry-after: 0\r\n\r\n";
    text += content;
    text.into_bytes()
}

async fn send(
    server: &FaultServer,
    preset: Preset,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, RetryError> {
    type Connector = hyper_util::client::legacy::connect::HttpConnector<Names>;
    let client: Client<Connector, Full<Bytes>> = client::builder()
        .http1_max_headers(2 * HEADERS)
        .http1_max_buf_size(1024 * 1024)
        .build(server.connector());
    let policy = quick(preset).build().expect("valid");
    RetryLayer::new(policy).layer(client).oneshot(request).await
}

fn put(server: &FaultServer) -> Request<Full<Bytes>> {
    Request::put(server.uri("/"))
        .body(Full::from("content"))
        .expect("a request")
}

#[tokio::test]
async fn a_response_with_10_000_headers_is_retried_and_returned_as_it_is() {
    for preset in PRESETS {
        let answer = |bytes| Play::serve([Act::ReadAll, Act::Write(bytes)]);
        let plan = in_turn([answer(response(503, "no")), answer(response(200, "yes"))]);
        let server = FaultServer::start(Protocol::Http1, None, plan).await;
        let sent = send(&server, preset, put(&server)).await;
        let response = sent.expect("a response");
        assert_eq!(response.status(), StatusCode::OK);

        let report: &RetryReport = response.extensions().get().expect("a report");
        assert_eq!(report.attempt_count(), 2, "{report}");
        // A report keeps of ten thousand headers what is about retries.
        let hint = report.attempts[0].hint.as_ref().expect("a hint");
        assert_eq!(hint.headers, [("retry-after".to_owned(), "0".to_owned())]);

        assert_eq!(response.headers().len(), HEADERS + 2);
        for number in 0..HEADERS {
            let expected = HeaderValue::try_from(format!("200-{number}")).expect("a value");
            let mut values = response.headers().get_all(name(number)).iter();
            assert!(values.any(|value| *value == expected), "{number}");
        }
        let content = response.into_body().collect().await.expect("content");
        assert_eq!(content.to_bytes(), "yes");
    }
}

#[tokio::test]
async fn a_request_with_10_000_headers_is_sent_again_to_the_last_of_them() {
    for preset in PRESETS {
        for fails in [
            vec![Act::ReadAll, Act::answer(503)],
            vec![Act::ReadAll, Act::Reset],
        ] {
            let plan = in_turn([
                Play::Serve(fails.clone()),
                Play::Serve(fails),
                Play::succeed(),
            ]);
            let server = FaultServer::start(Protocol::Http1, None, plan).await;
            let mut request = put(&server);
            for number in 0..HEADERS {
                let value = HeaderValue::try_from(format!("value {number}")).expect("a value");
                request.headers_mut().append(name(number), value);
            }
            let sent = request.headers().clone();
            let response = send(&server, preset, request).await.expect("a response");
            assert_eq!(response.status(), StatusCode::OK);

            let log = server.log();
            assert_eq!(log.len(), 3);
            for attempt in log {
                assert_eq!(attempt.method, Some(Method::PUT));
                assert!(
                    attempt.whole && attempt.received == 7,
                    "{}",
                    attempt.received
                );
                let mut arrived = attempt.headers;
                // What the client adds.
                assert!(arrived.remove("host").is_some());
                assert!(arrived.remove("content-length").is_some());
                assert_eq!(arrived.len(), HEADERS);
                // Equal in the order of each name's values, too.
                assert!(arrived == sent, "another head arrived");
            }
        }
    }
}

/// What is more than a client lets in is an error of that client's, and has an end.
#[tokio::test]
async fn a_response_with_more_headers_than_the_client_reads_has_an_end() {
    for preset in PRESETS {
        let plan = in_turn([Play::serve([
            Act::ReadAll,
            Act::Write(response(200, "yes")),
        ])]);
        let server = FaultServer::start(Protocol::Http1, None, plan).await;
        let client: Client<_, Full<Bytes>> = client::builder().build(server.connector());
        let policy = quick(preset).total(2).build().expect("valid");
        let layer = RetryLayer::new(policy).deadline(Duration::from_secs(60));
        let error = layer.layer(client).oneshot(put(&server)).await;
        let error = error.expect_err("too many headers");
        let report = error.report();
        assert_eq!(report.attempt_count(), 3, "{report}");
        assert_eq!(report.stop.name(), "count_exhausted", "{report}");
        assert_eq!(server.log().len(), 3);
    }
}
