//! Whether a request may be under way twice at once, for layers that send it so.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};

use super::{
    Hint, RequestHead, RetryPolicy,
    overrides::{RequestPolicy, brought},
    repeatable::{is_keyed, is_marked},
};

/// The policy under which a request may be under way twice at once: the layer's, or the one that
/// it brought along.
pub(crate) enum Second {
    ByLayer,
    ByOwn(RetryPolicy),
    Never,
}

/// Whether a request may be under way twice at once, by the policy that it is under. Of a policy
/// that is another's, nothing is known.
#[inline]
pub(crate) fn second(policy: &RetryPolicy, request: &RequestHead<'_>) -> Second {
    let own = if request.extensions().is_empty() {
        None
    } else {
        brought(request)
    };
    match own {
        None if policy.allows_second(request) => Second::ByLayer,
        Some(RequestPolicy::Own(own)) if own.allows_second(request) => Second::ByOwn(own.clone()),
        None | Some(RequestPolicy::Own(_) | RequestPolicy::Shared(_) | RequestPolicy::Disabled) => {
            Second::Never
        }
    }
}

impl RetryPolicy {
    /// Whether `request` may be applied twice without harm, and this policy would ever repeat one
    /// that may have been applied.
    #[inline]
    fn allows_second(&self, request: &RequestHead<'_>) -> bool {
        let inner = &*self.inner;
        let allowed = inner.allows(request.method())
            || is_marked(request)
            || is_keyed(request, inner.settings.preset);
        allowed && inner.eligible.with(true)
    }

    /// Whether a response with this status is no answer to a request that is sent twice.
    pub(crate) fn takes_for_failure(&self, status: StatusCode) -> bool {
        status.as_u16() >= 500 || self.inner.settings.lists(status)
    }

    /// How long a failed response asks for nothing to be sent, as far as the policy obeys.
    #[cold]
    pub(crate) fn asked_by(&self, status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
        if !self.respect_retry_after_header() {
            return None;
        }
        let cap = self.retry_after_max();
        let hints = self.inner.settings.hints();
        match hints.read(status, headers, SystemTime::now, cap).hint {
            Hint::Wait { asked, .. } => Some(asked),
            Hint::OverCap { cap, .. } => Some(cap),
            Hint::Absent | Hint::Invalid { .. } => None,
        }
    }
}
