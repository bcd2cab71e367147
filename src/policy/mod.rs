//! When a request is sent again: pure decisions, without clock, I/O or runtime.
//!
//! A [`Policy`] makes a [`Session`] for each request; the session is asked after each attempt
//! what to do. [`RetryPolicy`] is the one that most stacks need; [`policy_fn`] turns a closure
//! into a policy.
//!
//! ```
//! use tower_http_retry::policy::RetryPolicy;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let careful = RetryPolicy::default();
//! let like_requests = RetryPolicy::urllib3_builder()
//!     .total(5)
//!     .status_forcelist([502, 503, 504])
//!     .backoff_factor(0.5)
//!     .build()?;
//! # let _ = (careful, like_requests);
//! # Ok(())
//! # }
//! ```

mod attempt;
mod backoff;
mod builder;
#[cfg(feature = "serde")]
mod config;
mod decision;
mod dynamic;
mod gates;
mod invalid;
mod limit;
mod mounts;
mod overrides;
mod policy_fn;
#[cfg(feature = "reload")]
mod reload;
mod retry_after;
mod retry_policy;
mod rng;
mod session;

#[cfg(feature = "serde")]
pub use self::config::{InvalidConfig, RetryConfig, import};
pub(crate) use self::overrides::{AnySession, IDEMPOTENCY_KEY, select};
#[cfg(feature = "reload")]
pub use self::reload::Reloadable;
pub use self::{
    attempt::{Attempt, Judgement, RequestHead},
    backoff::{Backoff, BackoffKind, Jitter},
    builder::RetryPolicyBuilder,
    decision::{Decision, Note, Retry, Stop, StopReason, WaitReason},
    dynamic::{DynPolicy, SharedPolicy},
    gates::{Gate, Gates},
    invalid::InvalidPolicy,
    limit::{CountKind, Limit, Methods, Seconds},
    mounts::{InvalidMount, Mount, MountSession, Mounts},
    overrides::{Idempotent, RetryDisabled},
    policy_fn::{PolicyFn, PolicyFnSession, policy_fn},
    retry_after::{
        Hint, HintHeader, InvalidRetryAfter, RETRY_AFTER_STATUSES, parse_retry_after, retry_after,
        standard_retry_after,
    },
    retry_policy::{Preset, RetryAfterMode, RetryPolicy},
    rng::Rng,
    session::RetrySession,
};

use std::time::Instant;

use http::{HeaderMap, StatusCode};

/// Decides which requests are sent again, and when.
///
/// A policy is shared by all requests of a layer; what belongs to one request lives in its
/// [`Session`]. References, `Arc`s and boxed [`DynPolicy`]s of policies are policies.
pub trait Policy {
    /// What is remembered of one request between its attempts.
    type Session: Session;

    /// Starts a request.
    fn session(&self, request: &RequestHead<'_>) -> Self::Session;
}

/// The memory of one request, and the decisions about it.
///
/// A session never reads a clock, sleeps or does I/O: time comes in with the [`Attempt`].
pub trait Session {
    /// Whether any outcome at all can lead to another attempt.
    ///
    /// Asked once, before the first attempt. A request for which this is [`Standing::Never`] costs
    /// almost nothing: nothing of it is kept. The reason reaches the report if it fails.
    fn standing(&self) -> Standing {
        Standing::Eligible
    }

    /// Whether a response is certainly no failure, so that [`decide`](Session::decide) need not
    /// be asked. This is the only question on the happy path.
    fn is_final(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let _ = headers;
        !status.is_client_error() && !status.is_server_error()
    }

    /// What to do after an attempt that was not [`final`](Session::is_final).
    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision;

    /// The request succeeded: pays into the budget, where there is one.
    fn succeeded(&mut self) {}

    /// The request failed for good.
    fn failed(&mut self, now: Instant) {
        let _ = now;
    }

    /// Every other gate has passed the retry that [`decide`](Session::decide) asked for: takes it
    /// from the budget. `Ok(false)` if there is none to ask.
    ///
    /// # Errors
    ///
    /// The reason why this retry must not be sent.
    fn commit(&mut self, now: Instant) -> Result<bool, StopReason> {
        let _ = now;
        Ok(false)
    }

    /// The retry that was [committed](Session::commit) will not be sent after all, because the
    /// request was cancelled while it waited.
    fn cancel(&mut self) {}
}

/// Whether a request can be sent again at all.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Standing {
    /// Some outcome can lead to another attempt.
    Eligible,
    /// No outcome can, for this reason.
    Never(StopReason),
}

impl<T: Session + ?Sized> Session for Box<T> {
    fn standing(&self) -> Standing {
        (**self).standing()
    }

    fn is_final(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        (**self).is_final(status, headers)
    }

    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision {
        (**self).decide(attempt)
    }

    fn succeeded(&mut self) {
        (**self).succeeded();
    }

    fn failed(&mut self, now: Instant) {
        (**self).failed(now);
    }

    fn commit(&mut self, now: Instant) -> Result<bool, StopReason> {
        (**self).commit(now)
    }

    fn cancel(&mut self) {
        (**self).cancel();
    }
}

impl<P: Policy + ?Sized> Policy for &P {
    type Session = P::Session;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        (**self).session(request)
    }
}

impl<P: Policy + ?Sized> Policy for std::sync::Arc<P> {
    type Session = P::Session;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        (**self).session(request)
    }
}
