//! [`AttemptInfo`]: what an attempt's request says of itself.

use std::time::Duration;

use http::StatusCode;

use crate::reason::Failure;

/// What each attempt's request carries in its extensions, from the second attempt on. A request
/// without one is a first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptInfo {
    /// The attempt's number; the first retry is 2.
    pub number: u32,
    /// How the attempt before it ended.
    pub previous: PreviousOutcome,
    /// The time since the request started.
    pub elapsed: Duration,
    /// The time left until the deadline, if there is one.
    pub left: Option<Duration>,
}

/// How the attempt before a retry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PreviousOutcome {
    /// With a response of this status.
    Response(StatusCode),
    /// Without a response.
    Failed(Failure),
}
