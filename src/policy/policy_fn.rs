//! Closures as policies.

use std::fmt;

use super::{Attempt, Decision, Policy, RequestHead, Session};

/// A policy made of a closure: see [`policy_fn`].
#[derive(Clone, Copy)]
pub struct PolicyFn<F> {
    f: F,
}

/// Turns a closure into a [`Policy`].
///
/// The closure is asked after each attempt whose status is an error, or that failed without a
/// response. What it must remember between attempts, it finds in the [`Attempt`].
///
/// ```
/// use std::time::Duration;
/// use tower_http_retry::{
///     RetryLayer,
///     policy::{Attempt, Decision, RetryDecision, StopDecision, StopReason, policy_fn},
/// };
///
/// let twice = policy_fn(|attempt: &Attempt<'_>| {
///     if attempt.number() < 3 {
///         Decision::Retry(RetryDecision::after(Duration::from_millis(50)))
///     } else {
///         Decision::Stop(StopDecision::because(StopReason::Custom("three are enough".into())))
///     }
/// });
/// let layer = RetryLayer::new(twice);
/// # let _ = layer;
/// ```
pub fn policy_fn<F>(f: F) -> PolicyFn<F>
where
    F: Fn(&Attempt<'_>) -> Decision + Clone,
{
    PolicyFn { f }
}

impl<F> Policy for PolicyFn<F>
where
    F: Fn(&Attempt<'_>) -> Decision + Clone,
{
    type Session = PolicyFnSession<F>;

    fn session(&self, request: &RequestHead<'_>) -> Self::Session {
        if let Some(rehearsal) = request.rehearsal() {
            rehearsal.ledger.know();
        }
        PolicyFnSession { f: self.f.clone() }
    }
}

impl<F> fmt::Debug for PolicyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyFn").finish_non_exhaustive()
    }
}

/// The session of a [`PolicyFn`].
#[derive(Clone, Copy)]
pub struct PolicyFnSession<F> {
    f: F,
}

impl<F> Session for PolicyFnSession<F>
where
    F: Fn(&Attempt<'_>) -> Decision,
{
    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision {
        (self.f)(attempt)
    }
}

impl<F> fmt::Debug for PolicyFnSession<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyFnSession").finish_non_exhaustive()
    }
}
