//! What kind of values layers, their services and their futures are: each can be sent to other
//! threads, is cloned where Tower clones it, can be shown, may be moved, and is small.

use std::{
    fmt::Debug,
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
type Boxed = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

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
    println!("{table:#?}");
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
