//! [`Retry`]: the `tower::Service`.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use crate::{
    BoxError,
    body::Rewind,
    error::RetryError,
    future::{Held, Kept, ResponseFuture, Start, Tools},
    guards::{Admission, Guards},
    observe,
    policy::{Policy, RequestHead, Session, Standing, select},
    settings::{Brought, Settings},
    snapshot::Snapshot,
};

/// A service that sends the requests of its inner service again when that is safe and useful.
///
/// Made by [`RetryLayer`](crate::RetryLayer).
///
/// # Clone
///
/// Each request that can be retried clones the inner service once. The clone is polled ready
/// before every further attempt, and never before the wait for it, so that no permit of a layer
/// below is held meanwhile.
#[derive(Clone, Debug)]
pub struct Retry<S, P, R = crate::body::CloneBody> {
    inner: S,
    policy: P,
    rewind: R,
    settings: Arc<Settings>,
}

impl<S, P, R> Retry<S, P, R> {
    pub(crate) fn with_settings(inner: S, policy: P, rewind: R, settings: Arc<Settings>) -> Self {
        Self {
            inner,
            policy,
            rewind,
            settings,
        }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, P, R, B, ResBody> Service<Request<B>> for Retry<S, P, R>
where
    S: Service<Request<R::Body>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    P: Policy,
    R: Rewind<B>,
    ResBody: Body,
{
    type Response = Response<ResBody>;
    type Error = RetryError;
    type Future = ResponseFuture<S, S::Future, P::Session, R::Body, R::Saved, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| {
            let error = RetryError::not_ready(error.into());
            observe::finished(&self.settings, error.report());
            error
        })
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.settings.add_key(&mut request);
        let session = select(&self.policy, &RequestHead::of(&request));
        let brought = Brought::by(request.extensions());
        let guards = Guards::of(&self.settings, request.uri());
        let admission = match &guards {
            Some(guards) => guards.admit(Instant::now().into_std()),
            None => Admission::Now,
        };
        let (parts, body) = request.into_parts();
        let (kept, body) = match session.standing() {
            Standing::Never(reason) => (Kept::line(&parts, reason), self.rewind.pass(body)),
            Standing::Eligible => {
                let head = Snapshot::take(&parts);
                let (body, saved) = self.rewind.prepare(body);
                // NOTE: the call is made on the service that was polled ready, and the clone is
                // kept. A clone need not be ready, so the future polls it before each further
                // attempt.
                let service = self.inner.clone();
                (Kept::All(Tools::new(service, head, saved)), body)
            }
        };
        let request = Request::from_parts(parts, body);
        let start = match admission {
            Admission::Now => Start::Called(self.inner.call(request)),
            // The service that was polled ready is replaced: what it reserved for a call that is
            // not made, such as the permit of a limit, must not be kept from others.
            Admission::Held => {
                let service = self.inner.clone();
                self.inner = service.clone();
                Start::Held(Box::new(Held { service, request }))
            }
            Admission::Refused => {
                self.inner = self.inner.clone();
                Start::Refused
            }
        };
        ResponseFuture::new(start, session, kept, &self.settings, brought, guards)
    }
}
