//! [`AttemptSpan`]: the `tower::Service`.

use std::{
    fmt,
    task::{Context, Poll},
};

use http::{Extensions, Method, Request, Response, Uri};
use tower_service::Service;
use tracing::{Span, field::Empty};

use super::{AttemptSpanFuture, layer::RedactPath};
use crate::{
    BoxError,
    observe::TARGET,
    policy::LimitKind,
    report::{sanitized, sanitized_uri},
    stack::{AttemptInfo, RequestState},
    telemetry::cells,
};

/// A service that makes a span of each of its requests.
///
/// Made by [`AttemptSpanLayer`](super::AttemptSpanLayer).
#[derive(Clone)]
pub struct AttemptSpan<S> {
    inner: S,
    redact: Option<RedactPath>,
}

impl<S> AttemptSpan<S> {
    pub(super) fn new(inner: S, redact: Option<RedactPath>) -> Self {
        Self { inner, redact }
    }
}

impl<S: fmt::Debug> fmt::Debug for AttemptSpan<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptSpan")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
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
        let span = make_span(&request, self.redact.as_ref());
        let future = span.in_scope(|| self.inner.call(request));
        AttemptSpanFuture::new(future, span)
    }
}

fn make_span<B>(request: &Request<B>, redact: Option<&RedactPath>) -> Span {
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
        fill_in(&span, request.method(), request.uri(), redact);
        if let resends @ 1.. = resends(request.extensions()) {
            span.record("http.request.resend_count", i64::from(resends));
        }
    }
    span
}

/// How often the request was sent before, for whatever reason.
fn resends(extensions: &Extensions) -> u32 {
    let attempt = extensions.get::<AttemptInfo>();
    let here = attempt.map_or(0, |info| info.number.saturating_sub(1));
    // What all layers have charged, this one's retries included.
    let all = RequestState::of(extensions).map_or(0, |state| state.used(LimitKind::Total));
    here.max(all)
}

fn shown(uri: &Uri, redact: Option<&RedactPath>) -> String {
    match redact {
        None => sanitized_uri(uri),
        Some(redact) => {
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            sanitized(uri.scheme_str(), authority, &redact(uri.path()))
        }
    }
}

fn fill_in(span: &Span, method: &Method, uri: &Uri, redact: Option<&RedactPath>) {
    // A server can be sent any method, and names of spans are to be few.
    let known = cells::METHODS[cells::method_index(method)];
    if known == method.as_str() {
        span.record("otel.name", known);
    } else {
        span.record("otel.name", "HTTP");
        span.record("http.request.method_original", method.as_str());
    }
    span.record("http.request.method", known);
    span.record("url.full", &*shown(uri, redact));
    if let Some(host) = uri.host() {
        // An address of IPv6 has its brackets in URLs only.
        span.record("server.address", host.trim_matches(['[', ']']));
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
