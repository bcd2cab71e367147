//! [`Peek`]: the service.

use std::{
    fmt,
    task::{Context, Poll},
};

use http::{Method, Request, Response, response::Parts};
use http_body::Body;
use tower_service::Service;

use super::{PeekFuture, PeekLayer};
use crate::{body::PeekedBody, stack::LayerOutcome};

/// Reads the beginning of some responses' bodies; made by a [`PeekLayer`].
#[derive(Clone)]
pub struct Peek<S, W, J> {
    pub(super) inner: S,
    pub(super) layer: PeekLayer<W, J>,
}

impl<S, W, J> Peek<S, W, J> {
    /// The service below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service below.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, W, J, V, ReqBody, ResBody> Service<Request<ReqBody>> for Peek<S, W, J>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    W: Fn(&Parts) -> bool + Clone,
    J: Fn(&Parts, &[u8], bool) -> V + Clone,
    V: Into<LayerOutcome>,
    ResBody: Body + Unpin,
{
    type Response = Response<PeekedBody<ResBody>>;
    type Error = S::Error;
    type Future = PeekFuture<S::Future, W, J, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        // Of the answers to these, what follows the head is no body.
        let has_body = !matches!(*request.method(), Method::HEAD | Method::CONNECT);
        let layer = has_body.then(|| self.layer.clone());
        PeekFuture::new(self.inner.call(request), layer)
    }
}

impl<S: fmt::Debug, W, J> fmt::Debug for Peek<S, W, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peek")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
