//! Whether a redirect is followed, and by which request. Values in, a decision out.

use std::{borrow::Cow, time::Duration};

use http::{
    HeaderMap, HeaderName, Method, StatusCode, Uri,
    header::{AUTHORIZATION, COOKIE, LOCATION, PROXY_AUTHORIZATION},
};

use super::location;
use crate::{
    policy::{Limit, LimitKind, Preset, RetryPolicy, StopReason},
    stack::RequestState,
};

/// More hops than any server needs.
const MOST_HOPS: u32 = 20;

#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) policy: RetryPolicy,
    pub(super) deadline: Option<Duration>,
    pub(super) raise: Option<bool>,
    /// In place of the policy's limits.
    pub(super) own_limit: Option<u32>,
    removed: Option<Vec<HeaderName>>,
}

/// A redirect that is followed.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// Whether the body is sent again.
    pub(super) keeps_body: bool,
    pub(super) same_origin: bool,
}

/// Where a response leads to.
pub(super) enum Leads {
    /// Nowhere.
    Nowhere,
    /// To where it is not followed.
    Refused(StopReason),
    To(Hop),
}

impl Rules {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            deadline: None,
            raise: None,
            own_limit: None,
            removed: None,
        }
    }

    pub(super) fn remove(&mut self, headers: impl IntoIterator<Item = HeaderName>) {
        self.removed = Some(headers.into_iter().collect());
    }

    /// Where a response to `method` on `from` leads to.
    pub(super) fn leads(
        &self,
        policy: &RetryPolicy,
        (method, from): (&Method, &Uri),
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Leads {
        let urllib3 = policy.preset() == Preset::Urllib3;
        let Some((method, keeps_body)) = next_method(status, method, urllib3) else {
            return Leads::Nowhere;
        };
        if method == Method::CONNECT {
            // It asks for a tunnel, and its target is no URL that a reference could be relative to.
            return Leads::Nowhere;
        }
        let Some(to) = headers.get(LOCATION).filter(|to| !to.is_empty()) else {
            return Leads::Nowhere;
        };
        if from.scheme().is_none() {
            return refused("the request's own URL has no scheme and host");
        }
        let Some(uri) = location::resolve(from, to) else {
            return refused("its `Location` is no URL of HTTP");
        };
        if !urllib3 && from.scheme_str() == Some("https") && uri.scheme_str() != Some("https") {
            return refused("it leads from `https` to `http`");
        }
        Leads::To(Hop {
            method,
            keeps_body,
            same_origin: location::same_origin(from, &uri),
            uri,
        })
    }

    /// Whether a header is not sent to another origin.
    pub(super) fn is_secret(&self, policy: &RetryPolicy, header: &HeaderName) -> bool {
        let own = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];
        match &self.removed {
            Some(removed) if removed.contains(header) => true,
            Some(_) if policy.preset() == Preset::Urllib3 => false,
            _ => own.contains(header),
        }
    }

    /// Whether a redirect that is not followed is an error. Where the policy says that none is,
    /// it is asked for as it is.
    pub(super) fn raises(&self, policy: &RetryPolicy) -> bool {
        let never = self.own_limit.is_none()
            && [policy.limit(LimitKind::Redirect), policy.total()].contains(&Limit::Never);
        !never && self.raise.unwrap_or(policy.preset() == Preset::Urllib3)
    }
}

fn refused(because: &'static str) -> Leads {
    Leads::Refused(StopReason::RedirectRefused {
        because: Cow::Borrowed(because),
    })
}

/// The method of the next request, and whether it has the body; `None` if the status is no
/// redirect that can be followed.
fn next_method(status: StatusCode, method: &Method, urllib3: bool) -> Option<(Method, bool)> {
    let keep = || Some((method.clone(), true));
    match status.as_u16() {
        301 | 302 if !urllib3 && *method == Method::POST => Some((Method::GET, false)),
        303 if !urllib3 && *method == Method::HEAD => Some((Method::HEAD, false)),
        303 => Some((Method::GET, false)),
        301 | 302 | 307 | 308 => keep(),
        _ => None,
    }
}

/// Whether the limits allow one more hop.
///
/// # Errors
///
/// The limit that does not.
pub(super) fn allowed(
    own_limit: Option<u32>,
    policy: &RetryPolicy,
    state: &RequestState,
    hops: u32,
) -> Result<(), StopReason> {
    if let Some(most) = own_limit {
        return within(most, hops);
    }
    // The narrower one first: with both used up, it is what the user looks for.
    for (kind, limit) in [
        (LimitKind::Redirect, policy.limit(LimitKind::Redirect)),
        (LimitKind::Total, policy.total()),
    ] {
        match limit {
            Limit::Never => return Err(StopReason::KindDisabled { kind }),
            limit if limit.left(state.used(kind)).is_some_and(|left| left <= 0) => {
                return Err(limit.exhausted(kind));
            }
            _ => {}
        }
    }
    within(MOST_HOPS, hops)
}

fn within(most: u32, hops: u32) -> Result<(), StopReason> {
    if hops < most {
        Ok(())
    } else {
        Err(Limit::AtMost(most.into()).exhausted(LimitKind::Redirect))
    }
}
