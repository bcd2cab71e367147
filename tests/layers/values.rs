//! What kind of values layers, their services and their futures are: each can be sent to other
//! threads, is cloned where Tower clones it, can be shown, may be moved, and is small.

use std::{
    fmt::{self, Debug},
    fs,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service};
use tower_http_retry::{
    BoxError, RetryError, RetryLayer, RetryReport,
    policy::RetryPolicy,
    shared_hints::SharedHints,
    stack::{LayerError, LayerOutcome, RequestState},
    throttle::AdaptiveThrottle,
};

type Body = Full<Bytes>;

/// The client's future.
struct Boxed(Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>);

impl Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Boxed")
    }
}

impl Future for Boxed {
    type Output = Result<Response<Body>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// A client of the size of a pointer.
#[derive(Clone, Debug)]
struct Client(#[expect(dead_code, reason = "it has a size")] usize);

impl<B> Service<Request<B>> for Client {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Boxed;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Boxed {
        unreachable!("only looked at")
    }
}

/// The size of a layer's future without that of the client and of the client's future.
fn looked_at<L>(_: L) -> usize
where
    L: Layer<Client, Service: Service<Request<Body>, Future: Debug + Send + Unpin + 'static>>,
    L: Clone + Debug + Send + Sync + 'static,
    L::Service: Clone + Debug + Send + Sync + 'static,
{
    let future = size_of::<<L::Service as Service<Request<Body>>>::Future>();
    future.saturating_sub(size_of::<Client>() + size_of::<Boxed>())
}

/// The names of all public futures.
fn futures_in(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the source") {
        let path = entry.expect("the source").path();
        if path.is_dir() {
            found.append(&mut futures_in(&path));
            continue;
        }
        let text = fs::read_to_string(path).expect("text");
        let structs = text
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("pub struct "));
        let names = structs.filter_map(|line| line.split(|c: char| !c.is_alphanumeric()).next());
        found.extend(
            names
                .filter(|name| name.ends_with("Future"))
                .map(str::to_owned),
        );
    }
    found
}

#[test]
fn every_layer_and_its_future_is_sent_cloned_shown_moved_and_small() {
    let policy = RetryPolicy::default;
    let throttle = AdaptiveThrottle::builder().build().expect("valid");
    let hints = SharedHints::builder().build().expect("valid");
    // The future of each, and the most that it may add to what it is made around.
    let mut table = vec![
        ("ResponseFuture", looked_at(RetryLayer::new(policy())), 768),
        (
            "ResponseFuture, recording",
            looked_at(RetryLayer::new(policy()).replay_bodies_as(64, |_| Body::default())),
            768,
        ),
        ("AdmittedFuture, throttle", looked_at(throttle), 128),
        ("AdmittedFuture, hints", looked_at(hints), 128),
    ];
    #[cfg(feature = "grpc")]
    table.push((
        "GrpcFuture",
        looked_at(tower_http_retry::grpc::GrpcLayer::new()),
        512,
    ));
    #[cfg(feature = "hedge")]
    table.push((
        "HedgeFuture",
        looked_at(tower_http_retry::hedge::HedgeLayer::new(&policy())),
        768,
    ));
    #[cfg(feature = "connection")]
    table.push((
        "ConnectionFuture",
        looked_at(tower_http_retry::connection::ConnectionLayer::new()),
        128,
    ));
    #[cfg(feature = "peek")]
    table.push((
        "PeekFuture",
        looked_at(tower_http_retry::peek::PeekLayer::new(
            1024,
            |_: &_| true,
            |_: &_, _: &[u8], _| tower_http_retry::stack::Opinion::NoOpinion,
        )),
        512,
    ));
    #[cfg(feature = "resume")]
    table.push((
        "ResumeFuture",
        looked_at(tower_http_retry::resume::ResumeLayer::new(policy())),
        512,
    ));
    #[cfg(feature = "redirect")]
    table.push((
        "RedirectFuture",
        looked_at(tower_http_retry::redirect::RedirectLayer::new(&policy())),
        768,
    ));
    #[cfg(feature = "endpoints")]
    table.push((
        "EndpointsFuture",
        looked_at(
            tower_http_retry::endpoints::EndpointsLayer::ordered(
                "http://a.test/",
                ["http://b.test/"],
            )
            .expect("valid"),
        ),
        256,
    ));
    #[cfg(feature = "telemetry")]
    table.push((
        "AttemptSpanFuture",
        looked_at(tower_http_retry::telemetry::AttemptSpanLayer::new()),
        128,
    ));
    #[cfg(feature = "veto")]
    table.push((
        "VetoFuture",
        looked_at(tower_http_retry::veto::VetoLayer::new()),
        0,
    ));
    println!("{table:#?}");
    // One that is missing would have no limit.
    for future in futures_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../src")) {
        let here = include_str!("values.rs").contains(&format!("\"{future}"));
        // That of a client, see below.
        assert!(
            here || future == "ReqwestFuture",
            "{future} is not in the table"
        );
    }
    for (future, size, most) in table {
        assert!(size <= most, "{future} has {size} bytes, of at most {most}");
        // Otherwise the limit says nothing.
        assert!(
            size * 8 >= most,
            "{future} has {size} bytes, the limit is {most}"
        );
    }
}

/// reqwest's is its own client, whose future is boxed.
#[cfg(feature = "reqwest")]
#[test]
fn the_service_of_reqwest_and_its_future_are_sent_cloned_shown_and_small() {
    use tower_http_retry::reqwest::{ReqwestError, ReqwestFuture, ReqwestService};

    const fn is<T: Clone + Debug + Send + Sync + 'static>() {}
    const fn is_future<T: Debug + Send + 'static>() {}
    const {
        is::<ReqwestService>();
        is_future::<ReqwestFuture>();
        is_future::<ReqwestError>();
    }
    assert!(
        size_of::<ReqwestFuture>() <= 1024,
        "{}",
        size_of::<ReqwestFuture>()
    );
}

/// What travels in requests, responses and errors.
#[test]
fn what_travels_with_a_request_can_go_anywhere() {
    const fn in_extensions<T: Clone + Debug + Send + Sync + 'static>() {}
    const fn is_error<T: std::error::Error + Send + Sync + 'static>() {}
    const {
        in_extensions::<RetryReport>();
        in_extensions::<LayerOutcome>();
        in_extensions::<RequestState>();
        is_error::<RetryError>();
        is_error::<LayerError>();
        is_error::<tower_http_retry::NeverSent>();
    }
    // A pointer: the way of a success must not carry it.
    assert_eq!(size_of::<RetryError>(), size_of::<usize>());
}
