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
    future::{Clock, Held, Kept, ResponseFuture, Start, State},
    guards::{Admission, Guards},
    observe,
    policy::{AnySession, Policy, RequestHead, Session, select},
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
    /// Whether the layer does nothing to a request before it is sent.
    plain: bool,
}

impl<S, P, R> Retry<S, P, R> {
    pub(crate) fn with_settings(inner: S, policy: P, rewind: R, settings: Arc<Settings>) -> Self {
        Self {
            inner,
            policy,
            rewind,
            plain: settings.is_plain(),
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

/// The future of a request whose first attempt is on the way, and about which there is nothing
/// special. A macro, since a function would move its arguments once more.
macro_rules! called {
    ($retry:ident, $future:expr, $session:expr, $kept:expr) => {{
        // First, since what can panic keeps what was made before it in memory of its own.
        let clock = Clock::start(&$retry.settings);
        let settings = Arc::clone(&$retry.settings);
        ResponseFuture {
            state: State::Called { future: $future },
            kept: $kept,
            session: $session,
            clock,
            settings,
            special: None,
            progress: None,
        }
    }};
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

    // Values are made where they stay, and the request is handed on as it came: what a request
    // that succeeds costs is, besides the snapshot, mostly what is moved.
    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !self.plain || !request.extensions().is_empty() {
            return self.call_specially(request);
        }
        let session = AnySession::Layer(self.policy.session(&RequestHead::of(&request)));
        if session.is_eligible() {
            let head = Snapshot::take(&request);
            // NOTE: the call is made on the service that was polled ready, and the clone is kept.
            // A clone need not be ready, so the future polls it before each further attempt.
            let service = self.inner.clone();
            let body;
            let future = match self.rewind.keep(request.body()) {
                Some(kept) => {
                    body = kept;
                    self.rewind.send(&mut self.inner, request)
                }
                None => {
                    let (parts, whole) = request.into_parts();
                    let (first, kept) = self.rewind.prepare(whole);
                    body = kept;
                    self.inner.call(Request::from_parts(parts, first))
                }
            };
            called!(
                self,
                future,
                session,
                Kept::All {
                    head,
                    service,
                    body
                }
            )
        } else {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let future = self.rewind.send(&mut self.inner, request);
            called!(self, future, session, Kept::Line { method, uri })
        }
    }
}

impl<S, P, R> Retry<S, P, R> {
    /// Calls the service with a request that is to be given a key, that the guards may hold back or
    /// refuse, or that may have brought something along for this layer.
    #[inline(never)]
    fn call_specially<B, ResBody>(
        &mut self,
        mut request: Request<B>,
    ) -> <Self as Service<Request<B>>>::Future
    where
        S: Service<Request<R::Body>, Response = Response<ResBody>> + Clone,
        S::Error: Into<BoxError>,
        P: Policy,
        R: Rewind<B>,
        ResBody: Body,
    {
        self.settings.add_key(&mut request);
        let guards = Guards::of(&self.settings, request.uri());
        let admission = guards.as_ref().map_or(Admission::Now, |guards| {
            guards.admit(Instant::now().into_std())
        });
        let session = select(&self.policy, &RequestHead::of(&request));
        let brought = Brought::by(request.extensions());
        let (kept, request) = if session.is_eligible() {
            let head = Snapshot::take(&request);
            let service = self.inner.clone();
            let (parts, body) = request.into_parts();
            let (first, body) = self.rewind.prepare(body);
            let kept = Kept::All {
                head,
                service,
                body,
            };
            (kept, Request::from_parts(parts, first))
        } else {
            let kept = Kept::line(&request);
            (kept, request.map(|body| self.rewind.pass(body)))
        };
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
        ResponseFuture::special(start, session, kept, &self.settings, brought, guards)
    }
}
