//! Says what a policy would do with a request, without sending it.
//!
//! Everything here is found by asking the policy's own [`Session`](crate::policy::Session)s, as a request
//! that is sent asks them: there is no second form of the rules that could say something else.
//! Nothing is sent, and nothing waits.
//!
//! # What it cannot touch
//!
//! Whoever wrote the policy, its sessions are only asked what they decide. They are never told that
//! a request succeeded or failed, and never asked for a permit, so that no budget and no counter
//! of requests that are really sent can notice. Each [`RetryPolicy`](crate::policy::RetryPolicy)
//! that the policy hands the [`RequestHead`] on to makes a session that shares nothing, whose
//! budget is a full copy. A budget that is not this crate's cannot be asked without taking from it:
//! it is taken to be full, and the output says so.
//!
//! # The questions
//!
//! - [`explain`](Explain::explain) answers for each kind of failure: is it retried, how often, with
//!   which waits, and what ends it?
//! - [`explain_sequence`](Explain::explain_sequence) plays a scripted history and gives the
//!   report of it.
//! - [`schedule`](Explain::schedule) says when each retry is sent, with percentiles where there is
//!   jitter.
//! - [`RetryReport::replay`](crate::RetryReport::replay) asks after the fact what another policy
//!   would have done: [`WhatIf`].
//!
//! The same questions to a layer take its time limits and classifiers into account as well; see
//! [`RetryLayer::explain`](crate::RetryLayer::explain).
//!
//! ```
//! use http::{Method, Request, StatusCode};
//! use tower_http_retry::{dry_run::{Explain, Scenario}, policy::{RequestHead, RetryPolicy}};
//!
//! let request = Request::post("http://example.com/orders").body(())?;
//! let explanation = RetryPolicy::default().explain(&RequestHead::of(&request));
//!
//! // The order may have been taken: it is not placed again.
//! let answered = explanation.status(StatusCode::SERVICE_UNAVAILABLE, None).unwrap();
//! assert!(!answered.is_retried());
//! assert_eq!(
//!     answered.stop.as_ref().unwrap().to_string(),
//!     "POST is not in `allowed_methods` and the request may have been applied",
//! );
//! // Nothing was sent: it is.
//! assert_eq!(explanation.case(Scenario::Connect).unwrap().most, 3);
//! # Ok::<(), http::Error>(())
//! ```

mod asked;
mod cases;
mod explanation;
mod rehearsal;
mod schedule;
mod scripted;
mod sequence;
mod table;
mod what_if;

pub(crate) use self::{
    explanation::explain, rehearsal::Venue, schedule::schedule, sequence::explain_sequence,
};
pub use self::{
    explanation::{Case, Explanation, Scenario, WaitRange},
    schedule::{Schedule, ScheduledRetry, Spread},
    scripted::ScriptedOutcome,
    sequence::Sequence,
    what_if::{Difference, Unknown, Verdict, WhatIf},
};

use std::fmt;

use crate::policy::{Policy, RequestHead};

/// Dry runs of any [`Policy`]; see the [module](self).
///
/// What a request brings along in its extensions counts as it would in a layer: a policy of its
/// own, [`RetryDisabled`](crate::policy::RetryDisabled), [`Idempotent`](crate::policy::Idempotent).
pub trait Explain: Policy {
    /// What becomes of `request`, for each kind of outcome that an attempt can have.
    ///
    /// ```
    /// use tower_http_retry::{dry_run::Explain, policy::{RequestHead, RetryPolicy, SharedPolicy}};
    ///
    /// let policy = SharedPolicy::new(RetryPolicy::default());
    /// let request = http::Request::get("http://example.com/").body(())?;
    /// let explanation = policy.explain(&RequestHead::of(&request));
    /// println!("{explanation}");
    /// assert!(explanation.is_retried());
    /// # Ok::<(), http::Error>(())
    /// ```
    fn explain(&self, request: &RequestHead<'_>) -> Explanation {
        explain(self, request, &Venue::default())
    }

    /// What becomes of `request` when its attempts end as `script` says.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::StatusCode;
    /// use tower_http_retry::{
    ///     classify::Cause,
    ///     dry_run::{Explain, ScriptedOutcome},
    ///     policy::{RequestHead, RetryPolicy},
    /// };
    ///
    /// let request = http::Request::get("http://example.com/").body(())?;
    /// let sequence = RetryPolicy::default().explain_sequence(
    ///     &RequestHead::of(&request),
    ///     &[
    ///         Cause::ConnectionReset.into(),
    ///         ScriptedOutcome::response(StatusCode::SERVICE_UNAVAILABLE)
    ///             .retry_after(Duration::from_secs(7)),
    ///         StatusCode::OK.into(),
    ///     ],
    /// );
    /// let report = sequence.report();
    /// assert!(report.stop.is_success());
    /// // Never earlier than asked; a little later, so that not all come back at once.
    /// assert!(report.attempts[1].wait.as_ref().unwrap().planned >= Duration::from_secs(7));
    /// # Ok::<(), http::Error>(())
    /// ```
    fn explain_sequence(&self, request: &RequestHead<'_>, script: &[ScriptedOutcome]) -> Sequence {
        explain_sequence(self, request, script, &Venue::default())
    }

    /// When each retry of `request` is sent if every attempt ends with `outcome`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::{classify::Cause, dry_run::Explain, policy::{RequestHead, RetryPolicy}};
    ///
    /// let request = http::Request::get("http://example.com/").body(())?;
    /// let policy = RetryPolicy::default();
    /// let schedule = policy.schedule(&RequestHead::of(&request), &Cause::Timeout.into());
    /// let longest: Vec<_> = schedule.retries().iter().map(|retry| retry.wait.max).collect();
    /// assert_eq!(longest, [100, 200, 400].map(Duration::from_millis));
    /// assert!(schedule.total().p95 < schedule.total().max);
    /// # Ok::<(), http::Error>(())
    /// ```
    fn schedule(&self, request: &RequestHead<'_>, outcome: &ScriptedOutcome) -> Schedule {
        schedule(self, request, outcome, &Venue::default())
    }
}

impl<P: Policy + ?Sized> Explain for P {}

/// The line that says that a budget was not asked.
struct Assumed(bool);

impl fmt::Display for Assumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 {
            f.write_str("\n  a budget of the policy's own, if there is one, is taken to be full")?;
        }
        Ok(())
    }
}
