//! From end to end on 127.0.0.1 with hyper-util's client.
//!
//! The bare client is measured twice: what its two runs differ by is noise, and no other
//! difference means more than that. Where memory, connections and threads happen to be lasts as
//! long as they do, so everything is set up several times; each set-up gives one ratio for each
//! candidate, and the printed ones are the middle one and the range of all.

mod common;

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    thread,
};

use bytes::Bytes;
use common::{Body, median};
use futures_util::future::join_all;
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, runtime, sync::oneshot, time::Instant};
use tower::{
    BoxError, Layer, Service, ServiceExt, service_fn as service_fn_of_tower,
    util::BoxCloneSyncService,
};
use tower_http_retry::{RetryLayer, policy::RetryPolicy};

const SETUPS: usize = 9;
const ROUNDS: usize = 7;
const REQUESTS: usize = 1024;
const UPLOADS: usize = 64;
const UPLOADS_IN_FLIGHT: usize = 16;
const UPLOAD: usize = 1024 * 1024;

fn main() {
    let (setups, rounds) = if std::env::args().any(|argument| argument == "--bench") {
        (SETUPS, ROUNDS)
    } else {
        (1, 1)
    };
    for concurrency in [1, 32, 256] {
        let title = format!("GET, {concurrency} at a time");
        let load = Load {
            rounds,
            requests: REQUESTS,
            concurrency,
        };
        measure(&title, setups, load, gets, |address| {
            let mut request = common::get();
            *request.uri_mut() = uri(address);
            request
        });
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
        let load = Load {
            rounds,
            requests: UPLOADS,
            concurrency: UPLOADS_IN_FLIGHT,
        };
        measure(title, setups, load, uploads, |address| {
            let (mut parts, _) = common::post().into_parts();
            parts.uri = uri(address);
            let left = UPLOAD;
            Request::from_parts(parts, Upload { left, chunk })
        });
    }
}

/// What is sent in each round.
#[derive(Clone, Copy)]
struct Load {
    rounds: usize,
    requests: usize,
    concurrency: usize,
}

/// Sets everything up again and again, and prints what each candidate took.
fn measure<B: 'static>(
    title: &str,
    setups: usize,
    load: Load,
    candidates: impl Fn() -> Vec<Candidate<B>>,
    request: impl Fn(SocketAddr) -> Request<B>,
) {
    let names: Vec<_> = candidates().iter().map(|it| it.name).collect();
    let mut times = vec![Vec::new(); names.len()];
    let mut ratios = times.clone();
    for _ in 0..setups {
        let (address, stop) = serve();
        let medians = current_thread().block_on(async {
            let candidates = candidates();
            take_turns(&candidates, load, || request(address)).await
        });
        drop(stop);
        for (index, time) in medians.iter().enumerate() {
            times[index].push(*time);
            ratios[index].push(time / medians[0]);
        }
    }
    println!("\n{title}");
    println!("| | µs per request | against the bare client | in {setups} set-ups |");
    println!("| --- | ---: | ---: | --- |");
    for (index, name) in names.iter().enumerate() {
        let (time, ratio) = (median(&mut times[index]), median(&mut ratios[index]));
        // Sorted by now.
        let (least, most) = (ratios[index][0], ratios[index][setups - 1]);
        println!("| {name} | {time:.1} | {ratio:.2} | {least:.2} to {most:.2} |");
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

/// A server on a thread of its own, which reads all and answers 200 until the sender is dropped.
fn serve() -> (SocketAddr, oneshot::Sender<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("can be set");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel();
    thread::spawn(move || {
        current_thread().block_on(async {
            tokio::select! {
                () = accept(listener) => {}
                _ = stopped => {}
            }
        });
    });
    (address, stop)
}

async fn accept(listener: std::net::TcpListener) {
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
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        tokio::spawn(connection);
    }
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

type HyperClient<B> = Client<hyper_util::client::legacy::connect::HttpConnector, B>;

fn client<B>() -> HyperClient<B>
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
        candidate("bare client, chunks kept", keeping(client())),
        candidate("ours, replaying bodies", replaying.layer(client())),
    ]
}

/// Keeps every chunk until the answer is there, and does nothing else: what it costs to have a body
/// at hand, whoever keeps it.
fn keeping(
    client: HyperClient<Keeping>,
) -> impl Service<
    Request<Upload>,
    Response = Response<Incoming>,
    Error = hyper_util::client::legacy::Error,
    Future: Send,
> + Clone
+ Send
+ Sync
+ 'static {
    service_fn_of_tower(move |request: Request<Upload>| {
        let client = client.clone();
        async move {
            let kept = Kept::default();
            let chunks = Arc::clone(&kept);
            let answer = client.request(request.map(|upload| Keeping { upload, kept }));
            let answer = answer.await;
            drop(chunks);
            answer
        }
    })
}

type Kept = Arc<Mutex<Vec<Bytes>>>;

struct Keeping {
    upload: Upload,
    kept: Kept,
}

impl http_body::Body for Keeping {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = ready!(Pin::new(&mut self.upload).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let chunk = frame.data_ref().cloned().unwrap_or_default();
            self.kept.lock().expect("not poisoned").push(chunk);
        }
        Poll::Ready(frame)
    }
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

/// Microseconds for one request of each candidate: the median of all rounds.
async fn take_turns<B: 'static>(
    candidates: &[Candidate<B>],
    load: Load,
    request: impl Fn() -> Request<B>,
) -> Vec<f64> {
    let Load {
        rounds,
        requests,
        concurrency,
    } = load;
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
    times.iter_mut().map(|times| median(times)).collect()
}
