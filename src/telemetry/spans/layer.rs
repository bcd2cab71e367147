//! [`AttemptSpanLayer`].

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::AttemptSpan;

/// Makes a span of each attempt, with the names of [OpenTelemetry's semantic conventions][otel] for
/// HTTP clients. It belongs right below [`RetryLayer`](crate::RetryLayer).
///
/// | field | what it is |
/// | --- | --- |
/// | `otel.kind` | `client` |
/// | `otel.name`, `http.request.method` | the method; `HTTP` and `_OTHER` for one that is not well known |
/// | `http.request.method_original` | the method, if it is not well known |
/// | `url.full` | the URL without userinfo and query, its path as [`redact_paths`](Self::redact_paths) has it |
/// | `server.address`, `server.port` | where it goes |
/// | `http.request.resend_count` | how often the request was sent before, from the second time on; redirects and continuations of this crate's layers included |
/// | `http.response.status_code` | the status |
/// | `error.type` | the status, from 400 on; the [cause](crate::classify::Cause) of an error; `timeout` for an attempt that ran out of time, `cancelled` for one that was dropped for another reason |
/// | `otel.status_code` | `ERROR`, where there is an `error.type` |
///
/// The span is INFO, its target is [`TARGET`](crate::TARGET), and its parent is the caller's: there
/// is none around all attempts, as the conventions have it. It ends with the response's head.
/// Everything below runs inside of it, so that what writes `traceparent` there names the attempt.
///
/// Errors are boxed, and otherwise what they were.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_http_retry::{RetryLayer, policy::RetryPolicy, telemetry::AttemptSpanLayer};
///
/// let stack = ServiceBuilder::new()
///     .layer(RetryLayer::new(RetryPolicy::default()))
///     .layer(AttemptSpanLayer::new());
/// # let _ = stack;
/// ```
///
/// [otel]: https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span
#[derive(Clone, Default)]
pub struct AttemptSpanLayer {
    redact: Option<RedactPath>,
}

pub(super) type RedactPath = Arc<dyn Fn(&str) -> String + Send + Sync>;

impl AttemptSpanLayer {
    /// Shows paths as they are.
    pub const fn new() -> Self {
        Self { redact: None }
    }

    /// What spans show of a path, for paths that hold secrets; see
    /// [`RetryLayer::redact_paths`](crate::RetryLayer::redact_paths).
    #[must_use]
    pub fn redact_paths<F>(mut self, redact: F) -> Self
    where
        F: Fn(&str) -> String + Send + Sync + 'static,
    {
        self.redact = Some(Arc::new(redact));
        self
    }
}

impl fmt::Debug for AttemptSpanLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptSpanLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for AttemptSpanLayer {
    type Service = AttemptSpan<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttemptSpan::new(inner, self.redact.clone())
    }
}
