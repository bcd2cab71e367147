//! The gateway itself: one client stack in the state, and a handler that says why it failed.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower::{ServiceBuilder, ServiceExt};
use tower_http_retry::{
    AttemptOutcome, BoxError, RequestDeadline, Retry, RetryError, RetryErrorKind, RetryLayer,
    RetryReport,
    body::{RecordBody, RecordedBody},
    classify::Cause,
    policy::{RetryPolicy, StopReason},
};

use super::caller::{Caller, DEADLINE};

/// How hard the gateway tries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Retries after the first attempt.
    pub(crate) retries: u32,
    /// The longest that one attempt may take.
    pub(crate) attempt_timeout: Duration,
    /// The longest that all attempts and waits may take.
    pub(crate) deadline: Duration,
    /// Bytes of a request body that are kept for a retry.
    pub(crate) replay: u64,
}

/// The client stack, by its full name: it is cheap to clone, and needs no box.
type Upstream = Retry<Client<HttpConnector, RecordedBody<Body>>, RetryPolicy, RecordBody>;

#[derive(Clone, Debug)]
struct Gateway {
    client: Upstream,
    scheme: Scheme,
    authority: Authority,
    deadline: Duration,
}

/// Routes every request to `upstream`.
pub(crate) fn router(upstream: &Uri, limits: Limits) -> Result<Router, BoxError> {
    let (Some(scheme), Some(authority)) = (upstream.scheme(), upstream.authority()) else {
        return Err(format!("--upstream: {upstream} is not of the form http://host:port").into());
    };
    if *scheme != Scheme::HTTP {
        return Err(format!("--upstream: {scheme} is not supported, only http is").into());
    }
    let policy = RetryPolicy::builder()
        .total(limits.retries)
        // A failure that was repeated in vain is the gateway's to explain. One that was not
        // repeated (a POST, a 404) stays a response, and goes to the client as it is.
        .raise_on_status(true)
        .build()?;
    let retries = RetryLayer::new(policy)
        .attempt_timeout(limits.attempt_timeout)
        .deadline(limits.deadline)
        // So that the upstream does not work on for nobody.
        .deadline_header(DEADLINE)
        // A request that a client sends again is not multiplied here.
        .max_retry_depth(0)
        // A request body is a stream here. It is passed on as it comes, and kept meanwhile.
        .replay_bodies(limits.replay);
    let mut connector = HttpConnector::new();
    // A chunk of a body must not wait for the acknowledgement of the one before.
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector);
    let state = Gateway {
        client: ServiceBuilder::new().layer(retries).service(client),
        scheme: scheme.clone(),
        authority: authority.clone(),
        deadline: limits.deadline,
    };
    Ok(Router::new().fallback(forward).with_state(state))
}

/// The only handler: sends the request on, and the answer back.
async fn forward(State(gateway): State<Gateway>, caller: Caller, request: Request) -> Response {
    let plain_text = request
        .headers()
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"text/plain"));
    let request = gateway.outgoing(request, caller);
    match gateway.client.oneshot(request).await {
        Ok(response) => answered(response.map(Body::new)),
        Err(error) => gave_up(&error, plain_text),
    }
}

impl Gateway {
    /// The request as the upstream gets it.
    fn outgoing(&self, mut request: Request, caller: Caller) -> Request {
        if let Some(waits) = caller.waits {
            let deadline = RequestDeadline::after(waits.min(self.deadline));
            request.extensions_mut().insert(deadline);
        }
        request.extensions_mut().insert(caller.depth);
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(self.authority.clone());
        uri.path_and_query = Some(
            request
                .uri()
                .path_and_query()
                .cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
        );
        if let Ok(uri) = Uri::from_parts(uri) {
            *request.uri_mut() = uri;
        }
        *request.version_mut() = http::Version::HTTP_11;
        remove_hop_by_hop(request.headers_mut());
        // The client writes the upstream's.
        request.headers_mut().remove(header::HOST);
        request
    }
}

/// Removes what is meant for the next connection only (RFC 9110, section 7.6.1).
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Passes a response on. One with a report tells how often it was tried, and, if it is a
/// failure, why it was not tried again.
fn answered(mut response: Response) -> Response {
    remove_hop_by_hop(response.headers_mut());
    let Some(report) = response.extensions_mut().remove::<RetryReport>() else {
        return response;
    };
    if response.status().is_client_error() && report.retry_count() == 0 {
        // The client's own affair.
        tracing::debug!("{report}");
    } else {
        tracing::info!("{report}");
    }
    let headers = response.headers_mut();
    headers.insert("retry-attempts", HeaderValue::from(report.attempt_count()));
    if !report.stop.is_success() {
        let reason = HeaderValue::from_static(report.stop.name());
        headers.insert("retry-stopped", reason);
    }
    response
}

/// Says why there is no response. Addresses and error texts stay in the log: they are about the
/// inside of the gateway.
fn gave_up(error: &RetryError, plain_text: bool) -> Response {
    let report = error.report();
    tracing::warn!("{report}");
    let status = status_for(error);
    let (kind, body) = if plain_text {
        ("text/plain; charset=utf-8", format!("{}\n", report.stop))
    } else {
        let body = serde_json::json!({
            "status": status.as_u16(),
            "reason": report.stop.name(),
            "detail": report.stop.to_string(),
            "attempts": report.attempts.iter().map(|attempt| match &attempt.outcome {
                AttemptOutcome::Failed { cause, .. } => cause.to_string(),
                outcome => outcome.to_string(),
            }).collect::<Vec<_>>(),
        });
        ("application/json", format!("{body}\n"))
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("retry-attempts", HeaderValue::from(report.attempt_count()));
    if let StopReason::RetryAfterTooLong { asked, .. } = &report.stop {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(asked.as_secs()));
    }
    response
}

/// Which status a failure is to the gateway's client (RFC 9110, sections 15.6.3 to 15.6.5).
fn status_for(error: &RetryError) -> StatusCode {
    match (error.kind(), error.stop_reason()) {
        (_, StopReason::RetryAfterTooLong { .. }) | (RetryErrorKind::NotReady, _) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        (RetryErrorKind::AttemptTimeout | RetryErrorKind::DeadlineExceeded, _)
        | (_, StopReason::DeadlineTooClose { .. }) => StatusCode::GATEWAY_TIMEOUT,
        _ => match error.report().attempts.last().map(|last| &last.outcome) {
            Some(AttemptOutcome::Failed { cause, .. }) => match cause {
                Cause::Timeout | Cause::ConnectTimeout => StatusCode::GATEWAY_TIMEOUT,
                Cause::RequestBody => StatusCode::BAD_REQUEST,
                _ => StatusCode::BAD_GATEWAY,
            },
            _ => StatusCode::BAD_GATEWAY,
        },
    }
}
