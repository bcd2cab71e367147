//! Downloads over HTTP/2 on sockets, where a stream can end although its connection goes on, and a
//! connection although its stream does.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use sha2::{Digest, Sha256};
use test_support::net::{
    fault::{Act, Answer, FaultServer, Play, Protocol},
    http2::code,
};
use tower::{ServiceBuilder, ServiceExt};
use tower_http_retry::{
    RetryLayer,
    policy::{Backoff, RetryPolicy},
    resume::ResumeLayer,
};

const LENGTH: usize = 40_000;
/// What is left when it is sent in one piece.
const LAST: usize = 4_000;

fn file() -> Bytes {
    let byte = |at: usize| ((at as u32).wrapping_mul(0x9e37_79b1) >> 13).to_le_bytes()[0];
    (0..LENGTH).map(byte).collect()
}

/// Where the request wants the file to begin.
fn first_of(headers: &HeaderMap) -> usize {
    match headers.get("range") {
        None => 0,
        Some(range) => {
            assert_eq!(headers["if-range"], "\"a\"");
            let range = range.to_str().expect("a text").strip_prefix("bytes=");
            let first = range.and_then(|range| range.strip_suffix('-'));
            first.expect("to the end").parse().expect("a number")
        }
    }
}

/// All from where it is asked for, as one half of it and this, or as a whole if it is short.
fn acts(headers: &HeaderMap, fault: &[Act]) -> Vec<Act> {
    let first = first_of(headers);
    let content = file().slice(first..);
    let (left, last) = (content.len(), LENGTH - 1);
    let answer = match first {
        0 => Answer::new(200),
        _ => {
            let range = format!("bytes {first}-{last}/{LENGTH}");
            // It has to live as long as the test.
            Answer::new(206).header("content-range", range.leak())
        }
    };
    let answer = answer.header("etag", "\"a\"").content(content);
    match left {
        ..=LAST => vec![Act::Answer(answer)],
        _ => [&[Act::HalfABody(answer)], fault].concat(),
    }
}

#[tokio::test]
async fn a_download_outlives_the_end_of_its_streams_and_connections() {
    let go_away = |processed, code| Act::GoAway { processed, code };
    for fault in [
        vec![Act::ResetStream(code::INTERNAL_ERROR)],
        vec![Act::ResetStream(code::REFUSED_STREAM)],
        vec![Act::ResetStream(code::ENHANCE_YOUR_CALM)],
        vec![Act::ResetStream(code::CANCEL)],
        // hyper takes this one for the end of a body that has arrived.
        vec![Act::ResetStream(code::NO_ERROR)],
        vec![go_away(true, code::NO_ERROR), Act::Close],
        vec![go_away(true, code::INTERNAL_ERROR), Act::Close],
        vec![go_away(false, code::NO_ERROR), Act::Close],
        vec![go_away(false, code::ENHANCE_YOUR_CALM), Act::Reset],
        // What was sent is written, or would be lost with the connection.
        vec![Act::Write(Vec::new()), Act::Close],
        vec![Act::Write(Vec::new()), Act::Reset],
        vec![Act::Write(b"what is no frame".to_vec()), Act::Close],
    ] {
        let asked = Arc::new(AtomicU32::new(0));
        let (shown, count) = (format!("{fault:?}"), Arc::clone(&asked));
        let server = FaultServer::start(Protocol::Http2, None, move |_| {
            let (fault, count) = (fault.clone(), Arc::clone(&count));
            Play::by_head(move |_, _, headers| {
                count.fetch_add(1, Relaxed);
                acts(headers, &fault)
            })
        })
        .await;
        let policy = RetryPolicy::builder()
            .total(20)
            .backoff(Backoff::none())
            .budget(None)
            .build()
            .expect("valid");
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build::<_, Empty<Bytes>>(server.connector());
        let client = ServiceBuilder::new()
            .layer(ResumeLayer::new(policy.clone()))
            .layer(RetryLayer::new(policy))
            .service(client);
        let request = Request::get(server.uri("/file")).body(Empty::new());
        let response = client.oneshot(request.expect("a request")).await;
        let mut body = std::pin::pin!(response.expect("a response").into_body());
        let mut sha = Sha256::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.unwrap_or_else(|error| panic!("{shown}: {}", error.report()));
            sha.update(frame.into_data().expect("no trailers"));
        }
        assert_eq!(sha.finalize(), Sha256::digest(file()), "{shown}");
        let report = body.report().expect("it broke");
        assert_eq!(report.stop.name(), "succeeded", "{shown}");
        let continued = report.attempts.iter();
        let continued = continued.filter(|attempt| attempt.failed_within.is_some());
        assert!(continued.count() >= 4, "{shown}: {report}");
        assert!(asked.load(Relaxed) >= 5, "{shown}");
    }
}
