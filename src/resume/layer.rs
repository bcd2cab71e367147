//! [`ResumeLayer`]: what a user writes in a `ServiceBuilder`.

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::Resume;
#[cfg(feature = "telemetry")]
use crate::telemetry::Metrics;
use crate::{RetryEvent, observe::OnEvent};

type RedactPath = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Goes on with downloads where they broke.
///
/// Belongs above a [`RetryLayer`](crate::RetryLayer), with the same policy; see the
/// [module](super). The services it makes clone the one below for each GET, as the retries do.
#[derive(Clone)]
pub struct ResumeLayer<P> {
    policy: P,
    settings: Settings,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) idle: Option<Duration>,
    pub(super) deadline: Option<Duration>,
    /// So many bytes are progress.
    pub(super) progress: u64,
    pub(super) identity: bool,
    pub(super) on_event: Option<OnEvent>,
    pub(super) redact_path: Option<RedactPath>,
    #[cfg(feature = "telemetry")]
    pub(super) metrics: Option<Metrics>,
}

impl<P> ResumeLayer<P> {
    /// Asks `policy` whether, and when, a body that broke is continued. Give it the policy of the
    /// retries below: they share its budget then.
    pub fn new(policy: P) -> Self {
        let settings = Settings {
            idle: Some(Duration::from_secs(30)),
            deadline: None,
            progress: 64 * 1024,
            identity: false,
            on_event: None,
            redact_path: None,
            #[cfg(feature = "telemetry")]
            metrics: None,
        };
        Self { policy, settings }
    }

    /// A body of which nothing arrives for this long, while somebody waits for it, is taken for
    /// broken; 30 seconds by default. `None` and zero wait for ever.
    ///
    /// It holds for bodies that cannot be continued as well: they end with an error then. How long
    /// the head of a continuation may take is said by the `attempt_timeout` of the retries below,
    /// and by a deadline.
    #[must_use]
    pub fn idle_timeout(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.settings.idle = idle.into().filter(|idle| !idle.is_zero());
        self
    }

    /// The body has to be at its end this long after the request started, continuations and waits
    /// included. It is looked at whenever something is waited for. None by default.
    ///
    /// It takes the place of a deadline that the request brings along, and of one that layers
    /// share; see [deadlines](super#deadlines).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = Some(deadline);
        self
    }

    /// The counts start anew after so many bytes; 64 KiB by default. Zero stands for one.
    ///
    /// A bound is needed: a server that sends a byte and breaks off would otherwise be asked for
    /// ever.
    #[must_use]
    pub fn reset_after(mut self, bytes: u64) -> Self {
        self.settings.progress = bytes.max(1);
        self
    }

    /// Sends `Accept-Encoding: identity` with each GET that says nothing of its own.
    ///
    /// What is compressed on the way has no length, and mostly no strong validator. Some caches
    /// ignore `Range` where compression is offered.
    #[must_use]
    pub fn offer_identity(mut self) -> Self {
        self.settings.identity = true;
        self
    }

    /// Calls `hook` for each break that will be followed by a continuation
    /// ([`RetryEvent::Retry`]), and when a body that broke has arrived
    /// ([`RetryEvent::Recovered`]) or could not go on ([`RetryEvent::GaveUp`]): a counter, for
    /// instance.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering::Relaxed}};
    /// use tower_http_retry::{RetryEvent, policy::RetryPolicy, resume::ResumeLayer};
    ///
    /// let resumed = Arc::new(AtomicU64::new(0));
    /// let count = Arc::clone(&resumed);
    /// let layer = ResumeLayer::new(RetryPolicy::default()).on_event(move |event| {
    ///     if let RetryEvent::Retry { .. } = event {
    ///         count.fetch_add(1, Relaxed);
    ///     }
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn on_event<F>(mut self, hook: F) -> Self
    where
        F: Fn(&RetryEvent<'_>) + Send + Sync + 'static,
    {
        self.settings.on_event = Some(Arc::new(hook));
        self
    }

    /// Counts the bytes that came by continuations, and the reasons of those that were not made.
    /// The continuations themselves are counted by the retries below, if they have metrics, each as
    /// a request of its own whose first attempt is of the kind `resume`; otherwise here.
    #[cfg(feature = "telemetry")]
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.settings.metrics = Some(metrics);
        self
    }

    /// What reports and logs show of a path, for paths that hold secrets; see
    /// [`RetryLayer::redact_paths`](crate::RetryLayer::redact_paths).
    #[must_use]
    pub fn redact_paths<F>(mut self, redact: F) -> Self
    where
        F: Fn(&str) -> String + Send + Sync + 'static,
    {
        self.settings.redact_path = Some(Arc::new(redact));
        self
    }
}

impl<S, P: Clone> Layer<S> for ResumeLayer<P> {
    type Service = Resume<S, P>;

    fn layer(&self, inner: S) -> Resume<S, P> {
        Resume::new(inner, self.policy.clone(), Arc::new(self.settings.clone()))
    }
}

impl<P: fmt::Debug> fmt::Debug for ResumeLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumeLayer")
            .field("policy", &self.policy)
            .field("idle_timeout", &self.settings.idle)
            .field("deadline", &self.settings.deadline)
            .field("reset_after", &self.settings.progress)
            .finish_non_exhaustive()
    }
}
