//! Replayed bodies as hyper puts them on the wire, over HTTP/1.1 and HTTP/2.

use std::{convert::Infallible, error::Error, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response, request::Parts};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client, server, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
    task::JoinHandle,
};
use tower_http_retry::{
    BoxError,
    body::{NotReplayable, RecordBody, RecordedBody, ReplayError, Rewind, SavedBody},
};

const VERSIONS: [Version; 2] = [Version::Http1, Version::Http2];

#[derive(Clone, Copy, Debug)]
enum Version {
    Http1,
    Http2,
}

type Upload = UnsyncBoxBody<Bytes, BoxError>;

/// What a server got.
#[derive(Debug)]
struct Received {
    head: Parts,
    content: Bytes,
    trailers: Option<HeaderMap>,
}

/// Sends one request on a connection of its own. Gives the response and the connection's task.
async fn send<B>(
    version: Version,
    io: DuplexStream,
    body: B,
) -> (
    hyper::Result<Response<Incoming>>,
    JoinHandle<hyper::Result<()>>,
)
where
    B: Body<Data = Bytes, Error = ReplayError> + Send + Unpin + 'static,
{
    let io = TokioIo::new(io);
    let request = Request::post("http://server.example/")
        .header("te", "trailers")
        .header("trailer", "checksum")
        .header("host", "server.example");
    let request = request.body(body).expect("a request");
    match version {
        Version::Http1 => {
            let (mut sender, connection) =
                client::conn::http1::handshake(io).await.expect("handshake");
            let connection = tokio::spawn(connection);
            (sender.send_request(request).await, connection)
        }
        Version::Http2 => {
            let (mut sender, connection) = client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .expect("handshake");
            let connection = tokio::spawn(connection);
            (sender.send_request(request).await, connection)
        }
    }
}

/// A server for one connection that reads each request to its end.
fn serve(version: Version, received: mpsc::UnboundedSender<Received>) -> DuplexStream {
    let (near, far) = duplex(16 * 1024);
    let service = service_fn(move |request: Request<Incoming>| {
        let received = received.clone();
        async move {
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let trailers = body.trailers().cloned();
                let content = body.to_bytes();
                let _ = received.send(Received {
                    head,
                    content,
                    trailers,
                });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let io = TokioIo::new(far);
    match version {
        Version::Http1 => drop(tokio::spawn(
            server::conn::http1::Builder::new().serve_connection(io, service),
        )),
        Version::Http2 => drop(tokio::spawn(
            server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service),
        )),
    }
    near
}

/// Sends `body` to a server that answers, and gives what arrived.
async fn deliver<B>(version: Version, body: RecordedBody<B>) -> Received
where
    B: Body + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let (sender, mut received) = mpsc::unbounded_channel();
    let (response, connection) = send(version, serve(version, sender), body).await;
    assert!(response.expect("an answer").status().is_success());
    connection.abort();
    received.recv().await.expect("a request")
}

/// Gives up an attempt in the middle of its body, as a broken connection does.
async fn break_off<B>(version: Version, body: RecordedBody<B>)
where
    B: Body + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let (near, mut far) = duplex(1024);
    let broken = tokio::spawn(async move {
        // Enough for the head and some of the content.
        let _ = far.read_exact(&mut [0; 4096]).await;
    });
    let (response, _connection) = send(version, near, body).await;
    assert!(response.is_err(), "{version:?}");
    broken.await.expect("no panic");
}

fn content() -> Vec<u8> {
    (0..200_000_u32).map(|n| (n % 251) as u8).collect()
}

fn trailers() -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("checksum", http::HeaderValue::from_static("42"));
    map
}

/// The content in chunks of several sizes, and trailers, with no length known.
fn upload() -> Upload {
    let content = Bytes::from(content());
    let mut rest = content;
    let mut frames = Vec::new();
    for size in [1, 10, 100, 1000, 10_000].into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let chunk = rest.split_to(rest.len().min(size));
        frames.push(Ok(Frame::data(chunk)));
    }
    frames.push(Ok(Frame::trailers(trailers())));
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

fn head() -> Parts {
    Request::new(()).into_parts().0
}

#[tokio::test]
async fn a_replayed_upload_is_the_same_to_its_last_byte() {
    for version in VERSIONS {
        let (first, mut saved) = RecordBody::new(1 << 20).prepare(upload());
        break_off(version, first).await;
        let second = saved.next(&head(), false).expect("within the limit");
        break_off(version, second).await;
        for last in [false, true] {
            let body = saved.next(&head(), last).expect("within the limit");
            let received = deliver(version, body).await;
            assert!(received.content == content(), "{version:?}, last {last}");
            assert_eq!(received.trailers, Some(trailers()), "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_known_length_is_sent_on_every_attempt() {
    for version in VERSIONS {
        let whole = Bytes::from(content());
        let length = whole.len().to_string();
        let (first, mut saved) = RecordBody::new(1 << 20).prepare(Full::new(whole));
        let mut next = Some(first);
        for last in [false, true, true] {
            let body = next.take().expect("a body for each attempt");
            let received = deliver(version, body).await;
            assert_eq!(received.head.headers["content-length"], length);
            assert!(!received.head.headers.contains_key("transfer-encoding"));
            assert!(received.content == content(), "{version:?}");
            next = saved.next(&head(), last).ok();
        }
        assert!(next.is_none(), "nothing is kept after the last attempt");
    }
}

#[tokio::test]
async fn an_unknown_length_is_sent_in_chunks_at_first() {
    let (first, _saved) = RecordBody::new(1 << 20).prepare(upload());
    let received = deliver(Version::Http1, first).await;
    assert_eq!(received.head.headers["transfer-encoding"], "chunked");
    assert!(!received.head.headers.contains_key("content-length"));
}

#[tokio::test]
async fn an_empty_body_has_no_framing() {
    for version in VERSIONS {
        let (first, mut saved) = RecordBody::new(1).prepare(Empty::<Bytes>::new());
        let second = saved.next(&head(), true).expect("empty");
        for body in [first, second] {
            let received = deliver(version, body).await;
            assert!(!received.head.headers.contains_key("transfer-encoding"));
            assert!(received.content.is_empty());
        }
    }
}

#[tokio::test]
async fn an_error_of_the_callers_body_is_known_for_what_it_is() {
    for version in VERSIONS {
        let frames = [
            Ok(Frame::data(Bytes::from_static(b"some"))),
            Err(BoxError::from("disk on fire")),
        ];
        let body: Upload = StreamBody::new(stream::iter(frames)).boxed_unsync();
        let (first, saved) = RecordBody::new(1 << 20).prepare(body);
        let (sender, _received) = mpsc::unbounded_channel();
        let (response, _connection) = send(version, serve(version, sender), first).await;
        let error = response.expect_err("a body that fails");
        assert!(matches!(saved.check(), Err(NotReplayable::Failed)));

        let mut link: Option<&(dyn Error + 'static)> = Some(&error);
        let mut found = None;
        while let Some(error) = link {
            found = found.or(error.downcast_ref::<ReplayError>());
            link = error.source();
        }
        match version {
            Version::Http1 => {
                let source = found.expect("in the chain").source().expect("kept");
                assert_eq!(source.to_string(), "disk on fire");
            }
            // Over HTTP/2, hyper resets the stream and tells no more of the body's error, so
            // what was saved is the only one to know.
            Version::Http2 => assert!(found.is_none(), "hyper tells it now: {error:?}"),
        }
    }
}

// The answer is there, the upload is not at its end: HTTP/1.1 goes on sending.
#[tokio::test]
async fn an_upload_that_was_answered_early_stops_when_the_next_attempt_starts() {
    let (near, mut far) = duplex(1024);
    let (first, mut saved) = RecordBody::new(1 << 20).prepare(upload());
    let early = tokio::spawn(async move {
        far.read_exact(&mut [0; 2000]).await.expect("the beginning");
        far.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
            .await
            .expect("an answer");
        far
    });
    let (response, connection) = send(Version::Http1, near, first).await;
    assert_eq!(response.expect("an early answer").status(), 503);
    let far = early.await.expect("no panic");
    assert!(!connection.is_finished(), "still sending");

    let second = saved.next(&head(), false).expect("within the limit");
    let received = deliver(Version::Http1, second).await;
    assert!(received.content == content());
    // The first connection does not hang on a body that it cannot have: it ends once it can
    // write again.
    let (mut unread, _) = tokio::io::split(far);
    let drained = tokio::spawn(async move {
        let mut rest = Vec::new();
        let _ = unread.read_to_end(&mut rest).await;
        rest.len()
    });
    let ended = tokio::time::timeout(Duration::from_secs(10), connection).await;
    ended
        .expect("it ends")
        .expect("no panic")
        .expect_err("cut off");
    assert!(drained.await.expect("no panic") < content().len());
}
