//! [`AttemptSpanLayer`].

use tower_layer::Layer;

use super::AttemptSpan;

/// Makes a span of each attempt, with the names of [OpenTelemetry's semantic conventions][otel] for
/// HTTP clients. It belongs right below [`RetryLayer`](crate::RetryLayer).
///
/// | field | what it is |
/// | --- | --- |
/// | `otel.kind` | `client` |
/// | `otel.name`, `http.request.method` | the method; `HTTP` and `_OTHER` for one that is not well known |
/// | `url.full` | the URL without userinfo and query |
/// | `server.address`, `server.port` | where it goes |
/// | `http.request.resend_count` | how many attempts there were before, from the second on |
/// | `http.response.status_code` | the status |
/// | `error.type` | the status, from 400 on; the [cause](crate::classify::Cause) of an error; `cancelled` for an attempt that was given up, by its timeout for instance |
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
#[derive(Clone, Copy, Debug, Default)]
pub struct AttemptSpanLayer(());

impl AttemptSpanLayer {
    /// The only one there is.
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for AttemptSpanLayer {
    type Service = AttemptSpan<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttemptSpan::new(inner)
    }
}
