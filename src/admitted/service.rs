//! The service.

use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::time::Instant;
use tower_service::Service;

use super::AdmittedFuture;
use crate::{
    BoxError,
    stack::{Admission, Admit, Ask, AskFor},
};

/// A service whose requests an [`Admission`] lets through, holds back or refuses.
///
/// It is what an [`AdaptiveThrottle`](crate::throttle::AdaptiveThrottle) and
/// [`SharedHints`](crate::shared_hints::SharedHints) make of a service when they are used as a
/// layer. Below a [`RetryLayer`](crate::RetryLayer) they count each attempt; better is to register
/// them with [`RetryLayer::admission`](crate::RetryLayer::admission), where a refusal does not take
/// the last response away and hints are those that the policy obeys. Here, they are those in
/// `Retry-After`.
///
/// A request that is refused fails with a [`LayerError`](crate::stack::LayerError), which says that
/// nothing was sent; the response of one that was held carries a
/// [`LayerOutcome`](crate::stack::LayerOutcome) that says how long. While a request is held, neither
/// permit nor connection is.
///
/// ```
/// use http::{Request, Response};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_http_retry::{BoxError, throttle::AdaptiveThrottle};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let service = ServiceBuilder::new()
///     .layer(AdaptiveThrottle::builder().build()?)
///     .service(service_fn(|_: Request<()>| async { Ok::<_, BoxError>(Response::new(())) }));
/// let response = service.oneshot(Request::get("http://example.com/").body(())?).await?;
/// assert!(response.status().is_success());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Admitted<S, A> {
    inner: S,
    admission: A,
}

impl<S, A> Admitted<S, A> {
    /// Lets `admission` decide about the requests to `inner`.
    pub fn new(inner: S, admission: A) -> Self {
        Self { inner, admission }
    }
}

impl<S, A, B, D> Service<Request<B>> for Admitted<S, A>
where
    S: Service<Request<B>, Response = Response<D>> + Clone,
    S::Error: Into<BoxError>,
    A: Admission + Clone,
{
    type Response = Response<D>;
    type Error = BoxError;
    type Future = AdmittedFuture<S, Request<B>, A, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut ticket = self.admission.ticket(request.uri());
        let now = Instant::now();
        let ask = Ask::new(now.into_std(), AskFor::First);
        let admission = self.admission.clone();
        match self.admission.admit(&mut ticket, &ask) {
            Admit::Now => AdmittedFuture::called(admission, ticket, self.inner.call(request)),
            Admit::Wait(wait) | Admit::Spread(wait) => {
                AdmittedFuture::held(admission, ticket, self.unready(), request, now, wait)
            }
            Admit::Refuse(stop) => {
                self.unready();
                AdmittedFuture::refused(admission, stop)
            }
        }
    }
}

impl<S: Clone, A> Admitted<S, A> {
    /// Replaces the service that was polled ready: what it reserved for a call that is not made,
    /// such as the permit of a limit, must not be kept from others.
    fn unready(&mut self) -> S {
        let service = self.inner.clone();
        self.inner = service.clone();
        service
    }
}
