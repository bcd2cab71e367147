//! What may have been applied is not sent twice over HTTP/2 either: whatever a server or a connection
//! does to a `POST`, and whenever, its head is on a wire at most once, unless the table of `classify`
//! says that it was not processed.
#![cfg(all(feature = "hyper", feature = "h2"))]

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use test_support::net::http2::{self, DATA, END_STREAM, HEADERS};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http_retry::{BoxError, RetryError, RetryLayer, policy::RetryPolicy};

use super::never_twice::KINDS;

/// When it happens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    BeforeTheRequest,
    /// Its head was read.
    WithinTheRequest,
    /// All of it was read.
    BeforeTheHead,
    /// A part of the response's head was written.
    WithinTheHead,
    WithinTheBody,
}

const POINTS: [Point; 5] = [
    Point::BeforeTheRequest,
    Point::WithinTheRequest,
    Point::BeforeTheHead,
    Point::WithinTheHead,
    Point::WithinTheBody,
];

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Reading and writing fail so.
    Io(io::ErrorKind),
    /// The server resets the stream with this code.
    Reset(u32),
    /// The server goes away with this code, and has taken this stream, or has not.
    GoAway { code: u32, taken: bool },
    /// The server closes the connection.
    Close,
}

fn faults() -> impl Iterator<Item = Fault> {
    let codes = || 0..14_u32;
    let goaway = codes().flat_map(|code| [false, true].map(|taken| Fault::GoAway { code, taken }));
    KINDS
        .into_iter()
        .map(Fault::Io)
        .chain(codes().map(Fault::Reset))
        .chain(goaway)
        .chain([Fault::Close])
}

/// Whether the table says that the request was not processed (RFC 9113, sections 6.8 and 8.7). What
/// a server says within the head of its answer is no HTTP any more.
fn says_unprocessed(point: Point, fault: Fault) -> bool {
    let in_time = matches!(point, Point::WithinTheRequest | Point::BeforeTheHead);
    in_time
        && match fault {
            Fault::Reset(code) => code == http2::code::REFUSED_STREAM,
            Fault::GoAway { taken, .. } => !taken,
            Fault::Io(_) | Fault::Close => false,
        }
}

/// The client's end of a connection.
struct Wire {
    stream: DuplexStream,
    broken: Arc<Mutex<Option<io::ErrorKind>>>,
}

impl Wire {
    fn check(&self) -> io::Result<()> {
        match *self.broken.lock().expect("no panic") {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.check())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// The server's end.
struct Server {
    stream: DuplexStream,
    broken: Arc<Mutex<Option<io::ErrorKind>>>,
    point: Point,
    fault: Fault,
    /// How many requests were on a wire.
    posts: Arc<AtomicU32>,
}

impl Server {
    /// Serves the connection until the client has left it.
    async fn serve(mut self) -> io::Result<()> {
        if self.point == Point::BeforeTheRequest {
            self.fail(1).await?;
        }
        http2::shake_hands(&mut self.stream).await?;
        loop {
            // Goes on after the failure, too: whatever is still on the wire counts.
            let frame = http2::next(&mut self.stream).await?;
            if frame.kind == HEADERS {
                self.posts.fetch_add(1, Relaxed);
            }
            let ended = frame.kind == DATA && frame.flags & END_STREAM != 0;
            match self.point {
                Point::WithinTheRequest if frame.kind == HEADERS => self.fail(frame.id).await?,
                Point::BeforeTheHead if ended => self.fail(frame.id).await?,
                Point::WithinTheHead if ended => {
                    self.write(&http2::half_a_head(frame.id)).await?;
                    self.fail(frame.id).await?;
                }
                Point::WithinTheBody if ended => {
                    let answer = [http2::head(frame.id), http2::data(frame.id, b"half")];
                    self.write(&answer.concat()).await?;
                    self.fail(frame.id).await?;
                }
                _ => {}
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    async fn fail(&mut self, id: u32) -> io::Result<()> {
        match self.fault {
            Fault::Io(kind) => {
                *self.broken.lock().expect("no panic") = Some(kind);
                // Wakes the reader.
                self.write(b"x").await
            }
            Fault::Reset(code) => self.write(&http2::rst_stream(id, code)).await,
            Fault::GoAway { code, taken } => {
                let last = if taken { id } else { id - 1 };
                self.write(&http2::goaway(last, code)).await?;
                match taken {
                    // It would be answered in time.
                    true => self.stream.shutdown().await,
                    false => Ok(()),
                }
            }
            Fault::Close => self.stream.shutdown().await,
        }
    }
}

/// A request body of two frames.
#[derive(Clone)]
struct Halves(Vec<Bytes>);

impl http_body::Body for Halves {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop().map(|half| Ok(Frame::data(half))))
    }
}

/// Sends a `POST` through hyper-util's client to such a server; a layer below the retries collects
/// the response's body. How often it was on a wire, and what was told.
async fn post(point: Point, fault: Fault) -> (u32, Result<Response<Full<Bytes>>, RetryError>) {
    let posts = Arc::new(AtomicU32::new(0));
    let connector = service_fn({
        let posts = Arc::clone(&posts);
        move |_: Uri| {
            let (client, server) = tokio::io::duplex(64 * 1024);
            let broken = Arc::new(Mutex::new(None));
            let wire = Wire {
                stream: client,
                broken: Arc::clone(&broken),
            };
            let server = Server {
                stream: server,
                broken,
                point,
                fault,
                posts: Arc::clone(&posts),
            };
            tokio::spawn(server.serve());
            std::future::ready(Ok::<_, io::Error>(TokioIo::new(wire)))
        }
    });
    let client: Client<_, Halves> = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build(connector);
    let collecting = service_fn(move |request: Request<Halves>| {
        let mut client = client.clone();
        async move {
            let (head, body) = Service::call(&mut client, request).await?.into_parts();
            let content = body.collect().await?.to_bytes();
            Ok::<_, BoxError>(Response::from_parts(head, Full::new(content)))
        }
    });
    let policy = RetryPolicy::builder().backoff_factor(0.0).budget(None);
    let retries = RetryLayer::new(policy.build().expect("valid"))
        .clone_bodies_with(|body: &Halves| Some(body.clone()))
        .layer(collecting);
    let body = Halves(vec![Bytes::from("50"), Bytes::from("12.")]);
    let request = Request::post("http://a.test/pay").body(body);
    let result = retries.oneshot(request.expect("valid")).await;
    // What is on a wire, and was not read yet.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    (posts.load(Relaxed), result)
}

#[tokio::test]
async fn a_post_is_on_one_wire_at_most_over_http2_unless_the_server_says_that_it_was_not_processed()
{
    let (mut cases, mut unprocessed) = (0, 0);
    for point in POINTS {
        for fault in faults() {
            let (posts, result) = post(point, fault).await;
            cases += 1;
            let error = match result {
                Err(error) => error,
                // A body that ends without an error, although its stream was not said to.
                Ok(_) if point == Point::WithinTheBody => {
                    assert_eq!(posts, 1, "{fault:?}");
                    continue;
                }
                Ok(response) => panic!("{point:?}, {fault:?}: {response:?}"),
            };
            let context = format!(
                "{point:?}, {fault:?}: {posts} on a wire\n{}",
                error.report()
            );
            let effects = error.report().effects();
            if says_unprocessed(point, fault) {
                // Otherwise this test could not tell. What wants HTTP/1.1 will want it again.
                let wants_http1 = fault
                    == Fault::GoAway {
                        code: 0xd,
                        taken: false,
                    };
                assert_eq!(posts > 1, !wants_http1, "{context}");
                assert_eq!(effects, 0..=0, "{context}");
                unprocessed += 1;
            } else {
                assert!(posts <= 1, "{context}");
                assert!(posts <= *effects.end(), "{context}");
            }
        }
    }
    println!("{cases} cases, {unprocessed} of them unprocessed");
    assert_eq!(unprocessed, 2 * (1 + 14));
}
