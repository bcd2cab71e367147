//! What may have been applied is not sent twice: a `POST` through the default policy, and how often
//! its bytes were on a wire.

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::rt::ReadBufCursor;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::TokioExecutor,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http_retry::{
    AttemptOutcome, BoxError, Evidence, NeverSent, RetryError, RetryLayer,
    classify::{Cause, FailureKind, Opinion, Outcome, Sent, Stage, classify},
    policy::RetryPolicy,
    stack::{LayerError, LayerOutcome},
};

type Body = Full<Bytes>;

fn policy() -> RetryPolicy {
    let builder = RetryPolicy::builder().backoff_factor(0.0).budget(None);
    builder.build().expect("valid")
}

fn request(method: Method) -> Request<Body> {
    let request = Request::builder().method(method).uri("http://a.test/pay");
    request.body(Full::from("12.50")).expect("valid")
}

/// What of a service that fails like this is told, and how often it was called.
async fn failing(
    layer: &RetryLayer<RetryPolicy>,
    method: Method,
    error: impl Fn() -> BoxError + Clone,
) -> (u32, RetryError) {
    let calls = Arc::new(AtomicU32::new(0));
    let service = service_fn({
        let calls = Arc::clone(&calls);
        move |_: Request<Body>| {
            calls.fetch_add(1, Relaxed);
            let error = error();
            async move { Err::<Response<Body>, _>(error) }
        }
    });
    let result = layer.layer(service).oneshot(request(method)).await;
    (calls.load(Relaxed), result.expect_err("it fails"))
}

fn refused() -> io::Error {
    io::ErrorKind::ConnectionRefused.into()
}

/// An error of a type that nobody knows.
#[derive(Debug)]
struct Receipt(BoxError);

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("payment accepted, but could not save the receipt")
    }
}

impl Error for Receipt {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// Where a connection fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    Connecting,
    BeforeTheRequest,
    WithinTheRequest,
    BeforeTheHead,
    WithinTheHead,
    WithinTheBody,
}

/// A connection that fails at one point, and whether it has taken a byte of a request.
struct Wire {
    point: Point,
    kind: io::ErrorKind,
    written: usize,
    answered: bool,
    reader: Option<Waker>,
    used: Arc<AtomicU32>,
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.written == 0 {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let answer: &[u8] = match self.point {
            Point::WithinTheHead => b"HTTP/1.1 200 OK\r\ncontent-le",
            Point::WithinTheBody => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            _ => b"",
        };
        if answer.is_empty() || self.answered {
            return Poll::Ready(Err(self.kind.into()));
        }
        self.answered = true;
        buf.put_slice(answer);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.point {
            Point::BeforeTheRequest => return Poll::Ready(Err(self.kind.into())),
            Point::WithinTheRequest if self.written > 0 => {
                return Poll::Ready(Err(self.kind.into()));
            }
            _ => {}
        }
        if self.written == 0 {
            self.used.fetch_add(1, Relaxed);
        }
        let taken = match self.point {
            Point::WithinTheRequest => buf.len().min(9),
            _ => buf.len(),
        };
        self.written += taken;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// Sends a `POST` through hyper-util's client over connections that fail so; a layer below the
/// retries collects the response's body. On how many connections it was, and what was told.
async fn over_wires(point: Point, kind: io::ErrorKind) -> (u32, RetryError) {
    let used = Arc::new(AtomicU32::new(0));
    let connector = service_fn({
        let used = Arc::clone(&used);
        move |_: http::Uri| {
            let wire = Wire {
                point,
                kind,
                written: 0,
                answered: false,
                reader: None,
                used: Arc::clone(&used),
            };
            std::future::ready(match point {
                Point::Connecting => Err(io::Error::from(kind)),
                _ => Ok(wire),
            })
        }
    });
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
    let collecting = service_fn(move |request: Request<Body>| {
        let mut client = client.clone();
        async move {
            let (head, body) = Service::call(&mut client, request).await?.into_parts();
            let content = body.collect().await?.to_bytes();
            Ok::<_, BoxError>(Response::from_parts(head, Full::new(content)))
        }
    });
    let retries = RetryLayer::new(policy()).layer(collecting);
    let error = retries.oneshot(request(Method::POST)).await;
    (used.load(Relaxed), error.expect_err("it fails"))
}

pub(super) const KINDS: [io::ErrorKind; 24] = {
    use io::ErrorKind::*;
    [
        ConnectionRefused,
        ConnectionReset,
        ConnectionAborted,
        HostUnreachable,
        NetworkUnreachable,
        NetworkDown,
        NotConnected,
        AddrInUse,
        AddrNotAvailable,
        BrokenPipe,
        AlreadyExists,
        PermissionDenied,
        NotFound,
        InvalidInput,
        InvalidData,
        TimedOut,
        WriteZero,
        StorageFull,
        ResourceBusy,
        Deadlock,
        Unsupported,
        UnexpectedEof,
        OutOfMemory,
        Other,
    ]
};

/// T1, T2: an errno names no stage, wherever a connection fails with it.
#[tokio::test]
async fn a_post_is_on_one_wire_at_most_whatever_kind_of_error_a_connection_fails_with() {
    for point in [
        Point::WithinTheRequest,
        Point::BeforeTheHead,
        Point::WithinTheHead,
        Point::WithinTheBody,
    ] {
        for kind in KINDS {
            let (used, error) = over_wires(point, kind).await;
            assert_eq!(used, 1, "{point:?}, {kind:?}: {error:?}");
            assert_eq!(*error.report().effects().end(), 1, "{point:?}, {kind:?}");
        }
    }
    for point in [Point::Connecting, Point::BeforeTheRequest] {
        for kind in KINDS {
            let (used, error) = over_wires(point, kind).await;
            assert_eq!(used, 0, "{point:?}, {kind:?}: {error:?}");
        }
    }
    let (_, error) = over_wires(Point::Connecting, io::ErrorKind::ConnectionRefused).await;
    assert_eq!(error.report().attempt_count(), 4);
    assert_eq!(error.report().effects(), 0..=0);
}

/// T2
#[tokio::test]
async fn a_body_that_fails_was_answered_whatever_its_error_says() {
    let (_, error) = over_wires(Point::WithinTheBody, io::ErrorKind::ConnectionRefused).await;
    let last = &error.report().attempts[0].outcome;
    let AttemptOutcome::Failed { cause, sent, .. } = last else {
        panic!("{error}");
    };
    assert_eq!((*cause, *sent), (Cause::ResponseBody, Sent::Answered));
}

/// T3
#[tokio::test]
async fn a_failure_of_work_after_the_exchange_is_no_failed_connection() {
    let error = || -> BoxError { Receipt(refused().into()).into() };
    let layer = RetryLayer::new(policy());
    let (calls, told) = failing(&layer, Method::POST, error).await;
    assert_eq!(calls, 1);
    let record = &told.report().attempts[0];
    assert!(
        matches!(
            record.outcome,
            AttemptOutcome::Failed {
                kind: FailureKind::Read,
                cause: Cause::ConnectionRefused,
                sent: Sent::Unknown,
                ..
            }
        ),
        "{record:?}"
    );
    let shown_as = Some("Receipt".to_owned());
    let evidence = record.evidence.as_deref();
    assert_eq!(evidence, Some(&Evidence::Unvouched { link: 1, shown_as }));
    assert_eq!(failing(&layer, Method::GET, error).await.0, 4);
}

#[tokio::test]
async fn a_promise_about_a_type_is_believed_and_told() {
    let bare = || -> BoxError { Receipt(refused().into()).into() };
    let marked = || -> BoxError { Receipt(NeverSent::new(refused()).into()).into() };
    let layer = RetryLayer::new(policy());
    assert_eq!(failing(&layer, Method::POST, marked).await.0, 1);

    let never = layer.clone().vouch::<Receipt>(Stage::NeverSent);
    let (calls, told) = failing(&never, Method::POST, bare).await;
    assert_eq!((calls, told.report().effects()), (4, 0..=0));
    assert!(told.report().to_string().contains("Receipt>(..)` promises"));

    // What is transparent adds nothing: an errno still proves nothing.
    let transparent = layer.vouch::<Receipt>(Stage::Transparent);
    assert_eq!(failing(&transparent, Method::POST, bare).await.0, 1);
    assert_eq!(failing(&transparent, Method::POST, marked).await.0, 4);
}

/// T5
#[tokio::test]
async fn what_an_inner_retry_layer_may_have_applied_counts_wherever_its_error_is() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let server = service_fn(move |_: Request<Body>| {
        let error: BoxError = match count.fetch_add(1, Relaxed) % 2 {
            0 => io::Error::from(io::ErrorKind::ConnectionReset).into(),
            _ => NeverSent::new(refused()).into(),
        };
        async move { Err::<Response<Body>, _>(error) }
    });
    let all = RetryPolicy::builder()
        .total(1)
        .allowed_methods([Method::POST]);
    let inner = all.backoff_factor(0.0).build().expect("valid");
    let stack = RetryLayer::new(policy())
        .vouch::<Receipt>(Stage::NeverSent)
        .layer(tower::util::MapErr::new(
            RetryLayer::new(inner).layer(server),
            |error: RetryError| Receipt(error.into()),
        ));
    let error = stack
        .oneshot(request(Method::POST))
        .await
        .expect_err("it fails");
    assert_eq!(calls.load(Relaxed), 2, "{error}");
    assert_eq!(error.report().attempts[0].inner_attempts, Some(2));
}

/// What a layer of the family says was not applied.
#[tokio::test]
async fn what_a_layer_below_says_of_the_request_is_what_the_report_says_with_or_without_an_opinion()
{
    let outcome = |sent, opinion: &Opinion| {
        let mut outcome = LayerOutcome::new("breaker");
        (outcome.sent, outcome.opinion) = (sent, opinion.clone());
        outcome
    };
    // What the layer says of the request, how often a POST is sent then, and what the record says.
    let table = [
        (None, 1, Sent::Unknown),
        (Some(Sent::Never), 4, Sent::Never),
        (Some(Sent::Unprocessed), 4, Sent::Unprocessed),
        (Some(Sent::Unknown), 1, Sent::Unknown),
        (Some(Sent::Answered), 1, Sent::Answered),
    ];
    let all = RetryPolicy::builder().total(3).backoff_factor(0.0);
    let layer = RetryLayer::new(all.unprocessed(0).budget(None).build().expect("valid"));
    for opinion in [Opinion::NoOpinion, Opinion::Retry("open".into())] {
        for (said, sent, recorded) in table {
            let carriers: [fn(LayerError) -> BoxError; 4] = [
                |error| error.into(),
                |error| Box::new(Arc::new(error)),
                |error| io::Error::other(error).into(),
                |error| Box::new(<Arc<dyn Error + Send + Sync>>::from(BoxError::from(error))),
            ];
            for carrier in carriers {
                let error = || carrier(LayerError::new(outcome(said, &opinion)));
                let (calls, told) = failing(&layer, Method::POST, error).await;
                let record = &told.report().attempts[0];
                let AttemptOutcome::Failed { sent: found, .. } = record.outcome else {
                    panic!("{told}");
                };
                assert_eq!((calls, found), (sent, recorded), "{said:?}: {told:?}");
                assert_eq!(
                    record.note.is_some(),
                    opinion != Opinion::NoOpinion,
                    "{told:?}"
                );
            }
        }
    }
}

/// T5
#[tokio::test]
async fn no_layer_below_says_so_of_what_an_inner_retry_layer_may_have_applied() {
    let policy = || RetryPolicy::builder().backoff_factor(0.0).budget(None);
    let twice = policy().total(1).allowed_methods([Method::POST]);
    let inner = RetryLayer::new(twice.build().expect("valid"));
    let (_, applied) = failing(&inner, Method::POST, || {
        io::Error::from(io::ErrorKind::ConnectionReset).into()
    })
    .await;
    let applied = Arc::new(applied);
    for (opinion, wrapped) in [
        (Opinion::NoOpinion, false),
        (Opinion::Retry("open".into()), false),
        (Opinion::Retry("open".into()), true),
    ] {
        let error = || {
            let mut outcome = LayerOutcome::new("breaker");
            (outcome.sent, outcome.opinion) = (Some(Sent::Never), opinion.clone());
            let error = LayerError::around(outcome, Arc::clone(&applied));
            match wrapped {
                false => BoxError::from(error),
                true => Receipt(error.into()).into(),
            }
        };
        let layer = RetryLayer::new(policy().build().expect("valid"));
        let (calls, told) = failing(&layer, Method::POST, error).await;
        assert_eq!(calls, 1, "{told}");
        assert_eq!(told.report().attempts[0].inner_attempts, Some(2), "{told}");
    }
}

/// R1: what a classifier judges to be unprocessed was not applied, whether it is an answer or not.
#[tokio::test]
async fn what_a_classifier_vouches_was_not_processed_counts_no_effect() {
    let layer = RetryLayer::new(policy()).classify(|outcome: &Outcome<'_>| match outcome {
        Outcome::Error { .. } => Opinion::Unprocessed("the permit was not given".into()),
        _ => Opinion::NoOpinion,
    });
    let (calls, told) = failing(&layer, Method::POST, || "no permit".into()).await;
    assert_eq!((calls, told.report().effects()), (4, 0..=0), "{told}");
}

/// T6
#[tokio::test]
async fn a_text_of_the_servers_switches_no_retries_on_or_off() {
    for text in [
        "URL scheme is not allowed",
        "Parsed Url is not a valid Uri",
        "invalid peer certificate: Expired",
        "dns error",
    ] {
        let layer = RetryLayer::new(policy()).classify(|outcome: &Outcome<'_>| match outcome {
            Outcome::Error { .. } => Opinion::Retry("it may pass".into()),
            _ => Opinion::NoOpinion,
        });
        let error = move || BoxError::from(text);
        assert_eq!(failing(&layer, Method::POST, error).await.0, 1, "{text}");
        let plain = RetryLayer::new(policy());
        assert_eq!(failing(&plain, Method::GET, error).await.0, 4, "{text}");
    }
}

/// The error of an upgrade whose request was sent and answered, but whose connection is gone before
/// the end of the request's body, up to which the upgrade waits.
pub(super) async fn canceled_upgrade() -> hyper::Error {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (client, mut server) = tokio::io::duplex(1024);
    let io = hyper_util::rt::TokioIo::new(client);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .expect("a handshake");
    let driving = tokio::spawn(connection.with_upgrades());
    let endless = http_body_util::StreamBody::new(futures_util::stream::pending());
    let endless: BoxBody<Bytes, BoxError> = BodyExt::boxed(endless);
    let response = sender.send_request(Request::post("/pay").body(endless).expect("valid"));
    let answer = async {
        let head = server.read(&mut [0; 1024]).await.expect("a head");
        assert!(head > 0);
        let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        server.write_all(head.as_bytes()).await.expect("read");
    };
    let (response, ()) = futures_util::future::join(response, answer).await;
    let upgrade = hyper::upgrade::on(response.expect("answered"));
    driving.abort();
    upgrade.await.expect_err("not upgraded")
}

/// T7
#[tokio::test]
async fn an_upgrade_that_was_not_completed_is_no_request_that_was_not_sent() {
    let error = canceled_upgrade().await;
    assert!(error.is_canceled(), "{error:?}");
    let failure = classify(&error);
    assert_eq!(failure.sent, Sent::Unknown, "{error:?}");
    assert!(!failure.is_unprocessed());
}

/// T4
#[cfg(feature = "reqwest")]
#[tokio::test]
async fn a_redirect_that_reqwest_followed_itself_is_not_followed_again() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tower_http_retry::reqwest::ReqwestService;

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let nobody = closed.local_addr().expect("bound");
    drop(closed);
    let server = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let uri = format!("http://{}/", server.local_addr().expect("bound"));
    let posts = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&posts);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = server.accept().await {
            let mut head = [0; 4096];
            let _ = socket.read(&mut head).await;
            count.fetch_add(1, Relaxed);
            let answer = format!(
                "HTTP/1.1 303 See Other\r\nlocation: http://{nobody}/\r\ncontent-length: 0\r\n\
                 connection: close\r\n\r\n"
            );
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let service = RetryLayer::new(policy())
        .replay_bodies(1024)
        .layer(ReqwestService::new(client));
    let post = Request::post(&uri).body(reqwest::Body::from("12.50"));
    let error = service
        .oneshot(post.expect("valid"))
        .await
        .expect_err("nobody there");
    assert_eq!(posts.load(Relaxed), 1, "{error}");
    let evidence = error.report().attempts[0].evidence.as_deref();
    assert_eq!(evidence, Some(&Evidence::ForeignClient));

    // A client that was built for it hands the redirect up.
    let built = ReqwestService::build(reqwest::Client::builder().no_proxy()).expect("a client");
    let service = RetryLayer::new(policy()).replay_bodies(1024).layer(built);
    let post = Request::post(&uri).body(reqwest::Body::from("12.50"));
    let response = service
        .oneshot(post.expect("valid"))
        .await
        .expect("a response");
    assert_eq!(response.status(), 303);
    assert_eq!(posts.load(Relaxed), 2);
}

/// A report that was written before `sent` was in it.
#[cfg(feature = "serde")]
#[test]
fn an_older_report_reads_as_may_have_been_applied() {
    let old = r#"{"failed":{"kind":"connect","cause":"connection_refused","error":""}}"#;
    let outcome: AttemptOutcome = serde_json::from_str(old).expect("it reads");
    let AttemptOutcome::Failed { sent, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(sent, Sent::Unknown);
}
