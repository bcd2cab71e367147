//! The stack under test: redirects above retries above hyper-util's client.

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::LOCATION};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{net::TcpSocket, time::Instant, time::timeout};
use tower::{ServiceBuilder, ServiceExt as _};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http_retry::{
    AttemptOutcome, RetryError, RetryErrorKind, RetryEvent, RetryLayer, RetryReport,
    classify::Cause,
    policy::{Note, StopReason},
};

use super::{
    case::{Case, End, Fault},
    redirects::{AsRequests, Failed},
};

/// So much of a body's text was recorded.
const RECORDED: usize = 40;

/// A client's time limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    connect: Duration,
    read: Duration,
}

/// What the client saw of a case.
#[derive(Debug)]
pub(crate) struct Observed {
    /// One for each retry, at any hop.
    pub(crate) retries: Vec<Planned>,
    pub(crate) elapsed: Duration,
    pub(crate) end: End,
    /// Why the last hop was not retried again, if there is something to say.
    pub(crate) stop: Option<StopReason>,
    /// An attempt took longer than it may.
    pub(crate) timed_out: bool,
}

/// A retry that was decided on.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) wait: Duration,
    pub(crate) note: Option<Note>,
    timed_out: bool,
}

impl Client {
    pub(crate) fn new(connect: Duration, read: Duration) -> Self {
        Self { connect, read }
    }

    /// Sends a case's request. Every case has connections of its own, as it had a session there.
    pub(crate) async fn run(&self, case: &Case, server: SocketAddr) -> Result<Observed, String> {
        let planned = Arc::new(Mutex::new(Vec::new()));
        let retries = Arc::clone(&planned);
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(self.connect));
        let client: HyperClient<_, Full<Bytes>> = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        let service = ServiceBuilder::new()
            .layer(FollowRedirectLayer::with_policy(AsRequests::new(
                case.follow_redirects,
            )))
            .map_err(Failed::Retries)
            .map_response(without_empty_location)
            .layer(
                RetryLayer::new(case.policy())
                    .attempt_timeout(self.read)
                    .on_event(move |event| {
                        if let RetryEvent::Retry { attempt, .. } = event {
                            retries.lock().unwrap().push(Planned {
                                wait: attempt
                                    .wait
                                    .as_ref()
                                    .map_or(Duration::ZERO, |wait| wait.planned),
                                note: attempt.note.as_deref().cloned(),
                                timed_out: is_timeout(&attempt.outcome),
                            });
                        }
                    }),
            )
            .service(client);

        // Bound, so that no other process gets the port, and never listening.
        let closed = TcpSocket::new_v4().map_err(text)?;
        closed.bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(text)?;
        let address = if case.closed_port {
            closed.local_addr().map_err(text)?
        } else {
            server
        };
        let request = Request::builder()
            .method(&case.method)
            .uri(format!("http://{address}/case/{}", case.id))
            .body(Full::from(case.data.clone()))
            .map_err(text)?;

        let started = Instant::now();
        let result = service.oneshot(request).await;
        let stop = report(&result).map(|report| report.stop.clone());
        let last = report(&result).and_then(|report| report.attempts.last());
        let last_timed_out = last.is_some_and(|last| is_timeout(&last.outcome));
        let end = match result {
            Ok(response) => self.read(response).await,
            Err(Failed::Retries(error)) => failed(&error),
            Err(Failed::TooManyRedirects) => End::TooManyRedirects,
        };
        let retries = std::mem::take(&mut *planned.lock().unwrap());
        Ok(Observed {
            elapsed: started.elapsed(),
            timed_out: last_timed_out || retries.iter().any(|retry| retry.timed_out),
            retries,
            end,
            stop,
        })
    }

    /// Reads a body, as requests does before it hands out a response.
    async fn read(&self, response: Response<Incoming>) -> End {
        let (head, mut body) = response.into_parts();
        let mut content = Vec::new();
        loop {
            match timeout(self.read, body.frame()).await {
                Ok(Some(Ok(frame))) => content.extend(frame.into_data().unwrap_or_default()),
                Ok(Some(Err(_))) => return End::BrokenBody { timed_out: false },
                Err(_) => return End::BrokenBody { timed_out: true },
                Ok(None) => break,
            }
        }
        let body = String::from_utf8_lossy(&content);
        End::Response {
            status: head.status.as_u16().into(),
            body: body.chars().take(RECORDED).collect(),
        }
    }
}

fn text(error: impl Error) -> String {
    error.to_string()
}

/// An empty `Location` leads back to where it came from for tower-http, and nowhere for requests.
fn without_empty_location(mut response: Response<Incoming>) -> Response<Incoming> {
    let headers = response.headers_mut();
    if headers.get(LOCATION).is_some_and(HeaderValue::is_empty) {
        headers.remove(LOCATION);
    }
    response
}

/// What the layer says of the last hop.
fn report<B>(result: &Result<Response<B>, Failed>) -> Option<&RetryReport> {
    match result {
        Ok(response) => response.extensions().get(),
        Err(Failed::Retries(error)) => Some(error.report()),
        Err(Failed::TooManyRedirects) => None,
    }
}

fn is_timeout(outcome: &AttemptOutcome) -> bool {
    matches!(
        outcome,
        AttemptOutcome::Failed {
            cause: Cause::AttemptTimeout,
            ..
        }
    )
}

/// An error in terms of requests.
fn failed(error: &RetryError) -> End {
    let unexpected = || End::Unexpected(format!("{error:?}"));
    let last = error.report().attempts.last().map(|last| &last.outcome);
    match (error.kind(), last) {
        (RetryErrorKind::Status, Some(AttemptOutcome::Response(status))) => {
            // A redirect's text says nothing of its status.
            let number = if status.is_redirection() {
                0
            } else {
                status.as_u16()
            };
            End::Status(number.into())
        }
        (
            RetryErrorKind::Failed | RetryErrorKind::AttemptTimeout,
            Some(outcome @ AttemptOutcome::Failed { kind, .. }),
        ) => {
            let fault = Fault {
                kind: *kind,
                timed_out: is_timeout(outcome),
            };
            match error.stop_reason() {
                StopReason::CountExhausted { .. } => End::Exhausted(fault),
                StopReason::KindDisabled { .. } | StopReason::MethodNotAllowed { .. } => {
                    End::Bare(fault)
                }
                _ => unexpected(),
            }
        }
        _ => unexpected(),
    }
}
