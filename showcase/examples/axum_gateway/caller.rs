//! What the request that is answered says of whoever sent it.

use std::{convert::Infallible, time::Duration};

use axum::extract::FromRequestParts;
use http::request::Parts;
use tower_http_retry::{DeadlineHeader, RetryDepth};

/// Where a client says how long it waits, and where the upstream is told.
pub(crate) const DEADLINE: DeadlineHeader = DeadlineHeader::EnvoyExpectedRqTimeoutMs;

/// An extractor for handlers that ask others: what these are asked for must end while the caller
/// still waits, and must not multiply the caller's own retries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// How long the caller waits, if it says so.
    pub(crate) waits: Option<Duration>,
    /// How deep in others' retries the request is.
    pub(crate) depth: RetryDepth,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            waits: DEADLINE.read(&parts.headers),
            depth: RetryDepth::of(&parts.headers),
        })
    }
}
