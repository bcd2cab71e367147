//! When a request is sent again: pure decisions, without I/O or runtime. What time it is comes in
//! with each attempt.
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
mod decide;
mod dynamic;
mod grpc;
pub mod hints;
mod limit;
mod overrides;
mod parts;
mod policy_fn;
// Known to every policy, and made by dry runs alone.
#[cfg_attr(not(feature = "dry-run"), allow(dead_code))]
mod rehearsal;
#[cfg(feature = "reload")]
mod reload;
mod repeatable;
mod retry_policy;
mod rng;
#[cfg(feature = "hedge")]
mod second;
mod session;
mod settings;
mod wall_clock;

#[cfg(any(feature = "grpc", feature = "serde"))]
pub use self::grpc::GrpcPolicies;
#[cfg(feature = "mounts")]
pub(crate) use self::parts::Mounted;
#[cfg(feature = "reload")]
pub use self::reload::Reloadable;
#[cfg(feature = "hedge")]
pub(crate) use self::second::{Second, second};
pub use self::{
    attempt::{Attempt, RequestHead},
    backoff::{Backoff, Jitter},
    builder::RetryPolicyBuilder,
    decide::{Decision, RetryDecision, StopDecision},
    dynamic::{DynPolicy, SharedPolicy},
    hints::{ResetFormat, ResetHeader},
    limit::{Limit, Methods},
    overrides::{Idempotent, RetryDisabled},
    parts::Part,
    policy_fn::policy_fn,
    retry_policy::{Preset, RetryAfterMode, RetryPolicy},
    rng::Rng,
};
#[cfg(feature = "serde")]
pub(crate) use self::{
    backoff::{BackoffKind, Base},
    grpc::OTHERS,
    limit::PerKind,
    settings::settings_table,
};
// What the tests and simulations of this workspace compare with other libraries, and no API.
#[doc(hidden)]
pub use self::{
    hints::{
        Hint, InvalidRetryAfter, RETRY_AFTER_STATUSES, parse_retry_after, retry_after,
        standard_retry_after,
    },
    limit::Seconds,
    session::RetrySession,
};
pub(crate) use self::{
    overrides::{AnySession, IDEMPOTENCY_KEY, select},
    rehearsal::{Due, Ledger, Rehearsal},
    wall_clock::WallClock,
};

pub use crate::reason::{
    Gate, Gates, HintHeader, InvalidPolicy, LimitKind, Note, StopReason, WaitReason,
};

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode, Uri};

use crate::budget::RetryPermit;

/// Decides which requests are sent again, and when.
///
/// A policy is shared by all requests of a layer; what belongs to one request lives in its
/// [`Session`]. References, `Arc`s and boxed [`DynPolicy`]s of policies are policies.
pub trait Policy {
    /// What is remembered of one request between its attempts.
    type Session: Session;

    /// Starts a request.
    fn session(&self, request: &RequestHead<'_>) -> Self::Session;

    /// Shows `visit` the [`RetryPolicy`]s that this policy chooses from.
    ///
    /// No request asks. It is for what reads policies, such as [`lint`](crate::lint), to which a
    /// policy that shows nothing has no mistakes.
    ///
    /// ```
    /// use tower_http_retry::{
    ///     lint::Lint,
    ///     policy::{Part, Policy, RequestHead, RetryPolicy},
    /// };
    ///
    /// struct ByMethod {
    ///     reads: RetryPolicy,
    ///     writes: RetryPolicy,
    /// }
    ///
    /// impl Policy for ByMethod {
    ///     type Session = <RetryPolicy as Policy>::Session;
    ///
    ///     fn session(&self, request: &RequestHead<'_>) -> Self::Session {
    ///         match request.method().is_safe() {
    ///             true => self.reads.session(request),
    ///             false => self.writes.session(request),
    ///         }
    ///     }
    ///
    ///     fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
    ///         self.reads.parts(&mut |part| visit(part.within("reads")));
    ///         self.writes.parts(&mut |part| visit(part.within("writes")));
    ///     }
    /// }
    ///
    /// let policy = ByMethod {
    ///     reads: RetryPolicy::default(),
    ///     writes: RetryPolicy::builder().total(0).read(2).build()?,
    /// };
    /// assert_eq!(policy.lint()[0].place.as_deref(), Some("writes"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        let _ = visit;
    }
}

/// The memory of one request, and the decisions about it.
///
/// A session never reads a clock, sleeps or does I/O: time comes in with the [`Attempt`].
pub trait Session {
    /// Whether any outcome at all can lead to another attempt.
    ///
    /// Asked once, before the first attempt. A request for which this is [`Eligibility::Never`] costs
    /// almost nothing: nothing of it is kept. The reason reaches the report if it fails.
    fn eligibility(&self) -> Eligibility {
        Eligibility::Eligible
    }

    /// Whether [`eligibility`](Session::eligibility) is [`Eligibility::Eligible`], asked on the happy path:
    /// worth implementing where it is known without making up the reason.
    fn is_eligible(&self) -> bool {
        self.eligibility() == Eligibility::Eligible
    }

    /// How long the request may take at most, all attempts and waits together, as far as the policy
    /// says so: the `timeout` of a gRPC service config, for instance (`GrpcPolicies`, with the features
    /// `grpc` and `serde`).
    ///
    /// Asked once, before the first attempt. Of this, the layer's deadline and the request's own
    /// the shortest counts. A request that is [`RetryDisabled`] has no session, and nothing of this.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// Whether a response is certainly no failure, so that [`decide`](Session::decide) need not
    /// be asked. This is the only question on the happy path.
    fn is_final(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let _ = headers;
        status.as_u16() < 400
    }

    /// What to do after an attempt that was not [`final`](Session::is_final).
    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision;

    /// The request succeeded: pays into the budget, where there is one.
    fn succeeded(&mut self) {}

    /// The request failed for good.
    fn failed(&mut self, now: Instant) {
        let _ = now;
    }

    /// The next attempt is sent to `uri`, which is not that of the attempt before: what is counted
    /// by it counts there from now on.
    fn moved(&mut self, uri: &Uri) {
        let _ = uri;
    }

    /// Every other gate has passed the retry that [`decide`](Session::decide) asked for: takes it
    /// from the budget. The permit is [free](RetryPermit::free) if there is none to ask; it gives
    /// itself back if the retry is not sent after all, because the request is cancelled while it
    /// waits, for instance.
    ///
    /// # Errors
    ///
    /// The reason why this retry must not be sent.
    fn commit(&mut self, now: Instant) -> Result<RetryPermit, StopReason> {
        let _ = now;
        Ok(RetryPermit::free())
    }
}

/// Whether a request can be sent again at all.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Eligibility {
    /// Some outcome can lead to another attempt.
    Eligible,
    /// No outcome can, for this reason.
    Never(StopReason),
}

impl<T: Session + ?Sized> Session for Box<T> {
    fn eligibility(&self) -> Eligibility {
        (**self).eligibility()
    }

    fn is_eligible(&self) -> bool {
        (**self).is_eligible()
    }

    fn deadline(&self) -> Option<Duration> {
        (**self).deadline()
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

    fn moved(&mut self, uri: &Uri) {
        (**self).moved(uri);
    }

    fn commit(&mut self, now: Instant) -> Result<RetryPermit, StopReason> {
        (**self).commit(now)
    }
}

impl<P: Policy + ?Sized> Policy for &P {
    type Session = P::Session;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        (**self).session(request)
    }

    fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        (**self).parts(visit);
    }
}

impl<P: Policy + ?Sized> Policy for std::sync::Arc<P> {
    type Session = P::Session;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        (**self).session(request)
    }

    fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
        (**self).parts(visit);
    }
}
