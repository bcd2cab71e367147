//! What a session decides: go on, stop, or accept, and why.

use std::time::Duration;

use super::{Gates, LimitKind, Note, StopReason, WaitReason};

/// What becomes of a request after an attempt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// The outcome is no failure: it is given to the caller as it is.
    Accept,
    /// The request is sent again.
    Retry(RetryDecision),
    /// The outcome is a failure, and the request is not sent again.
    Stop(StopDecision),
}

/// The request is sent again after a wait.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryDecision {
    /// How long to wait first. Zero never touches the timer.
    pub wait: Duration,
    /// Where the wait comes from.
    pub why: WaitReason,
    /// The limit that this retry was charged to; `None` for a request that was never processed.
    pub charged: Option<LimitKind>,
    /// Whether a failure status becomes an error if a later gate (body, deadline, budget) refuses.
    pub raise: bool,
    /// Whether the coming attempt is certainly the last one, so that nothing needs to be kept.
    pub last: bool,
    /// What each gate said.
    pub gates: Gates,
    /// How long the server asked for nothing to be sent, as far as the policy obeys: what other
    /// requests wait for under [`share_hints`](crate::shared_hints::SharedHints). The `wait` is this
    /// plus jitter.
    pub asked: Option<Duration>,
    /// Something the caller should know, for instance a header that was ignored.
    pub note: Option<Note>,
}

impl RetryDecision {
    /// A retry after `wait`, counted under `total`.
    pub fn after(wait: Duration) -> Self {
        Self {
            wait,
            why: if wait.is_zero() {
                WaitReason::Immediate
            } else {
                WaitReason::Backoff
            },
            charged: Some(LimitKind::Total),
            raise: false,
            last: false,
            gates: Gates::default(),
            asked: None,
            note: None,
        }
    }
}

/// The request is not sent again.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StopDecision {
    /// Which knob decided.
    pub reason: StopReason,
    /// Whether a response becomes an error (`raise_on_status`).
    pub raise: bool,
    /// What each gate said.
    pub gates: Gates,
    /// How long the server asked for nothing to be sent; see [`RetryDecision::asked`].
    pub asked: Option<Duration>,
    /// Something the caller should know, for instance a header that was ignored.
    pub note: Option<Note>,
}

impl StopDecision {
    /// A stop for `reason` that leaves a response a response.
    pub fn because(reason: StopReason) -> Self {
        Self {
            reason,
            raise: false,
            gates: Gates::default(),
            asked: None,
            note: None,
        }
    }
}
