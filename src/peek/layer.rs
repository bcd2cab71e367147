//! [`PeekLayer`]: what a user writes in a `ServiceBuilder`.

use std::fmt;

use http::response::Parts;
use tower_layer::Layer;

use super::Peek;
use crate::stack::LayerOutcome;

/// So many bytes of a body are enough for errors, and few enough to be kept of each response:
/// 64 KiB.
pub const DEFAULT_LIMIT: usize = 64 * 1024;

/// Reads the beginning of some responses' bodies before they are judged.
///
/// Belongs below a [`RetryLayer`](crate::RetryLayer); see the [module](super).
#[derive(Clone)]
pub struct PeekLayer<W, J> {
    limit: usize,
    when: W,
    judge: J,
    name: &'static str,
}

impl<W, J> PeekLayer<W, J> {
    /// Reads at most `limit` bytes of the body of each response whose head `when` wants, and lets
    /// `judge` say what they mean. `judge` is given the head, the bytes, and whether they are the
    /// whole body.
    ///
    /// It returns an [`Opinion`](crate::classify::Opinion), or a [`LayerOutcome`] if it has more to
    /// say: what failed, or how long the server asks to wait.
    ///
    /// No more than 1024 frames are read either, since each takes memory, however small it is. A
    /// frame that passes the limit is there already, and is kept whole; the judge sees none of what
    /// is beyond. With a limit of 0 nothing is read and nothing is judged.
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_http_retry::{
    ///     classify::Cause,
    ///     peek::{DEFAULT_LIMIT, PeekLayer},
    ///     stack::LayerOutcome,
    /// };
    ///
    /// // What says `{"ok": false}` is what a 503 would have been: the policy decides.
    /// let layer = PeekLayer::new(
    ///     DEFAULT_LIMIT,
    ///     |head| head.status == StatusCode::OK,
    ///     |_, bytes, complete| {
    ///         let mut said = LayerOutcome::new("ok field");
    ///         if complete && bytes == br#"{"ok": false}"# {
    ///             said.failure = Some(Cause::Status(StatusCode::SERVICE_UNAVAILABLE).into());
    ///         }
    ///         said
    ///     },
    /// );
    /// # let _ = layer;
    /// ```
    pub fn new<V>(limit: usize, when: W, judge: J) -> Self
    where
        W: Fn(&Parts) -> bool + Clone,
        J: Fn(&Parts, &[u8], bool) -> V + Clone,
        V: Into<LayerOutcome>,
    {
        Self {
            limit,
            when,
            judge,
            name: "PeekLayer",
        }
    }

    /// The name under which reports show what the judge says; `PeekLayer` without it.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Reads at most so many bytes, in place of the limit so far.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }
}

impl<S, W: Clone, J: Clone> Layer<S> for PeekLayer<W, J> {
    type Service = Peek<S, W, J>;

    fn layer(&self, inner: S) -> Self::Service {
        Peek {
            inner,
            layer: self.clone(),
        }
    }
}

/// What the services need of it.
impl<W, J> PeekLayer<W, J> {
    pub(super) fn parts(&self) -> (usize, &W, &J, &'static str) {
        (self.limit, &self.when, &self.judge, self.name)
    }
}

impl<W, J> fmt::Debug for PeekLayer<W, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeekLayer")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
