//! [`Redirect`]: the service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::{RedirectFuture, rules::Rules};
use crate::{
    BoxError, RequestDeadline,
    body::{CloneBody, Rewind},
    error::RetryError,
    policy::RetryPolicy,
    snapshot::Snapshot,
    stack::RequestState,
};

/// Follows the redirects of the service below; made by a [`RedirectLayer`](super::RedirectLayer).
#[derive(Clone, Debug)]
pub struct Redirect<S, R = CloneBody> {
    inner: S,
    rewind: R,
    rules: Arc<Rules>,
}

impl<S, R> Redirect<S, R> {
    pub(super) fn new(inner: S, rewind: R, rules: Arc<Rules>) -> Self {
        Self {
            inner,
            rewind,
            rules,
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

impl<S, R, B, ResBody> Service<Request<B>> for Redirect<S, R>
where
    S: Service<Request<R::Body>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    R: Rewind<B>,
    R::Body: Default,
    ResBody: Body,
{
    type Response = Response<ResBody>;
    type Error = RetryError;
    type Future = RedirectFuture<S, S::Future, R::Body, R::Saved, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RetryError>> {
        let ready = self.inner.poll_ready(cx);
        ready.map_err(|error| RetryError::of_readiness(error.into()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let started = Instant::now();
        let state = shared(&mut request, &self.rules, started);
        let own = match request.extensions().is_empty() {
            true => None,
            false => request.extensions().get::<RetryPolicy>().cloned(),
        };
        let head = Snapshot::take(&request);
        // NOTE: the call is made on the service that was polled ready.
        let service = self.inner.clone();
        let (parts, body) = request.into_parts();
        let (first, saved) = self.rewind.prepare(body);
        let future = self.inner.call(Request::from_parts(parts, first));
        RedirectFuture::new(future, service, head, saved, Arc::clone(&self.rules))
            .with(own, state, started)
    }
}

/// What the hops share, if the request has it from the start: a later one may be the only one.
fn shared<B>(request: &mut Request<B>, rules: &Rules, now: Instant) -> Option<RequestState> {
    if let Some(outer) = RequestState::of(request.extensions()) {
        return Some(outer.clone());
    }
    let own = match request.extensions().is_empty() {
        true => None,
        false => request.extensions().get::<RequestDeadline>().copied(),
    };
    let own = own.map(|deadline| deadline.remaining(now));
    let deadline = own.or(rules.deadline)?;
    // A time that no instant can name is none.
    let state = RequestState::new(now.checked_add(deadline));
    request.extensions_mut().insert(state.clone());
    Some(state)
}
