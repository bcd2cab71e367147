//! [`Veto`]: the `tower::Service`.

use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::VetoFuture;

/// A server that says so when its own retries are used up.
///
/// Made by [`VetoLayer`](super::VetoLayer).
#[derive(Clone, Debug)]
pub struct Veto<S> {
    inner: S,
}

impl<S> Veto<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Veto<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = VetoFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        VetoFuture::new(self.inner.call(request))
    }
}
