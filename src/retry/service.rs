//! [`Retry`]: the `tower::Service`.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    LayerSettings, ResponseFuture,
    clock::Clock,
    counted::Counted,
    extras::{self, Extras},
    future::State,
    kept::{HeldAttempt, Retained},
    told,
};
use crate::{
    BoxError,
    body::{Rewind, TakesBody},
    error::RetryError,
    observe::{self, About},
    policy::{AnySession, Policy, RequestHead, Session, select},
    reason::StopReason,
    snapshot::Snapshot,
    stack::AskFor,
    trial::after,
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
    settings: Arc<LayerSettings>,
    /// Whether the layer does nothing to a request before it is sent.
    plain: bool,
}

impl<S, P, R> Retry<S, P, R> {
    pub(super) fn with_settings(
        inner: S,
        policy: P,
        rewind: R,
        settings: Arc<LayerSettings>,
    ) -> Self {
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

impl<S, P, R, B> Service<Request<B>> for Retry<S, P, R>
where
    S: TakesBody<R::Body> + Clone,
    P: Policy,
    R: Rewind<B>,
{
    type Response = Response<S::ResponseBody>;
    type Error = RetryError;
    type Future = ResponseFuture<S, S::Future, P::Session, R::Body, R::Saved, S::ResponseBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| {
            let error = RetryError::not_ready(error.into());
            observe::finished(
                About::Request,
                self.settings.on_event.as_ref(),
                error.report(),
            );
            Counted::not_ready(&self.settings, error.report());
            error
        })
    }

    // Values are made where they stay, and the request is handed on as it came: what a request
    // that succeeds costs is, besides the snapshot, mostly what is moved.
    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !request.extensions().is_empty() || !self.plain && !self.settings.leaves(&request) {
            return self.call_with_extras(request, None);
        }
        let session = AnySession::Layer(self.policy.session(&RequestHead::of(&request)));
        if session.deadline().is_some() {
            return self.call_with_extras(request, Some(session));
        }
        let counted = Counted::start(&self.settings, request.uri());
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
            // First, since what can panic keeps what was made before it in memory of its own.
            let clock = Clock::start(&self.settings);
            let settings = Arc::clone(&self.settings);
            ResponseFuture {
                state: State::Called { future },
                kept: Retained::Replayable {
                    head,
                    service,
                    body,
                },
                session,
                clock,
                counted,
                settings,
                extras: None,
                history: None,
            }
        } else {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let future = self.rewind.send(&mut self.inner, request);
            let clock = Clock::start(&self.settings);
            ResponseFuture {
                state: State::Called { future },
                kept: Retained::HeadOnly { method, uri },
                session,
                clock,
                counted,
                settings: Arc::clone(&self.settings),
                extras: None,
                history: None,
            }
        }
    }
}

impl<S, P, R> Retry<S, P, R> {
    /// Calls the service with a request that is to be given a key, that the admissions may hold
    /// back or refuse, or that may have brought something along for this layer. The session is made
    /// unless there is one.
    #[inline(never)]
    fn call_with_extras<B, ResBody>(
        &mut self,
        mut request: Request<B>,
        session: Option<AnySession<P::Session>>,
    ) -> <Self as Service<Request<B>>>::Future
    where
        S: Service<Request<R::Body>, Response = Response<ResBody>> + Clone,
        S::Error: Into<BoxError>,
        P: Policy,
        R: Rewind<B>,
        ResBody: Body,
    {
        self.settings.add_key(&mut request);
        let counted = Counted::start_of(&self.settings, &request);
        let mut clock = Clock::start(&self.settings);
        let session = session.unwrap_or_else(|| select(&self.policy, &RequestHead::of(&request)));
        let limit = session.deadline();
        let session = match told::retried_above(&mut request, &self.settings) {
            Some(stop) => AnySession::Refused(Box::new(stop)),
            None => session,
        };
        let mut extras = Extras::of(&request, limit, &self.settings, &mut clock);
        let entry = enter(extras.as_deref_mut(), &self.settings, &mut clock);
        let (kept, mut request) = self.keep(request, session.is_eligible());
        told::first(request.headers_mut(), &self.settings);
        let entry = match entry {
            Entry::Now => {
                let limit = extras::time_limit(extras.as_deref(), &self.settings);
                tell(&mut request, limit, &self.settings, &clock)
            }
            entry => entry,
        };
        if let Entry::Held(_) = entry {
            counted.held(&self.settings);
        }
        let state = self.begin(entry, request);
        ResponseFuture {
            state,
            kept,
            session,
            clock,
            counted,
            settings: Arc::clone(&self.settings),
            extras,
            history: None,
        }
    }

    /// Keeps what another attempt needs of a request that can be retried.
    fn keep<B>(
        &self,
        request: Request<B>,
        is_eligible: bool,
    ) -> (Retained<S, R::Saved>, Request<R::Body>)
    where
        S: Clone,
        R: Rewind<B>,
    {
        if !is_eligible {
            let kept = Retained::head_only(&request);
            return (kept, request.map(|body| self.rewind.pass(body)));
        }
        let head = Snapshot::take(&request);
        let service = self.inner.clone();
        let (parts, body) = request.into_parts();
        let (first, body) = self.rewind.prepare(body);
        let kept = Retained::Replayable {
            head,
            service,
            body,
        };
        (kept, Request::from_parts(parts, first))
    }

    /// Sends a first attempt that may be sent now.
    fn begin<B, ResBody>(
        &mut self,
        entry: Entry,
        request: Request<B>,
    ) -> State<S::Future, ResBody, HeldAttempt<S, B>>
    where
        S: Service<Request<B>> + Clone,
    {
        match entry {
            Entry::Now => State::Called {
                future: self.inner.call(request),
            },
            Entry::Held(until) => {
                let held = HeldAttempt {
                    service: self.unready(),
                    request,
                    until: Some(until),
                };
                State::Held {
                    held: Some(Box::new(held)),
                }
            }
            Entry::Refused(stop) => {
                self.unready();
                State::Refused {
                    stop: Some(Box::new(stop)),
                }
            }
        }
    }

    /// Replaces the service that was polled ready: what it reserved for a call that is not made,
    /// such as the permit of a limit, must not be kept from others.
    fn unready(&mut self) -> S
    where
        S: Clone,
    {
        let service = self.inner.clone();
        self.inner = service.clone();
        service
    }
}

/// Whether a first attempt may be sent.
enum Entry {
    Now,
    Held(Instant),
    Refused(StopReason),
}

/// Tells the server how long a first attempt can take that may be sent.
fn tell<B>(
    request: &mut Request<B>,
    limit: Option<Duration>,
    settings: &LayerSettings,
    clock: &Clock,
) -> Entry {
    let left = match settings.deadline_header {
        Some(_) => clock.left(limit, Instant::now()),
        None => return Entry::Now,
    };
    match told::deadline_of(request, left, settings) {
        Ok(()) => Entry::Now,
        Err(stop) => Entry::Refused(stop),
    }
}

/// Asks the clock and the admissions for the first attempt.
fn enter(extras: Option<&mut Extras>, settings: &LayerSettings, clock: &mut Clock) -> Entry {
    let limit = extras::time_limit(extras.as_deref(), settings);
    if let Some(deadline) = limit.filter(Duration::is_zero) {
        // Before the admissions, which would count it.
        return Entry::Refused(StopReason::DeadlineExceeded { deadline });
    }
    let Some(admissions) = extras.and_then(|extras| extras.admissions.as_mut()) else {
        return Entry::Now;
    };
    let now = Instant::now();
    clock.start_waiting(now);
    let left = clock.left(limit, now);
    match admissions.admit(AskFor::First, now, left) {
        Ok(Duration::ZERO) => Entry::Now,
        Ok(needed) => match left.filter(|left| *left <= needed) {
            Some(left) => Entry::Refused(StopReason::DeadlineTooClose { left, needed }),
            None => Entry::Held(after(now, needed)),
        },
        Err(stop) => Entry::Refused(stop),
    }
}
