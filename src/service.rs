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
    future::{Held, Kept, ResponseFuture, Start},
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
        match Guards::of(&self.settings, request.uri()) {
            None => self.start(request, None, |inner, request| {
                Start::Called(inner.call(request))
            }),
            Some(guards) => self.start_guarded(request, guards),
        }
    }
}

impl<S, P, R> Retry<S, P, R> {
    #[inline(never)]
    fn start_guarded<B, ResBody>(
        &mut self,
        request: Request<B>,
        guards: Box<Guards>,
    ) -> <Self as Service<Request<B>>>::Future
    where
        S: Service<Request<R::Body>, Response = Response<ResBody>> + Clone,
        S::Error: Into<BoxError>,
        P: Policy,
        R: Rewind<B>,
        ResBody: Body,
    {
        let admission = guards.admit(Instant::now().into_std());
        self.start(request, Some(guards), |inner, request| match admission {
            Admission::Now => Start::Called(inner.call(request)),
            // The service that was polled ready is replaced: what it reserved for a call that is
            // not made, such as the permit of a limit, must not be kept from others.
            Admission::Held => {
                let service = inner.clone();
                *inner = service.clone();
                Start::Held(Box::new(Held { service, request }))
            }
            Admission::Refused => {
                *inner = inner.clone();
                Start::Refused
            }
        })
    }

    /// Starts a request with `first`.
    ///
    /// Each way through it ends in a future of its own, which is built where it is returned.
    /// Values that were collected first would be copied, and they are what a request costs.
    #[inline(always)]
    fn start<B, ResBody>(
        &mut self,
        request: Request<B>,
        guards: Option<Box<Guards>>,
        first: impl FnOnce(&mut S, Request<R::Body>) -> Start<S::Future, S, R::Body>,
    ) -> <Self as Service<Request<B>>>::Future
    where
        S: Service<Request<R::Body>, Response = Response<ResBody>> + Clone,
        S::Error: Into<BoxError>,
        P: Policy,
        R: Rewind<B>,
        ResBody: Body,
    {
        let session = select(&self.policy, &RequestHead::of(&request));
        let brought = Brought::by(request.extensions());
        if let Standing::Never(reason) = session.standing() {
            let head = Snapshot::line(&request);
            let (parts, body) = request.into_parts();
            let request = Request::from_parts(parts, self.rewind.pass(body));
            return ResponseFuture::new(
                first(&mut self.inner, request),
                session,
                head,
                Kept::Nothing(reason),
                &self.settings,
                brought,
                guards,
            );
        }
        let head = Snapshot::take(&request);
        let (parts, body) = request.into_parts();
        let (body, saved) = self.rewind.prepare(body);
        // NOTE: the call is made on the service that was polled ready, and the clone is kept. A
        // clone need not be ready, so the future polls it before each further attempt.
        let service = self.inner.clone();
        let request = Request::from_parts(parts, body);
        ResponseFuture::new(
            first(&mut self.inner, request),
            session,
            head,
            Kept::All {
                service,
                body: saved,
            },
            &self.settings,
            brought,
            guards,
        )
    }
}
