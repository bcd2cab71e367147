//! [`Hedge`]: the service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    HedgeFuture,
    future::{Kept, Watched},
    shared::{Delay, Shared},
};
use crate::{
    BoxError,
    body::{CloneBody, Rewind},
    policy::{RequestHead, RetryPolicy, Second, second},
    snapshot::Snapshot,
    stack::RequestState,
};

/// Sends requests that are late a second time; made by a [`HedgeLayer`](super::HedgeLayer).
///
/// # Clone
///
/// Each request that may be hedged clones the service below once. The clone is polled ready when a
/// hedge is due, and not before.
#[derive(Clone)]
pub struct Hedge<S, R = CloneBody> {
    inner: S,
    rewind: R,
    shared: Arc<Shared>,
}

impl<S, R> Hedge<S, R> {
    pub(super) fn new(inner: S, rewind: R, shared: Arc<Shared>) -> Self {
        Self {
            inner,
            rewind,
            shared,
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

impl<S, R, B, ResBody> Service<Request<B>> for Hedge<S, R>
where
    S: Service<Request<R::Body>, Response = Response<ResBody>> + Clone,
    S::Error: Into<BoxError>,
    R: Rewind<B>,
{
    type Response = Response<ResBody>;
    type Error = BoxError;
    type Future = HedgeFuture<S, S::Future, R::Body, R::Saved, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let policy = match second(&self.shared.policy, &RequestHead::of(&request)) {
            Second::Never => {
                return HedgeFuture::once(self.rewind.send(&mut self.inner, request));
            }
            Second::ByLayer => None,
            Second::ByOwn(policy) => Some(policy),
        };
        if self.shared.elsewhere {
            share_state(&mut request);
        }
        match self.watch(&request, policy) {
            Some(watched) => {
                // NOTE: the call is made on the service that was polled ready, and the clone is
                // kept.
                let future = self.rewind.send(&mut self.inner, request);
                HedgeFuture::watched(future, watched)
            }
            None => HedgeFuture::once(self.rewind.send(&mut self.inner, request)),
        }
    }
}

/// Gives the request what it shares with its hedge, unless it has it already.
#[cold]
fn share_state<B>(request: &mut Request<B>) {
    if RequestState::of(request.extensions()).is_none() {
        request.extensions_mut().insert(RequestState::new(None));
    }
}

impl<S, R> Hedge<S, R> {
    /// What is remembered of a request that may be hedged; `None` if there is no place for it among
    /// those that are measured.
    #[inline]
    fn watch<B>(
        &self,
        request: &Request<B>,
        policy: Option<RetryPolicy>,
    ) -> Option<Watched<S, R::Saved>>
    where
        S: Clone,
        R: Rewind<B>,
    {
        let shared = &self.shared;
        let slot = shared.scope.slot(request.uri());
        let (place, estimate) = shared.place(slot)?;
        let has_delay = match shared.delay {
            Delay::Fixed(_) => true,
            Delay::Measured => estimate.delay().is_some(),
        };
        // A body that nothing can be kept of is measured all the same.
        let body = has_delay.then(|| self.rewind.keep(request.body()));
        let kept = body.flatten().map(|body| Kept {
            head: Snapshot::take(request),
            service: self.inner.clone(),
            body,
            policy,
        });
        Some(Watched::new(shared, slot, place, kept))
    }
}

impl<S: fmt::Debug, R> fmt::Debug for Hedge<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge")
            .field("inner", &self.inner)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
