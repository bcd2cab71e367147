//! [`Endpoints`]: the service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, header::HOST};
use tokio::time::Instant;
use tower_service::Service;

use super::{
    EndpointsFuture,
    future::Attempt,
    pool::{Choice, Pool},
};
use crate::{BoxError, stack::RequestState};

/// A service that can be reached at several endpoints; made by an
/// [`EndpointsLayer`](super::EndpointsLayer).
///
/// The service below gets the requests to all of them: a client has a pool for each.
#[derive(Clone)]
pub struct Endpoints<S> {
    inner: S,
    pool: Arc<Pool>,
}

impl<S> Endpoints<S> {
    pub(super) fn new(inner: S, pool: Arc<Pool>) -> Self {
        Self { inner, pool }
    }

    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service below.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Sends the request to an endpoint. `None` if it is for another service.
    fn route<B>(&self, request: &mut Request<B>) -> Result<Option<Attempt>, http::Error> {
        let pool = &self.pool;
        let Some(rest) = pool.service.rest(request.uri()) else {
            return Ok(None);
        };
        let now = Instant::now();
        let state = RequestState::of(request.extensions());
        let tried = state.map(RequestState::tried).unwrap_or_default();
        let Choice { index, looks } = pool.choose(&tried, now);
        // Gives the look back if there is no such URI.
        let mut attempt = Attempt::new(Arc::clone(pool), index, looks, now);
        let base = &pool.endpoints[index].base;
        let uri = base.join(rest)?;
        let host = request.headers().get(HOST);
        let host = host.and_then(|host| base.host(&pool.service, host));
        if let Some(state) = state {
            state.add_tried(uri.clone());
        }
        attempt.uri = uri.clone();
        *request.uri_mut() = uri;
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host);
        }
        Ok(Some(attempt))
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Endpoints<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<ResBody>;
    type Error = BoxError;
    type Future = EndpointsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.route(&mut request) {
            Ok(attempt) => EndpointsFuture::called(self.inner.call(request), attempt),
            Err(error) => EndpointsFuture::failed(error),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Endpoints<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("inner", &self.inner)
            .field("pool", &self.pool)
            .finish()
    }
}
