//! Must not compile: a body that is not `Clone`, in a layer that clones bodies.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use http::Request;
use tower_http_retry::body::{CloneBody, Rewind};
use tower_service::Service;

struct Chunks;

/// Bounded like the layer's own service.
struct Sends<R>(R);

impl<B, R: Rewind<B>> Service<Request<B>> for Sends<R> {
    type Response = ();
    type Error = ();
    type Future = Ready<Result<(), ()>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(self.0.pass(request.into_body()));
        ready(Ok(()))
    }
}

fn main() {
    drop(Sends(CloneBody).call(Request::new(Chunks)));
}
