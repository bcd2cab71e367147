//! [`Grpc`]: the service.

use std::{
    fmt,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{GrpcFuture, future::Reading, layer::HeadOnly};
use crate::body::PeekedBody;

/// Reads how gRPC calls of the service below end; made by a [`GrpcLayer`](super::GrpcLayer).
#[derive(Clone)]
pub struct Grpc<S> {
    inner: S,
    head_only: Option<HeadOnly>,
    commit_on_head: bool,
}

impl<S> Grpc<S> {
    pub(super) fn new(inner: S, head_only: Option<HeadOnly>, commit_on_head: bool) -> Self {
        Self {
            inner,
            head_only,
            commit_on_head,
        }
    }

    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service below.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Grpc<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body + Unpin,
    ResBody::Error: 'static,
{
    type Response = Response<PeekedBody<ResBody>>;
    type Error = S::Error;
    type Future = GrpcFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let head_only = match &self.head_only {
            Some(is_head_only) => is_head_only(request.uri().path()),
            None => false,
        };
        let reading = Reading {
            head_only,
            commit_on_head: self.commit_on_head,
        };
        GrpcFuture::new(self.inner.call(request), reading)
    }
}

impl<S: fmt::Debug> fmt::Debug for Grpc<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grpc")
            .field("inner", &self.inner)
            .field("head_only", &self.head_only.is_some())
            .field("commit_on_head", &self.commit_on_head)
            .finish()
    }
}
