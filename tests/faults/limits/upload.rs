//! An upload of a gibibyte that fails at its end.
//!
//! Its chunks are made one by one and count themselves: what is alive of them is what the layer
//! keeps, and what hyper has not written yet.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tower::{Layer, ServiceExt};
use tower_http_retry::{
    RetryLayer, RetryReport,
    body::RecordedBody,
    policy::{Preset, StopReason},
};

use super::quick;
use test_support::net::client;

const MIB: u64 = 1024 * 1024;
const CHUNK: u64 = 256 * 1024;

/// What hyper takes of a body before it is written: two chunks, one of them half written, and
/// what is read meanwhile.
const IN_FLIGHT: u64 = 4 * CHUNK;

/// How much of a body is alive.
#[derive(Debug, Default)]
struct Alive {
    now: AtomicU64,
    most: AtomicU64,
}

/// A chunk that is no memory of its own, and counts as if it were.
struct Chunk(Arc<Alive>);

impl Chunk {
    fn bytes(alive: &Arc<Alive>) -> Bytes {
        let now = alive.now.fetch_add(CHUNK, Relaxed) + CHUNK;
        alive.most.fetch_max(now, Relaxed);
        Bytes::from_owner(Self(Arc::clone(alive)))
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        static CONTENT: [u8; CHUNK as usize] = [b'u'; CHUNK as usize];
        &CONTENT
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.0.now.fetch_sub(CHUNK, Relaxed);
    }
}

/// A body that is made while it is sent.
struct Upload {
    left: u64,
    says_its_length: bool,
    alive: Arc<Alive>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= CHUNK;
        Poll::Ready(Some(Ok(Frame::data(Chunk::bytes(&self.alive)))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.says_its_length {
            SizeHint::with_exact(self.left)
        } else {
            SizeHint::default()
        }
    }
}

/// How a server ends an upload that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fails,
    Resets,
    Succeeds,
}

/// A server that reads an upload on each connection, forgets it and ends it in turn like this. Its
/// task says how many bytes arrived of all of them.
async fn server(ends: &'static [End]) -> (http::Uri, JoinHandle<io::Result<u64>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let serving = tokio::spawn(async move {
        let mut all = 0;
        for end in ends {
            let (mut stream, _) = listener.accept().await?;
            all += discard(&mut stream).await?;
            let status = match end {
                End::Resets => {
                    stream.set_zero_linger()?;
                    continue;
                }
                End::Fails => "503 Busy",
                End::Succeeds => "200 OK",
            };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await?;
        }
        Ok(all)
    });
    let uri = format!("http://{addr}/").parse().expect("a URI");
    (uri, serving)
}

/// Reads a request to its end; how many bytes of content it had.
async fn discard(stream: &mut TcpStream) -> io::Result<u64> {
    let mut stream = BufReader::with_capacity(1024 * 1024, stream);
    let mut length = None;
    loop {
        let line = line(&mut stream).await?.to_lowercase();
        if let Some(number) = line.strip_prefix("content-length: ") {
            length = Some(number.parse().expect("a number"));
        }
        if line.is_empty() {
            break;
        }
    }
    if let Some(length) = length {
        skip(&mut stream, length).await?;
        return Ok(length);
    }
    let mut content = 0;
    loop {
        let size = line(&mut stream).await?;
        let size = u64::from_str_radix(&size, 16).expect("a chunk's size");
        skip(&mut stream, size).await?;
        line(&mut stream).await?;
        if size == 0 {
            return Ok(content);
        }
        content += size;
    }
}

async fn line(stream: &mut BufReader<&mut TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

async fn skip(stream: &mut BufReader<&mut TcpStream>, mut bytes: u64) -> io::Result<()> {
    while bytes > 0 {
        let there = stream.fill_buf().await?.len() as u64;
        if there == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let some = there.min(bytes);
        stream.consume(some as usize);
        bytes -= some;
    }
    Ok(())
}

/// An upload through the layer, and what became of it.
async fn upload(
    preset: Preset,
    limit: u64,
    length: u64,
    says_its_length: bool,
    ends: &'static [End],
) -> (Option<StatusCode>, RetryReport, Arc<Alive>, u64) {
    let (uri, serving) = server(ends).await;
    let client: Client<HttpConnector, RecordedBody<Upload>> = client::builder().build_http();
    let layer = RetryLayer::new(quick(preset).build().expect("valid")).replay_bodies(limit);
    let alive = Arc::new(Alive::default());
    let body = Upload {
        left: length,
        says_its_length,
        alive: Arc::clone(&alive),
    };
    let request = Request::put(uri).body(body).expect("a request");
    let (status, report) = match layer.layer(client).oneshot(request).await {
        Ok(response) => {
            let report = response.extensions().get().cloned().expect("a report");
            (Some(response.status()), report)
        }
        Err(error) => (None, error.report().clone()),
    };
    let arrived = serving.await.expect("no panic").expect("it arrived");
    (status, report, alive, arrived)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_that_fails_at_its_end_is_not_kept() {
    const LIMIT: u64 = MIB;
    const LENGTH: u64 = 1024 * MIB;

    for (preset, says_its_length, ends, status) in [
        (
            Preset::Default,
            false,
            &[End::Fails][..],
            Some(StatusCode::SERVICE_UNAVAILABLE),
        ),
        (Preset::Urllib3, true, &[End::Resets][..], None),
    ] {
        let (got, report, alive, arrived) =
            upload(preset, LIMIT, LENGTH, says_its_length, ends).await;
        assert_eq!(arrived, LENGTH, "{report}");
        assert_eq!(got, status, "{report}");
        assert_eq!(report.attempt_count(), 1, "{report}");
        let reason = StopReason::BodyNotReplayable {
            sent: LENGTH,
            limit: LIMIT,
        };
        assert_eq!(report.stop, reason);
        let most = alive.most.load(Relaxed);
        // What is known to be too long is not kept at all.
        let kept = if says_its_length { 0 } else { LIMIT };
        assert!(most <= kept + IN_FLIGHT, "{preset:?}: {most} bytes at once");
        assert!(most >= kept, "{preset:?}: only {most} bytes were ever kept");
        assert_eq!(alive.now.load(Relaxed), 0, "all of it is let go");
    }
}

/// What is within the limit is kept to its last byte, and sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_within_the_limit_is_kept_and_sent_again() {
    const LENGTH: u64 = 16 * MIB;

    for preset in [Preset::Default, Preset::Urllib3] {
        for says_its_length in [false, true] {
            let ends = &[End::Fails, End::Resets, End::Succeeds];
            let (got, report, alive, arrived) =
                upload(preset, LENGTH, LENGTH, says_its_length, ends).await;
            assert_eq!(got, Some(StatusCode::OK), "{report}");
            assert_eq!(report.attempt_count(), 3, "{report}");
            assert_eq!(arrived, 3 * LENGTH, "{report}");
            // Not one byte of it twice: what is sent again is what is kept.
            assert_eq!(alive.most.load(Relaxed), LENGTH, "{report}");
            assert_eq!(alive.now.load(Relaxed), 0, "all of it is let go");
        }
    }
}
