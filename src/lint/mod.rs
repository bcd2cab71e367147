//! Finds the classic mistakes in a policy before its first request.
//!
//! A policy that is accepted can still do what nobody wanted: retry a status that never goes
//! away, or, without a word, retry nothing at all. [`Lint::lint`] and
//! [`RetryLayer::lint`](crate::RetryLayer::lint) name such mistakes as [`Finding`]s. A layer logs
//! its own once, when its first service is made, with `tracing` at WARN and in the
//! target [`TARGET`](crate::TARGET) (a [`Note`](Severity::Note) at INFO); a finding that is meant
//! to be so is silenced with [`RetryLayer::allow`](crate::RetryLayer::allow). The log has what can
//! be seen in the settings. What is only found by playing a policy through is left to those who
//! ask: `budget-too-small`, and `schedule-over-deadline` where some of the requests are in time.
//!
//! ```
//! use tower_http_retry::{
//!     RetryLayer,
//!     lint::{Lint, LintCode, Severity},
//!     policy::RetryPolicy,
//! };
//!
//! let policy = RetryPolicy::builder()
//!     .status_forcelist([404, 503])
//!     .build()?;
//! let codes: Vec<_> = policy.lint().iter().map(|finding| finding.code).collect();
//! assert_eq!(codes, [LintCode::StatusNeverTransient]);
//!
//! // Its 404s are due to replication that lags. And something else is missing.
//! let layer = RetryLayer::new(policy).allow(LintCode::StatusNeverTransient);
//! for finding in layer.lint() {
//!     assert_eq!(finding.code, LintCode::NoTimeLimit);
//!     assert_eq!(finding.severity, Severity::Warn);
//! }
//! # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
//! ```
//!
//! # The lints
//!
//! Those of the second group need to know the layer, those of the third are about
//! [mounts](crate::mounts::Mounts), whose policies' findings name their prefix; the last ones are
//! found by other layers.
//!
//! | code | usual severity | what happens |
//! | --- | --- | --- |
//! | `method-not-allowed` | warning | A method that is wanted ([`LintContext::wanting`], [`wanted_methods`](crate::RetryLayer::wanted_methods)) is not in `allowed_methods`: such a request is repeated only when nothing of it was sent. |
//! | `no-method-allowed` | warning | `allowed_methods` is empty, which means no method, not any as in urllib3: only connect failures are retried. |
//! | `no-status-listed` | warning | `status_forcelist` is empty: an answer of 502 or 503 is returned at once. This is urllib3's default. |
//! | `status-never-transient` | warning | A status is listed that the same request gets again and again: 400, 401, 404, 412, 501, 511, and others of which RFC 9110, section 15, says so. |
//! | `success-listed` | warning | A status below 300, or 304, is listed: an answer that means success is thrown away and the request repeated. |
//! | `status-without-effect` | warning | `once_statuses` or `unprocessed_statuses` has a status that `status_forcelist` does not have, or the preset is urllib3's. |
//! | `status-may-be-processed` | error | `unprocessed_statuses` has a status below 400, or a 5xx, which a server sends after it has applied a request, too. |
//! | `total-zero` | error | `total` allows no retry, and so another limit that allows some never counts. |
//! | `limit-unreachable` | warning | A limit is above `total`, which is always used up first. |
//! | `unlimited-retries` | error | Neither `total` nor the limit of a kind of failure has an end. A warning where a deadline ends it. |
//! | `no-backoff` | warning | No retry waits: a server that is down gets them all at once. |
//! | `no-jitter` | warning | All clients wait equally long, and those that failed together come back together (AWS Architecture Blog, "Exponential Backoff And Jitter"). |
//! | `throttle-base-below-base` | warning | The backoff has a shorter base after throttling than after other failures: a server that asks for less load gets more. |
//! | `fixed-seed` | warning | With `seed` set, all processes draw the same jitter, which is for tests. |
//! | `non-idempotent-without-key` | warning | A method that is not idempotent (RFC 9110, section 9.2.2, and the IANA registry) is allowed, and nothing gives its requests a key: what the server already applied is applied again. |
//! | `budget-too-small` | error | Even a full budget does not grant one retry. |
//! | `budget-too-large` | warning | A budget's `min_ratio` is above 0.5: while nothing succeeds, more than every other request is repeated. |
//! | | | |
//! | `no-time-limit` | warning | The layer has neither an attempt timeout nor a deadline: a request that hangs is never retried and never ends, unless a layer below times out. |
//! | `attempt-timeout-over-deadline` | error | The attempt timeout is not below the deadline: an attempt that times out is never followed by another. |
//! | `retry-after-cap-over-deadline` | warning | `retry_after_max` is above the deadline: waits between the two can be asked for and are never waited for. A note where a wait above the cap is not shortened to it, since the request stops either way. |
//! | `schedule-over-deadline` | warning | The waits before the last retry go past the deadline, always (an error) or for at least every other request. |
//! | `body-limit-zero` | warning | Methods whose requests have bodies are allowed, and none of a body is kept: a request is not retried once a byte of its body was read. |
//! | | | |
//! | `mount-only-one-scheme` | warning | Of `http` and `https`, one is mounted and the other has neither a mount nor a fallback: requests with it are never retried. A note for a single host that is mounted for `https`. |
//! | `mount-shadowed` | warning | A mount is never reached, since more exact ones cover it all. |
//! | | | |
//! | `connection-unknown` | warning | A `ConnectionLayer` (feature `connection`) stands above a client that does not say which connection it uses, reqwest for instance: a retry may meet the one that just failed. Found and logged at the first answer. |
//! | `hedge-before-recorded` | note | A `HedgeLayer` (feature `hedge`) with `recorded_bodies` can only send a body a second time once all of it was read: a request was late before that, or its body is longer than the limit, so there was no hedge. Found and logged at the first such request. |

mod code;
mod context;
mod finding;
mod limits;
#[cfg(feature = "mounts")]
mod mounts;
mod rules;

pub(crate) use self::limits::time_limits;
pub use self::{
    code::LintCode,
    context::LintContext,
    finding::{Finding, Severity},
};

use crate::policy::{Part, Policy};

/// Lints any [`Policy`]; see the [module](self).
///
/// What is looked at are the policy's [parts](Policy::parts).
pub trait Lint: Policy {
    /// The mistakes that can be seen in this policy by itself, the gravest first.
    ///
    /// [`RetryLayer::lint`](crate::RetryLayer::lint) knows more: the layer's time limits, for
    /// instance.
    ///
    /// ```
    /// use tower_http_retry::{
    ///     lint::{Lint, LintCode},
    ///     policy::RetryPolicy,
    /// };
    ///
    /// assert!(RetryPolicy::default().lint().is_empty());
    /// let codes: Vec<_> = RetryPolicy::urllib3().lint().iter().map(|found| found.code).collect();
    /// assert_eq!(codes, [LintCode::NoStatusListed, LintCode::NoBackoff]);
    /// ```
    fn lint(&self) -> Vec<Finding> {
        self.lint_with(&LintContext::default())
    }

    /// The mistakes that can be seen in this policy when it is used in this `context`, the gravest
    /// first.
    ///
    /// ```
    /// use http::Method;
    /// use tower_http_retry::{
    ///     lint::{Lint, LintCode, LintContext},
    ///     policy::RetryPolicy,
    /// };
    ///
    /// let context = LintContext::wanting(&[Method::GET, Method::POST]);
    /// let findings = RetryPolicy::default().lint_with(&context);
    /// assert_eq!(findings[0].code, LintCode::MethodNotAllowed);
    /// ```
    fn lint_with(&self, context: &LintContext) -> Vec<Finding> {
        find(self, context, Some(&rules::REHEARSALS))
    }
}

impl<P: Policy + ?Sized> Lint for P {}

/// What can be said of a policy without playing it through, the gravest first.
pub(crate) fn at_a_glance<P: Policy + ?Sized>(policy: &P, context: &LintContext) -> Vec<Finding> {
    find(policy, context, None)
}

fn find<P: Policy + ?Sized>(
    policy: &P,
    context: &LintContext,
    rehearsals: Option<&rules::Rehearsals>,
) -> Vec<Finding> {
    #[cfg(feature = "mounts")]
    let mut tables = mounts::Tables::of(policy);
    let mut findings = Vec::new();
    policy.parts(&mut |part| {
        #[cfg(feature = "mounts")]
        add(tables.findings(&part), &part, &mut findings);
        if let Some(policy) = part.policy {
            add(
                rules::policy(policy, context, rehearsals),
                &part,
                &mut findings,
            );
        }
    });
    by_severity(findings)
}

/// Adds what was found in a part of the policy, with the part's place.
fn add(found: Vec<Finding>, part: &Part<'_>, to: &mut Vec<Finding>) {
    for mut finding in found {
        finding.place = part.place.as_deref().map(str::to_owned);
        to.push(finding);
    }
}

/// The gravest first; what is equally grave stays in order.
pub(crate) fn by_severity(findings: Vec<Finding>) -> Vec<Finding> {
    let (mut errors, mut warnings, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for finding in findings {
        match finding.severity {
            Severity::Error => errors.push(finding),
            Severity::Warn => warnings.push(finding),
            Severity::Note => notes.push(finding),
        }
    }
    errors.append(&mut warnings);
    errors.append(&mut notes);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cells of the table in the module's documentation.
    fn table() -> Vec<(&'static str, &'static str)> {
        let docs = include_str!("mod.rs");
        let rows = docs.lines().filter_map(|line| line.strip_prefix("//! | `"));
        rows.map(|row| {
            let (code, rest) = row.split_once("` | ").expect("a code and a severity");
            let (severity, what) = rest.split_once(" | ").expect("a severity and a text");
            assert!(what.trim_end_matches(" |").ends_with('.'), "{row}");
            (code, severity)
        })
        .collect()
    }

    #[test]
    fn the_documented_table_is_that_of_the_code() {
        let code: Vec<_> = LintCode::ALL
            .iter()
            .map(|code| (code.as_str(), code.severity().as_str()))
            .collect();
        assert_eq!(table(), code);
    }

    #[test]
    fn names_are_kebab_case_and_lead_back_to_their_codes() {
        for code in LintCode::ALL {
            let name = code.as_str();
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{name}"
            );
            assert_eq!(name.parse(), Ok(*code));
        }
        let error = "no-jiter".parse::<LintCode>().expect_err("a wrong name");
        let text = error.to_string();
        assert!(
            text.contains("\"no-jiter\"") && text.contains("`no-jitter`"),
            "{text}"
        );
    }
}
