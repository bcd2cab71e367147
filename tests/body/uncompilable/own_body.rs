//! Must not compile: recorded bodies above a client that takes no body but its own.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Frame;
use tower_http_retry::{RetryLayer, policy::RetryPolicy};
use tower_layer::Layer;
use tower_service::Service;

struct OwnBody;

impl http_body::Body for OwnBody {
    type Data = &'static [u8];
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<&'static [u8]>, Infallible>>> {
        Poll::Ready(None)
    }
}

#[derive(Clone)]
struct Client;

impl Service<Request<OwnBody>> for Client {
    type Response = Response<String>;
    type Error = std::io::Error;
    type Future = Ready<Result<Response<String>, std::io::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<OwnBody>) -> Self::Future {
        ready(Ok(Response::new(String::new())))
    }
}

/// As code that is generic over its client takes it.
fn send(mut service: impl Service<Request<OwnBody>>) {
    drop(service.call(Request::new(OwnBody)));
}

fn main() {
    let layer = RetryLayer::new(RetryPolicy::default()).replay_bodies(1024);
    send(layer.layer(Client));
    drop(layer.layer(Client).call(Request::new(OwnBody)));
}
