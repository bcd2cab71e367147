//! [`Resume`]: the service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, HeaderValue, Method, Request, Response, header::ACCEPT_ENCODING};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    ResumeBody, ResumeFuture,
    asking::{Asked, Line},
    layer::Settings,
};
use crate::{BoxError, RequestDeadline, policy::Policy, snapshot::Snapshot, stack::RequestState};

/// Goes on with downloads; made by a [`ResumeLayer`](super::ResumeLayer).
#[derive(Clone)]
pub struct Resume<S, P> {
    inner: S,
    policy: P,
    settings: Arc<Settings>,
}

impl<S, P> Resume<S, P> {
    pub(super) fn new(inner: S, policy: P, settings: Arc<Settings>) -> Self {
        Self {
            inner,
            policy,
            settings,
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

impl<S, P, ReqBody, ResBody> Service<Request<ReqBody>> for Resume<S, P>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    P: Policy + Clone,
    ReqBody: Body + Default,
    ResBody: Body,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<ResumeBody<S, P, ReqBody, ResBody>>;
    type Error = S::Error;
    type Future = ResumeFuture<S, P, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let started = Instant::now();
        let state = RequestState::of(request.extensions()).cloned();
        let brought = deadline(request.extensions(), started);
        let line = if request.method() == Method::GET && request.body().is_end_stream() {
            if self.settings.identity && !request.headers().contains_key(ACCEPT_ENCODING) {
                let identity = HeaderValue::from_static("identity");
                request.headers_mut().insert(ACCEPT_ENCODING, identity);
            }
            // NOTE: the call is made on the service that was polled ready, and the clone is kept.
            Line::Get {
                head: Snapshot::take(&request),
                service: self.inner.clone(),
                policy: self.policy.clone(),
            }
        } else {
            Line::Other {
                method: request.method().clone(),
                uri: request.uri().clone(),
            }
        };
        let asked = Asked {
            line,
            settings: Arc::clone(&self.settings),
            started,
            brought,
            state,
        };
        ResumeFuture::new(self.inner.call(request), asked)
    }
}

/// When the request has to be at its end, by what it brings along.
fn deadline(extensions: &Extensions, now: Instant) -> Option<Instant> {
    // An empty map costs no look-up.
    if extensions.is_empty() {
        return None;
    }
    let own = extensions.get::<RequestDeadline>();
    let own = own.and_then(|own| now.checked_add(own.remaining(now)));
    let shared = RequestState::of(extensions).and_then(RequestState::deadline);
    own.into_iter().chain(shared).min()
}

impl<S: fmt::Debug, P: fmt::Debug> fmt::Debug for Resume<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resume")
            .field("inner", &self.inner)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
