//! From end to end on 127.0.0.1 with hyper-util's client.
//!
//! The bare client is measured twice: what its two runs differ by is noise, and no other
//! difference means more than that.

mod common;

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    thread,
};

use bytes::Bytes;
use common::Body;
use futures_util::future::join_all;
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, runtime, time::Instant};
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_http_retry::{RetryLayer, policy::RetryPolicy};

const ROUNDS: usize = 31;
const REQUESTS: usize = 1024;
const UPLOADS: usize = 64;
const UPLOADS_IN_FLIGHT: usize = 16;
const UPLOAD: usize = 1024 * 1024;

fn main() {
    let rounds = if std::env::args().any(|argument| argument == "--bench") {
        ROUNDS
    } else {
        1
    };
    let address = serve();
    let runtime = current_thread();
    for concurrency in [1, 32, 256] {
        let candidates = gets();
        let times = runtime.block_on(take_turns(
            &candidates,
            rounds,
            REQUESTS,
            concurrency,
            || {
                let mut request = common::get();
                *request.uri_mut() = uri(address);
                request
            },
        ));
        print(
            &format!("GET, {concurrency} at a time"),
            "µs per request",
            &candidates,
            &times,
        );
    }
    for (chunk, title) in [
        (
            Chunk::Shared,
            "POST of 1 MiB, 16 at a time, one chunk again and again",
        ),
        (
            Chunk::New,
            "POST of 1 MiB, 16 at a time, each chunk in memory of its own",
        ),
    ] {
        let candidates = uploads();
        let times = runtime.block_on(take_turns(
            &candidates,
            rounds,
            UPLOADS,
            UPLOADS_IN_FLIGHT,
            || {
                let (mut parts, _) = common::post().into_parts();
                parts.uri = uri(address);
                Request::from_parts(
                    parts,
                    Upload {
                        left: UPLOAD,
                        chunk,
                    },
                )
            },
        ));
        print(title, "µs per request", &candidates, &times);
    }
}

fn current_thread() -> runtime::Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn uri(address: SocketAddr) -> Uri {
    format!("http://{address}/").parse().expect("a URI")
}

/// A server on a thread of its own, which reads all and answers 200.
fn serve() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("can be set");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        current_thread().block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("can be set");
                let answer = service_fn(async |request: Request<Incoming>| {
                    let mut body = request.into_body();
                    while let Some(frame) = body.frame().await {
                        drop(frame?);
                    }
                    Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(connection);
            }
        });
    });
    address
}

struct Candidate<B> {
    name: &'static str,
    service: BoxCloneSyncService<Request<B>, Response<Incoming>, BoxError>,
}

/// Boxed, so that all are of one type; the box costs all of them the same.
fn candidate<S, B>(name: &'static str, service: S) -> Candidate<B>
where
    S: Service<Request<B>, Response = Response<Incoming>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: 'static,
{
    let service = service.map_err(Into::into);
    Candidate {
        name,
        service: BoxCloneSyncService::new(service),
    }
}

fn client<B>() -> Client<hyper_util::client::legacy::connect::HttpConnector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let mut connector = hyper_util::client::legacy::connect::HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

fn gets() -> Vec<Candidate<Body>> {
    vec![
        candidate("bare client", client()),
        candidate("bare client, again", client()),
        candidate(
            "tower::retry + TpsBudget + ExponentialBackoff",
            common::tower_budget_backoff(client()),
        ),
        candidate("ours", common::ours(client())),
    ]
}

fn uploads() -> Vec<Candidate<Upload>> {
    let replaying = RetryLayer::new(RetryPolicy::default()).replay_bodies(2 * UPLOAD as u64);
    vec![
        candidate("bare client", client()),
        candidate("bare client, again", client()),
        candidate("ours, replaying bodies", replaying.layer(client())),
    ]
}

/// A stream of unknown length.
struct Upload {
    left: usize,
    chunk: Chunk,
}

#[derive(Clone, Copy)]
enum Chunk {
    /// The memory is there anyway, so that only what a layer does is measured.
    Shared,
    /// What is recorded cannot be reused, so that a layer pays for memory as well.
    New,
}

static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= CHUNK.len();
        let data = match self.chunk {
            Chunk::Shared => Bytes::from_static(&CHUNK),
            Chunk::New => Bytes::copy_from_slice(&CHUNK),
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

/// Microseconds for one request, of each round of each candidate.
async fn take_turns<B: 'static>(
    candidates: &[Candidate<B>],
    rounds: usize,
    requests: usize,
    concurrency: usize,
    request: impl Fn() -> Request<B>,
) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::new(); candidates.len()];
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    // The first round opens the connections and is not counted.
    for round in 0..=rounds {
        fastrand::shuffle(&mut order);
        for &index in &order {
            let start = Instant::now();
            let one_after_the_other = (0..concurrency).map(async |_| {
                for _ in 0..requests / concurrency {
                    let service = candidates[index].service.clone();
                    let response = service.oneshot(request()).await.expect("a response");
                    let body = response.into_body().collect().await;
                    body.expect("a whole body");
                }
            });
            join_all(one_after_the_other).await;
            if round > 0 {
                times[index].push(start.elapsed().as_secs_f64() * 1e6 / requests as f64);
            }
        }
    }
    times
}

fn print<B>(title: &str, unit: &str, candidates: &[Candidate<B>], times: &[Vec<f64>]) {
    println!("\n{title}");
    println!("| | {unit} | against the bare client |");
    println!("| --- | ---: | ---: |");
    let median = |times: &[f64]| {
        let mut times = times.to_vec();
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let bare = median(&times[0]);
    for (candidate, times) in candidates.iter().zip(times) {
        let time = median(times);
        println!("| {} | {time:.1} | {:.2} |", candidate.name, time / bare);
    }
}
