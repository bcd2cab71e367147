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
}

impl<S> Layer<S> for GrpcLayer {
    type Service = Grpc<S>;

    fn layer(&self, inner: S) -> Grpc<S> {
        Grpc::new(inner, self.head_only.clone())
    }
}

impl fmt::Debug for GrpcLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcLayer")
            .field("head_only", &self.head_only.is_some())
            .finish()
    }
}
