//! Must not compile: a body whose clone is shallow, in a layer that clones bodies.

use std::{
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_http_retry::{RetryLayer, policy::RetryPolicy};
use tower_layer::Layer;
use tower_service::Service;

/// Once it was sent, its clones are empty.
#[derive(Clone)]
struct Shared(Arc<Mutex<Vec<u8>>>);

#[derive(Clone)]
struct Client;

impl Service<Request<Shared>> for Client {
    type Response = Response<String>;
    type Error = std::io::Error;
    type Future = Ready<Result<Response<String>, std::io::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Shared>) -> Self::Future {
        ready(Ok(Response::new(String::new())))
    }
}

/// As clients take the service that is below them.
fn send<S: Service<Request<Shared>>>(mut service: S) -> S::Future {
    service.call(Request::new(Shared(Arc::default())))
}

fn main() {
    drop(send(RetryLayer::new(RetryPolicy::default()).layer(Client)));
}
