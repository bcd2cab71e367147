//! What is known to be wrong with a layer, and the log of it.

use std::sync::atomic::Ordering::Relaxed;

use super::{LayerSettings, RetryLayer};
use crate::{
    lint::{self, Finding, LintContext},
    observe,
    policy::Policy,
};

/// So many findings are logged, the gravest: thousands of mounts with the same mistake need not
/// fill the log with it.
const LOGGED: usize = 100;

#[cfg(feature = "lint")]
impl<P, R> RetryLayer<P, R> {
    /// Says that a finding of lint is meant to be so: it is neither logged nor listed.
    ///
    /// ```
    /// use tower_http_retry::{lint::LintCode, policy::RetryPolicy, RetryLayer};
    ///
    /// // The client below has timeouts of its own.
    /// let layer = RetryLayer::new(RetryPolicy::default()).allow(LintCode::NoTimeLimit);
    /// assert!(layer.lint().is_empty());
    /// ```
    #[must_use]
    pub fn allow(mut self, code: lint::LintCode) -> Self {
        self.change().allowed.push(code);
        self
    }

    /// Says that requests with these methods are meant to be retried, for lint to find out if
    /// they cannot be. Changes nothing else: what is retried is the policy's affair.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::Method;
    /// use tower_http_retry::{lint::LintCode, policy::RetryPolicy, RetryLayer};
    ///
    /// let layer = RetryLayer::new(RetryPolicy::default())
    ///     .attempt_timeout(Duration::from_secs(5))
    ///     .wanted_methods([Method::GET, Method::POST]);
    /// assert_eq!(layer.lint()[0].code, LintCode::MethodNotAllowed);
    ///
    /// let keyed = layer.idempotency_keys_with(|| "8e03978e-40d5-43dd-bc93-6894a57f9324".into());
    /// assert!(keyed.lint().is_empty());
    /// ```
    #[must_use]
    pub fn wanted_methods(mut self, methods: impl IntoIterator<Item = http::Method>) -> Self {
        self.change().wanted = methods.into_iter().collect();
        self
    }
}

impl<P: Policy, R> RetryLayer<P, R> {
    /// The mistakes that can be seen in this layer and its policy, the gravest first, without
    /// those that are [allowed](Self::allow); see [`lint`](crate::lint).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::{lint::{LintCode, Severity}, policy::RetryPolicy, RetryLayer};
    ///
    /// let layer = RetryLayer::new(RetryPolicy::urllib3())
    ///     .attempt_timeout(Duration::from_secs(10))
    ///     .deadline(Duration::from_secs(10));
    /// let worst = &layer.lint()[0];
    /// assert_eq!(worst.code, LintCode::AttemptTimeoutOverDeadline);
    /// assert_eq!(worst.severity, Severity::Error);
    /// ```
    #[cfg(feature = "lint")]
    pub fn lint(&self) -> Vec<Finding> {
        let context = self.lint_context();
        let findings = lint::Lint::lint_with(&self.policy, &context);
        self.settings.with_time_limits(findings, &context)
    }

    fn lint_context(&self) -> LintContext {
        let settings = &self.settings;
        LintContext {
            methods: settings.wanted.clone(),
            in_layer: true,
            attempt_timeout: settings.attempt_timeout,
            deadline: settings.deadline,
            min_attempt: settings.min_attempt,
            idempotency_keys: settings.new_key.is_some(),
            body_limit: settings.body_limit,
        }
    }

    /// Logs the findings, unless it was done for this layer before.
    pub(super) fn log_findings(&self) {
        let heard = tracing::enabled!(target: crate::TARGET, tracing::Level::WARN);
        if heard && !self.linted.swap(true, Relaxed) {
            let context = self.lint_context();
            let findings = lint::at_a_glance(&self.policy, &context);
            log(&self.settings.with_time_limits(findings, &context));
        }
    }
}

impl LayerSettings {
    /// Adds what is wrong with the time limits, and takes out what is allowed.
    fn with_time_limits(&self, findings: Vec<Finding>, context: &LintContext) -> Vec<Finding> {
        let mut all = lint::time_limits(context);
        all.extend(findings);
        all.retain(|finding| !self.allowed.contains(&finding.code));
        lint::by_severity(all)
    }
}

fn log(findings: &[Finding]) {
    for finding in findings.iter().take(LOGGED) {
        observe::finding(finding);
    }
    if let Some(more @ 1..) = findings.len().checked_sub(LOGGED) {
        observe::more_findings(more);
    }
}
