//! [`AttemptSpan`]: the `tower::Service`.

use std::task::{Context, Poll};

use http::{Method, Request, Response, Uri};
use tower_service::Service;
use tracing::{Span, field::Empty};

use super::AttemptSpanFuture;
use crate::{
    BoxError, observe::TARGET, report::sanitized_uri, stack::AttemptInfo, telemetry::cells,
};

/// A service that makes a span of each of its requests.
///
/// Made by [`AttemptSpanLayer`](super::AttemptSpanLayer).
#[derive(Clone, Debug)]
pub struct AttemptSpan<S> {
    inner: S,
}

impl<S> AttemptSpan<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B, ResBody> Service<Request<B>> for AttemptSpan<S>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<ResBody>;
    type Error = BoxError;
    type Future = AttemptSpanFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let span = make_span(&request);
        let future = span.in_scope(|| self.inner.call(request));
        AttemptSpanFuture::new(future, span)
    }
}

fn make_span<B>(request: &Request<B>) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "attempt",
        "otel.kind" = "client",
        "otel.name" = Empty,
        "otel.status_code" = Empty,
        "http.request.method" = Empty,
        "http.request.method_original" = Empty,
        "http.request.resend_count" = Empty,
        "http.response.status_code" = Empty,
        "url.full" = Empty,
        "server.address" = Empty,
        "server.port" = Empty,
        "error.type" = Empty,
    );
    if !span.is_disabled() {
        fill_in(&span, request.method(), request.uri());
        let earlier = request.extensions().get::<AttemptInfo>();
        if let Some(retries) = earlier.map(|info| i64::from(info.number) - 1) {
            span.record("http.request.resend_count", retries);
        }
    }
    span
}

fn fill_in(span: &Span, method: &Method, uri: &Uri) {
    // A server can be sent any method, and names of spans are to be few.
    let known = cells::METHODS[cells::method_index(method)];
    if known == method.as_str() {
        span.record("otel.name", known);
    } else {
        span.record("otel.name", "HTTP");
        span.record("http.request.method_original", method.as_str());
    }
    span.record("http.request.method", known);
    span.record("url.full", &*sanitized_uri(uri));
    if let Some(host) = uri.host() {
        span.record("server.address", host);
    }
    // OpenTelemetry's numbers are signed.
    let port = uri.port_u16().or(match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    });
    if let Some(port) = port {
        span.record("server.port", i64::from(port));
    }
}
