//! What a lint knows besides the policy itself.

use std::time::Duration;

use http::Method;

/// Where a policy is used, and what for: what [`Lint::lint_with`](super::Lint::lint_with)
/// can take into account.
///
/// By default nothing is known, and only mistakes in the policy itself are found.
///
/// ```
/// use std::time::Duration;
/// use tower_http_retry::{lint::{Lint, LintCode, LintContext}, policy::RetryPolicy};
///
/// let mut context = LintContext::default();
/// context.in_layer = true;
/// context.deadline = Some(Duration::from_millis(200));
/// let findings = RetryPolicy::default().lint_with(&context);
/// assert_eq!(findings[0].code, LintCode::ScheduleOverDeadline);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LintContext {
    /// The methods of requests that somebody wants to be retried.
    pub methods: Vec<Method>,
    /// Whether the policy is in a layer, so that what follows is known, also where it is nothing.
    pub in_layer: bool,
    /// The longest that one attempt may take.
    pub attempt_timeout: Option<Duration>,
    /// The longest that all attempts and waits together may take.
    pub deadline: Option<Duration>,
    /// The least time that an attempt needs.
    pub min_attempt: Duration,
    /// Whether POST and PATCH requests are given an `Idempotency-Key`.
    pub idempotency_keys: bool,
    /// The bytes of a request body that are kept, where bodies are recorded.
    pub body_limit: Option<u64>,
}

impl LintContext {
    /// Nothing is known but that requests with `methods` should be retried.
    pub fn wanting(methods: &[Method]) -> Self {
        Self {
            methods: methods.to_vec(),
            ..Self::default()
        }
    }

    /// Whether requests with `method` that have no key are given one.
    pub(super) fn gives_key(&self, method: &Method) -> bool {
        self.idempotency_keys && matches!(*method, Method::POST | Method::PATCH)
    }
}
