//! The client: how its type is written down, and what its callers are told.

use std::sync::Arc;

use tonic::{Status, body::Body, transport::Channel};
use tonic_health::pb::health_client::HealthClient;
use tower::{ServiceBuilder, util::MapErr};
use tower_http_retry::{
    AttemptOutcome, Retry, RetryError, RetryErrorKind, RetryLayer,
    body::{RecordBody, RecordedBody},
    grpc::{Grpc, GrpcLayer},
    policy::RetryPolicy,
    reason::Cause,
};

/// tonic's channel, which reads how each call ends ...
type Answering = Grpc<Channel>;

/// ... below the retries, which keep what was sent: a channel takes no body but tonic's own, so what
/// is recorded is made one again, by a function whose type is that of a pointer ...
type Retrying = Retry<Answering, RetryPolicy, RecordBody<fn(RecordedBody<Body>) -> Body>>;

/// ... and whose errors become gRPC's statuses.
pub(super) type Client = HealthClient<MapErr<Retrying, fn(RetryError) -> Status>>;

/// The most bytes of a request that are kept. A longer message commits its call.
const KEEP: u64 = 64 * 1024;

pub(super) fn client(channel: Channel, retries: RetryLayer<RetryPolicy>) -> Client {
    let body: fn(RecordedBody<Body>) -> Body = Body::new;
    let status: fn(RetryError) -> Status = status;
    HealthClient::new(
        ServiceBuilder::new()
            .map_err(status)
            .layer(retries.grpc_headers().replay_bodies_as(KEEP, body))
            .layer(GrpcLayer::new())
            .service(channel),
    )
}

/// The status of a call that ended without one: DEADLINE_EXCEEDED if it was the deadline that ended
/// it, else what tonic makes of the error. The report is in its source.
fn status(error: RetryError) -> Status {
    let late = matches!(
        error.kind(),
        RetryErrorKind::DeadlineExceeded | RetryErrorKind::AttemptTimeout
    );
    // A channel reads `grpc-timeout` as well, and has a timer of its own for it.
    let last = error.report().attempts.last().map(|last| &last.outcome);
    let timed_out = matches!(
        last,
        Some(AttemptOutcome::Failed {
            cause: Cause::Timeout,
            ..
        })
    );
    if !late && !timed_out {
        return Status::from_error(Box::new(error));
    }
    let mut status = Status::deadline_exceeded(error.report().stop.to_string());
    status.set_source(Arc::new(error));
    status
}
