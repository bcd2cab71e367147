//! [`GrpcLayer`]: what a user writes in a `ServiceBuilder`.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::Grpc;

/// Whether only the head is read of the response to a method, by the request's path.
pub(super) type HeadOnly = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Reads how a gRPC call ended, for the retries above it.
///
/// Belongs directly below a [`RetryLayer`](crate::RetryLayer); see the [module](super).
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_http_retry::{RetryLayer, grpc::GrpcLayer, policy::RetryPolicy};
///
/// let stack = ServiceBuilder::new()
///     .layer(RetryLayer::new(RetryPolicy::default()))
///     .layer(GrpcLayer::new());
/// # let _ = stack;
/// ```
#[derive(Clone, Default)]
pub struct GrpcLayer {
    head_only: Option<HeadOnly>,
    commit_on_head: bool,
}

impl GrpcLayer {
    /// Reads the head of each gRPC response, and what comes first of its body.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads only the head of the responses to methods for which `is_head_only` returns true. It
    /// is given the request's path: `/package.Service/Method`.
    ///
    /// For server streams whose head must not wait for their first message: without it, a
    /// response is handed out once its first frame has arrived.
    ///
    /// ```
    /// use tower_http_retry::grpc::GrpcLayer;
    ///
    /// let layer = GrpcLayer::new().head_only(|path| path == "/grpc.health.v1.Health/Watch");
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn head_only<F>(mut self, is_head_only: F) -> Self
    where
        F: Fn(&str) -> bool + Send + Sync + 'static,
    {
        self.head_only = Some(Arc::new(is_head_only));
        self
    }

    /// Takes a call for committed once the head of its response has come and is not all of it, as
    /// gRFC A6 does: what then fails in the trailers is told, and counted by budgets and throttles,
    /// but never repeated.
    ///
    /// By default only a message commits a call.
    ///
    /// ```
    /// use tower_http_retry::grpc::GrpcLayer;
    ///
    /// let layer = GrpcLayer::new().commit_on_head();
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn commit_on_head(mut self) -> Self {
        self.commit_on_head = true;
        self
    }
}

impl<S> Layer<S> for GrpcLayer {
    type Service = Grpc<S>;

    fn layer(&self, inner: S) -> Grpc<S> {
        Grpc::new(inner, self.head_only.clone(), self.commit_on_head)
    }
}

impl fmt::Debug for GrpcLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcLayer")
            .field("head_only", &self.head_only.is_some())
            .field("commit_on_head", &self.commit_on_head)
            .finish()
    }
}
