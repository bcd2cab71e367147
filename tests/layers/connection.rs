//! Connections that a retry must not meet again, over real sockets.

use std::{
    convert::Infallible,
    future::{Future, pending},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
    time::{advance, sleep},
};
use tower::{Layer, Service, ServiceExt};
use tower_http::timeout::ResponseBodyTimeoutLayer;
use tower_http_retry::{
    AttemptOutcome, BoxError, RequestDeadline, RetryError, RetryErrorKind, RetryLayer, RetryReport,
    classify::{Opinion, Outcome},
    connection::ConnectionLayer,
    peek::{DEFAULT_LIMIT, PeekLayer},
    policy::{Note, RetryPolicy, StopReason},
};

use test_support::{
    net::clock::{Still, paused},
    probe::every,
};

const TIMEOUT: Duration = Duration::from_secs(5);

/// What the server does with a request.
#[derive(Clone, Copy)]
enum Act {
    Answer(u16),
    /// Says nothing, and leaves the connection open.
    Silence,
    /// Sends the head and a piece of the body, and no more.
    Half,
    /// Sends the head and a piece of the body, and breaks off a second later.
    Broken,
}

type Acts = dyn Fn(usize, usize) -> Act + Send + Sync;

/// A server that does with each request what is told of it: its connection's number, and its own
/// on that connection.
struct Server {
    addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    received: mpsc::UnboundedReceiver<usize>,
    _serving: JoinSet<()>,
}

impl Server {
    async fn start(
        http2: bool,
        acts: impl Fn(usize, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let (heads, received) = mpsc::unbounded_channel();
        let acts: Arc<Acts> = Arc::new(acts);
        let count = Arc::clone(&accepted);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let connection = count.fetch_add(1, Relaxed);
                let (acts, heads) = (Arc::clone(&acts), heads.clone());
                let requests = AtomicUsize::new(0);
                let service = service_fn(move |_: Request<Incoming>| {
                    let act = acts(connection, requests.fetch_add(1, Relaxed));
                    let _ = heads.send(connection);
                    act.play()
                });
                let io = TokioIo::new(stream);
                connections.spawn(async move {
                    let _ = if http2 {
                        let builder =
                            hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        builder.serve_connection(io, service).await
                    } else {
                        let builder = hyper::server::conn::http1::Builder::new();
                        builder.serve_connection(io, service).await
                    };
                });
            }
        });
        Self {
            addr,
            accepted,
            received,
            _serving: serving,
        }
    }

    /// Waits for a request. Returns the number of its connection.
    async fn received(&mut self) -> usize {
        self.received.recv().await.expect("the server is alive")
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Relaxed)
    }

    fn request(&self, method: &str) -> Request<Full<Bytes>> {
        let uri: Uri = format!("http://{}/", self.addr).parse().expect("a URI");
        let request = Request::builder().method(method).uri(uri);
        request.body(Full::from("ping")).expect("a request")
    }
}

impl Act {
    async fn play(self) -> Result<Response<UnsyncBoxBody<Bytes, BoxError>>, Infallible> {
        let piece = stream::iter([Ok(Frame::data(Bytes::from_static(b"half")))]);
        let (status, body) = match self {
            Self::Answer(status) => (status, Full::from("all").map_err(Into::into).boxed_unsync()),
            Self::Silence => pending().await,
            Self::Half => {
                let never = stream::once(pending());
                let body = StreamBody::new(futures_util::StreamExt::chain(piece, never));
                (200, body.boxed_unsync())
            }
            Self::Broken => {
                let broken = stream::once(async {
                    sleep(Duration::from_secs(1)).await;
                    Err("broken".into())
                });
                let body = StreamBody::new(futures_util::StreamExt::chain(piece, broken));
                (200, body.boxed_unsync())
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        Ok(response)
    }
}

fn client(http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http()
}

/// Runs a test whose clock moves only where it says so.
fn run<F: Future>(test: F) -> F::Output {
    paused().block_on(async {
        let _still = Still::new();
        test.await
    })
}

fn retries() -> RetryLayer<RetryPolicy> {
    RetryLayer::new(every(Duration::ZERO)).attempt_timeout(TIMEOUT)
}

/// Sends a request that succeeds, reads the answer, and returns its report, if there is one.
async fn succeed<S, B>(service: &S, request: Request<Full<Bytes>>) -> Option<RetryReport>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone,
    S::Error: std::fmt::Debug,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let response = service.clone().oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    let report = response.extensions().get().cloned();
    response.into_body().collect().await.expect("a whole body");
    report
}

fn left(report: &RetryReport) -> Vec<bool> {
    let attempts = report.attempts.iter();
    attempts
        .map(|attempt| attempt.notes().any(|note| *note == Note::ConnectionLeft))
        .collect()
}

/// The first connection answers once, and is silent from then on. All others answer.
fn silent_after_one(connection: usize, request: usize) -> Act {
    match (connection, request) {
        (0, 1..) => Act::Silence,
        _ => Act::Answer(200),
    }
}

#[test]
fn a_connection_that_went_silent_is_left_and_the_retry_is_on_one_new_one() {
    for http2 in [true, false] {
        run(async {
            let mut server = Server::start(http2, silent_after_one).await;
            let service = (retries(), ConnectionLayer::new()).layer(client(http2));
            assert_eq!(succeed(&service, server.request("GET")).await, None);
            assert_eq!(server.received().await, 0);

            let request = server.request("GET");
            let second = tokio::spawn({
                let service = service.clone();
                async move { succeed(&service, request).await }
            });
            assert_eq!(server.received().await, 0, "http2: {http2}");
            advance(TIMEOUT).await;
            let report = second.await.expect("no panic").expect("a report");
            assert_eq!(left(&report), [true, false], "{report}");
            assert!(
                report.to_string().contains("on a new connection"),
                "{report}"
            );
            assert_eq!(server.received().await, 1);

            assert_eq!(succeed(&service, server.request("GET")).await, None);
            assert_eq!(server.accepted(), 2);
        });
    }
}

#[test]
fn without_the_layer_every_retry_meets_the_silent_connection() {
    run(async {
        let mut server = Server::start(true, silent_after_one).await;
        let service = retries().layer(client(true));
        assert_eq!(succeed(&service, server.request("GET")).await, None);
        assert_eq!(server.received().await, 0);
        let second = tokio::spawn(service.oneshot(server.request("GET")));
        for _ in 0..4 {
            assert_eq!(server.received().await, 0);
            advance(TIMEOUT).await;
        }
        let error = second.await.expect("no panic").expect_err("no answer");
        assert_eq!(error.kind(), RetryErrorKind::AttemptTimeout);
        assert_eq!(error.report().attempts.len(), 4);
        assert_eq!(server.accepted(), 1);
    });
}

/// The first connection is the wrong one.
fn misdirected(connection: usize, _: usize) -> Act {
    Act::Answer(if connection == 0 { 421 } else { 200 })
}

#[test]
fn a_421_is_sent_again_on_another_connection_whatever_its_method() {
    for http2 in [true, false] {
        for method in ["GET", "POST"] {
            run(async {
                let server = Server::start(http2, misdirected).await;
                let service = (retries(), ConnectionLayer::new()).layer(client(http2));
                let report = succeed(&service, server.request(method)).await;
                let report = report.expect("a report");
                assert_eq!(left(&report), [true, false], "{report}");
                assert_eq!(server.accepted(), 2);
                assert_eq!(report.effects(), 1..=1);
            });
        }
    }
}

#[test]
fn without_the_layer_a_421_is_an_answer() {
    run(async {
        let server = Server::start(true, misdirected).await;
        let service = retries().layer(client(true));
        let response = service.oneshot(server.request("GET")).await;
        let response = response.expect("an answer");
        assert_eq!(response.status(), 421);
        let report: &RetryReport = response.extensions().get().expect("a report");
        let status = StatusCode::MISDIRECTED_REQUEST;
        assert_eq!(report.stop, StopReason::StatusNotListed { status });
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn a_421_on_the_new_connection_is_final_and_so_is_each_for_urllib3() {
    for (policy, attempts) in [(every(Duration::ZERO), 2), (RetryPolicy::urllib3(), 1)] {
        run(async {
            let server = Server::start(true, |_, _| Act::Answer(421)).await;
            let layers = (RetryLayer::new(policy), ConnectionLayer::new());
            let response = layers.layer(client(true)).oneshot(server.request("GET"));
            let response = response.await.expect("an answer");
            assert_eq!(response.status(), 421);
            let report: &RetryReport = response.extensions().get().expect("a report");
            assert_eq!(report.attempts.len(), attempts, "{report}");
            assert_eq!(server.accepted(), attempts);
        });
    }
}

/// The first request of the first connection is never answered, all others are.
fn silent_at_first(connection: usize, request: usize) -> Act {
    match (connection, request) {
        (0, 0) => Act::Silence,
        _ => Act::Answer(200),
    }
}

#[test]
fn whoever_drops_a_request_leaves_the_connection_to_others() {
    run(async {
        let mut server = Server::start(true, silent_at_first).await;
        let service = (retries(), ConnectionLayer::new()).layer(client(true));
        let first = tokio::spawn(service.clone().oneshot(server.request("GET")));
        assert_eq!(server.received().await, 0);
        first.abort();
        assert!(first.await.expect_err("it is aborted").is_cancelled());
        assert_eq!(succeed(&service, server.request("GET")).await, None);
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn a_deadline_of_the_callers_own_leaves_the_connection_to_others() {
    run(async {
        let mut server = Server::start(true, silent_at_first).await;
        let service = (retries(), ConnectionLayer::new()).layer(client(true));
        let mut request = server.request("GET");
        let deadline = RequestDeadline::after(Duration::from_millis(1));
        request.extensions_mut().insert(deadline);
        let first = tokio::spawn(service.clone().oneshot(request));
        assert_eq!(server.received().await, 0);
        advance(Duration::from_millis(2)).await;
        let error: RetryError = first.await.expect("no panic").expect_err("too late");
        assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
        assert_eq!(succeed(&service, server.request("GET")).await, None);
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn a_body_that_falls_silent_takes_its_connection_and_a_stream_that_is_reset_does_not() {
    let (silence, reset) = (TIMEOUT * 2, Duration::from_secs(1));
    for (act, after, accepted) in [(Act::Half, silence, 2), (Act::Broken, reset, 1)] {
        run(async {
            let first = move |connection: usize, request: usize| match (connection, request) {
                (0, 0) => act,
                _ => Act::Answer(200),
            };
            let server = Server::start(true, first).await;
            let body_timeout = ResponseBodyTimeoutLayer::new(TIMEOUT);
            let service = (ConnectionLayer::new(), body_timeout).layer(client(true));
            let response = service.clone().oneshot(server.request("GET")).await;
            let mut body = Box::pin(response.expect("a head").into_body());
            let piece = body.frame().await.expect("a frame").expect("a piece");
            assert_eq!(piece.into_data().expect("data"), "half");
            let rest = tokio::spawn(async move { body.frame().await.expect("an end").is_err() });
            // Polled once, so that its timer is set.
            tokio::task::yield_now().await;
            advance(after).await;
            assert!(rest.await.expect("no panic"), "the body breaks off");
            assert_eq!(succeed(&service, server.request("GET")).await, None);
            assert_eq!(server.accepted(), accepted);
        });
    }
}

#[test]
fn a_connection_is_left_where_one_says_so() {
    run(async {
        let bad =
            |connection: usize, _: usize| Act::Answer(if connection == 0 { 503 } else { 200 });
        let server = Server::start(true, bad).await;
        let is_503 = |outcome: &Outcome<'_>| match outcome {
            Outcome::Response { status, .. } => status.as_u16() == 503,
            _ => false,
        };
        let layers = (retries(), ConnectionLayer::new().leave_if(is_503));
        let service = layers.layer(client(true));
        let report = succeed(&service, server.request("GET")).await;
        let report = report.expect("a report");
        assert_eq!(left(&report), [true, false], "{report}");
        let first = &report.attempts[0].outcome;
        assert_eq!(
            *first,
            AttemptOutcome::Response(StatusCode::SERVICE_UNAVAILABLE)
        );
        assert_eq!(server.accepted(), 2);
    });
}

/// What a classifier of the retries says of this status.
fn says(opinion: Opinion) -> RetryLayer<RetryPolicy> {
    retries().classify(move |outcome: &Outcome<'_>| match outcome {
        Outcome::Response { status, .. } if *status == 503 => opinion.clone(),
        _ => Opinion::NoOpinion,
    })
}

#[test]
fn a_classifier_of_the_retries_can_have_a_connection_left() {
    for http2 in [true, false] {
        for (opinion, leaves) in [
            (Opinion::LeaveConnection("a sick backend".into()), true),
            (Opinion::Retry("it may pass".into()), false),
            (Opinion::NoOpinion, false),
        ] {
            run(async {
                let server = Server::start(http2, |connection, request| {
                    Act::Answer(if (connection, request) == (0, 0) {
                        503
                    } else {
                        200
                    })
                })
                .await;
                let service = (says(opinion), ConnectionLayer::new()).layer(client(http2));
                let report = succeed(&service, server.request("GET")).await;
                let report = report.expect("a report");
                assert_eq!(left(&report), [leaves, false], "{http2}: {report}");
                assert_eq!(server.accepted(), 1 + usize::from(leaves), "{http2}");
            });
        }
    }
}

#[test]
fn a_connection_is_left_also_where_the_request_is_not_sent_again() {
    run(async {
        let server = Server::start(true, |connection, _| {
            Act::Answer(if connection == 0 { 503 } else { 200 })
        })
        .await;
        let opinion = Opinion::LeaveConnection("a sick backend".into());
        let service = (says(opinion), ConnectionLayer::new()).layer(client(true));
        let response = service.clone().oneshot(server.request("POST")).await;
        let response = response.expect("an answer");
        assert_eq!(response.status(), 503);
        let report = response
            .extensions()
            .get::<RetryReport>()
            .expect("a report");
        assert_eq!(left(report), [true], "{report}");
        drop(response);
        assert_eq!(succeed(&service, server.request("POST")).await, None);
        assert_eq!(server.accepted(), 2);
    });
}

#[test]
fn a_connection_that_goes_silent_while_a_body_is_collected_is_left() {
    run(async {
        let mut server = Server::start(true, |connection, _| match connection {
            0 => Act::Half,
            _ => Act::Answer(200),
        })
        .await;
        let collect = PeekLayer::collect(DEFAULT_LIMIT);
        let service = (retries(), collect, ConnectionLayer::new()).layer(client(true));
        let request = server.request("GET");
        let sending = tokio::spawn(async move { succeed(&service, request).await });
        assert_eq!(server.received().await, 0);
        // Its head comes at once, and it is not known when it is there.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        advance(TIMEOUT).await;
        let report = sending.await.expect("no panic").expect("a report");
        assert_eq!(left(&report), [true, false], "{report}");
        assert_eq!(server.accepted(), 2);
    });
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_client_that_cannot_be_told_is_found_by_lint_once() {
    let log = Log::default();
    let to = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || to.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let blind = tower::service_fn(|_: Request<()>| async {
        Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
    });
    let service = ConnectionLayer::new().layer(blind);
    for _ in 0..2 {
        let response = service.clone().oneshot(Request::new(())).await;
        assert!(response.is_ok());
    }
    let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    assert_eq!(log.matches("connection-unknown").count(), 1, "{log}");
}
