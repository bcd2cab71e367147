//! Each attempt is counted once, under the reason for which it was sent, whichever layer sends it.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use test_support::probe::every;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http_retry::{
    BoxError, RetryLayer, endpoints::EndpointsLayer, hedge::HedgeLayer, policy::RetryPolicy,
    redirect::RedirectLayer, resume::ResumeLayer, telemetry::Metrics,
};

type Body = UnsyncBoxBody<Bytes, io::Error>;

const MS: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
enum Answer {
    /// This status, and where to go from there.
    Status(u16),
    To(&'static str),
    /// A download of ten bytes, from the first to the second of these.
    Bytes(usize, usize),
    /// Nothing for this long, then a 200.
    Late(Duration),
}
use Answer::{Bytes as Part, Late, Status, To};

/// Plays a script and notes where each request went.
#[derive(Clone)]
struct Server {
    script: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<Uri>>>,
}

impl Server {
    fn new(script: &[Answer]) -> Self {
        Self {
            script: Arc::new(Mutex::new(script.iter().copied().collect())),
            seen: Arc::default(),
        }
    }

    fn service(&self) -> impl Scripted + use<> {
        scripted(self.clone())
    }
}

type Answered = Result<Response<Body>, BoxError>;

trait Scripted:
    Service<
        Request<String>,
        Response = Response<Body>,
        Error = BoxError,
        Future: Future<Output = Answered> + Send,
    > + Clone
{
}

impl<S> Scripted for S where
    S: Service<
            Request<String>,
            Response = Response<Body>,
            Error = BoxError,
            Future: Future<Output = Answered> + Send,
        > + Clone
{
}

fn scripted(server: Server) -> impl Scripted {
    let Server { script, seen } = server;
    service_fn(move |request: Request<String>| {
        seen.lock().expect("no panic").push(request.uri().clone());
        let answer = script.lock().expect("no panic").pop_front();
        async move {
            let response = Response::builder();
            let nothing = |response: http::response::Builder| response.body(chunks(vec![]));
            let response = match answer.expect("no more attempts") {
                Status(status) => nothing(response.status(status)),
                To(location) => nothing(response.status(302).header("location", location)),
                Late(time) => {
                    tokio::time::sleep(time).await;
                    nothing(response)
                }
                Part(from, to) => {
                    let response = response.header("etag", "\"a\"");
                    let response = match from {
                        0 => response.header("content-length", 10),
                        from => response
                            .status(206)
                            .header("content-length", 10 - from)
                            .header("content-range", format!("bytes {from}-9/10")),
                    };
                    let data = Bytes::from_static(&b"0123456789"[from..to]);
                    let mut all = vec![Ok(data)];
                    if to < 10 {
                        all.push(Err(io::ErrorKind::ConnectionReset.into()));
                    }
                    response.body(chunks(all))
                }
            };
            Ok::<_, BoxError>(response.expect("valid"))
        }
    })
}

fn chunks(chunks: Vec<io::Result<Bytes>>) -> Body {
    let frames = chunks.into_iter().map(|chunk| chunk.map(Frame::data));
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

const KINDS: [&str; 7] = [
    "first",
    "retry",
    "unprocessed",
    "hedge",
    "redirect",
    "resume",
    "endpoint",
];

/// What was counted, by the names of the kinds; each attempt that the server saw is in it once.
fn kinds(metrics: &Metrics, server: &Server) -> Vec<(&'static str, u64)> {
    let now = metrics.snapshot();
    let count = |kind| {
        let labels = [("kind", kind)];
        let count = now.count("tower_http_retry_attempts_total", &labels);
        (kind, count.expect("it is a counter"))
    };
    let counts: Vec<_> = KINDS.map(count).into_iter().collect();
    let seen = server.seen.lock().expect("no panic").len() as u64;
    let sum: u64 = counts.iter().map(|(_, count)| count).sum();
    assert_eq!(sum, seen, "{counts:?}");
    assert!(server.script.lock().expect("no panic").is_empty());
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn get() -> Request<String> {
    let request = Request::get("http://a.test/x");
    request.body(String::new()).expect("valid")
}

fn retries(metrics: &Metrics) -> RetryLayer<RetryPolicy> {
    RetryLayer::new(every(MS)).metrics(metrics.clone())
}

#[tokio::test(start_paused = true)]
async fn the_hops_of_a_redirect_are_no_first_attempts() {
    let metrics = Metrics::new();
    let server = Server::new(&[To("/y"), Status(503), To("http://b.test/"), Status(200)]);
    let service = retries(&metrics).layer(server.service());
    let service = RedirectLayer::new(&every(MS)).layer(service);
    let response = service.oneshot(get()).await.expect("a response");
    assert_eq!(response.status(), 200);
    assert_eq!(
        kinds(&metrics, &server),
        [("first", 1), ("retry", 1), ("redirect", 2)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_is_dropped_in_flight_is_counted_as_one() {
    let metrics = Metrics::new();
    let server = Server::new(&[To("/y"), Late(10_000 * MS)]);
    let service = retries(&metrics).layer(server.service());
    let service = RedirectLayer::new(&every(MS)).layer(service);
    let late = tokio::time::timeout(MS * 500, service.oneshot(get()));
    assert!(late.await.is_err());
    assert_eq!(kinds(&metrics, &server), [("first", 1), ("redirect", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_continuation_is_counted_once_whether_the_retries_below_count_or_not() {
    let script = [Part(0, 4), Status(503), Part(4, 7), Part(7, 10)];
    // The retries count, the layer itself does, or both do.
    for (below, own) in [(true, false), (false, true), (true, true)] {
        let metrics = Metrics::new();
        let server = Server::new(&script);
        let mut layer = RetryLayer::new(every(MS));
        if below {
            layer = layer.metrics(metrics.clone());
        }
        let mut resume = ResumeLayer::new(every(MS));
        if own {
            resume = resume.metrics(metrics.clone());
        }
        let service = resume.layer(layer.layer(server.service()));
        let response = service.oneshot(get()).await.expect("a response");
        let body = response.into_body().collect().await.expect("all of it");
        assert_eq!(body.to_bytes(), "0123456789");
        let now = metrics.snapshot();
        let resumed = now.count("tower_http_retry_resumed_bytes_total", &[]);
        assert_eq!(resumed, Some(if own { 6 } else { 0 }));
        if below {
            assert_eq!(
                kinds(&metrics, &server),
                [("first", 1), ("retry", 1), ("resume", 2)]
            );
        } else {
            let labels = [("kind", "resume")];
            let attempts = now.count("tower_http_retry_attempts_total", &[]);
            assert_eq!(attempts, Some(2), "nobody else counts");
            assert_eq!(
                now.count("tower_http_retry_attempts_total", &labels),
                Some(2)
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_at_another_server_is_counted_apart() {
    let metrics = Metrics::new();
    let server = Server::new(&[Status(503), Status(503), Status(200)]);
    let endpoints = EndpointsLayer::ordered("http://a.test/", ["http://b.test/", "http://c.test/"]);
    let service = endpoints.expect("valid").layer(server.service());
    let service = retries(&metrics).layer(service);
    let response = service.oneshot(get()).await.expect("a response");
    assert_eq!(response.status(), 200);
    let seen = server.seen.lock().expect("no panic").clone();
    assert_ne!(seen[0].host(), seen[1].host());
    assert_eq!(kinds(&metrics, &server), [("first", 1), ("endpoint", 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_service_with_one_server_has_plain_retries() {
    let metrics = Metrics::new();
    let server = Server::new(&[Status(503), Status(200)]);
    let endpoints = EndpointsLayer::ordered("http://a.test/", ["http://b.test/"]);
    let service = endpoints.expect("valid").layer(server.service());
    let service = retries(&metrics).layer(service);
    service.oneshot(get()).await.expect("a response");
    assert_eq!(kinds(&metrics, &server), [("first", 1), ("retry", 1)]);
}

#[tokio::test(start_paused = true)]
async fn all_layers_together_count_each_attempt_once() {
    let metrics = Metrics::new();
    // Enough requests to know what is late, one hop, one break, one retry elsewhere, one hedge.
    let quick = [Status(200); 100];
    let story = [
        Late(5_000 * MS),
        To("/y"),
        Part(0, 4),
        Status(503),
        Part(4, 10),
    ];
    let server = Server::new(&[&quick[..], &story].concat());
    let endpoints = EndpointsLayer::ordered("http://a.test/", ["http://b.test/", "http://c.test/"]);
    let service = endpoints.expect("valid").layer(server.service());
    let service = HedgeLayer::new(&every(MS)).layer(service);
    let service = retries(&metrics).layer(service);
    let service = RedirectLayer::new(&every(MS)).layer(service);
    let service = ResumeLayer::new(every(MS))
        .metrics(metrics.clone())
        .layer(service);
    for _ in quick {
        let response = service.clone().oneshot(get()).await.expect("a response");
        response.into_body().collect().await.expect("nothing");
    }
    let response = service.oneshot(get()).await.expect("a response");
    let body = response.into_body().collect().await.expect("all of it");
    assert_eq!(body.to_bytes(), "0123456789");
    assert_eq!(
        kinds(&metrics, &server),
        [
            ("first", 101),
            ("hedge", 1),
            ("redirect", 1),
            ("resume", 1),
            ("endpoint", 1)
        ]
    );
}
