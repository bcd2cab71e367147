//! [`Connection`]: the service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use hyper_util::client::legacy::connect::capture_connection;
use tower_service::Service;

use super::{ConnectionBody, ConnectionFuture, layer::Settings, leave::Leave};
use crate::BoxError;

/// A service that leaves the connections of the client below that a retry must not meet again;
/// made by a [`ConnectionLayer`](super::ConnectionLayer).
#[derive(Clone)]
pub struct Connection<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> Connection<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Connection<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    ResBody: Body,
    ResBody::Error: 'static,
{
    type Response = Response<ConnectionBody<ResBody>>;
    type Error = BoxError;
    type Future = ConnectionFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let connection = Leave::new(capture_connection(&mut request));
        let future = self.inner.call(request);
        ConnectionFuture::new(future, connection, Arc::clone(&self.settings))
    }
}

impl<S: fmt::Debug> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
