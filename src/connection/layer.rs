//! [`ConnectionLayer`]: what a user writes in a `ServiceBuilder`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tower_layer::Layer;

use super::Connection;
use crate::{
    classify::Outcome,
    lint::{Finding, LintCode},
    observe,
};

type LeaveIf = Arc<dyn Fn(&Outcome<'_>) -> bool + Send + Sync>;

/// Leaves connections that a retry must not meet again; see the [module](super).
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_http_retry::{RetryLayer, connection::ConnectionLayer, policy::RetryPolicy};
///
/// let stack = ServiceBuilder::new()
///     .layer(RetryLayer::new(RetryPolicy::default()))
///     .layer(ConnectionLayer::new());
/// # let _ = stack;
/// ```
#[derive(Clone, Default)]
pub struct ConnectionLayer {
    settings: Arc<Settings>,
}

#[derive(Default)]
pub(super) struct Settings {
    leave_if: Option<LeaveIf>,
    /// Whether it was said that the client below tells nothing of its connections.
    said: AtomicBool,
}

impl ConnectionLayer {
    /// Leaves what timed out, broke, or was the wrong one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves a connection also after the outcomes for which `is_bad` returns true.
    ///
    /// Behind a load balancer, for instance, each connection may lead to a backend of its own, and
    /// another one is worth trying:
    ///
    /// ```
    /// use tower_http_retry::{classify::Outcome, connection::ConnectionLayer};
    ///
    /// let layer = ConnectionLayer::new().leave_if(|outcome| {
    ///     matches!(outcome, Outcome::Response { status, .. } if status.as_u16() == 503)
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn leave_if<F>(self, is_bad: F) -> Self
    where
        F: Fn(&Outcome<'_>) -> bool + Send + Sync + 'static,
    {
        let settings = Settings {
            leave_if: Some(Arc::new(is_bad)),
            said: AtomicBool::new(false),
        };
        Self {
            settings: Arc::new(settings),
        }
    }
}

impl Settings {
    pub(super) fn says_leave(&self, outcome: &Outcome<'_>) -> bool {
        self.leave_if.as_ref().is_some_and(|is_bad| is_bad(outcome))
    }

    /// The client has answered, and told nothing of its connection.
    #[cold]
    pub(super) fn client_tells_nothing(&self) {
        if !self.said.swap(true, Relaxed) {
            observe::finding(&Finding::new(
                LintCode::ConnectionUnknown,
                "the client below `ConnectionLayer` does not say which connection it uses, so none \
                 is left: a retry may meet the one that just failed",
                "use the `legacy` client of `hyper-util` directly below; otherwise take the layer \
                 out, and let keep-alive pings find dead connections",
            ));
        }
    }
}

impl<S> Layer<S> for ConnectionLayer {
    type Service = Connection<S>;

    fn layer(&self, inner: S) -> Connection<S> {
        Connection::new(inner, Arc::clone(&self.settings))
    }
}

impl fmt::Debug for ConnectionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionLayer")
            .field("leave_if", &self.settings.leave_if.is_some())
            .finish()
    }
}
