//! What one request brings along in its extensions: its own policy, or a mark.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, StatusCode, Uri};

use super::{
    Attempt, Decision, Eligibility, Policy, RequestHead, RetryPolicy, Session, SharedPolicy,
    StopDecision, StopReason,
};
use crate::budget::RetryPermit;

/// Marks a request that must not be sent a second time, whatever the policy says.
///
/// ```
/// use tower_http_retry::policy::RetryDisabled;
///
/// let mut request = http::Request::get("http://example.com/").body(())?;
/// request.extensions_mut().insert(RetryDisabled);
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryDisabled;

/// Marks a request that may be applied more than once without harm, so that its method is not
/// asked about (RFC 9110, section 9.2.2: a client may know that "the request semantics are
/// actually idempotent, regardless of the method").
///
/// ```
/// use tower_http_retry::policy::Idempotent;
///
/// let mut request = http::Request::post("http://example.com/search").body(())?;
/// request.extensions_mut().insert(Idempotent);
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idempotent;

/// The header that makes a request idempotent whatever its method
/// (draft-ietf-httpapi-idempotency-key-header).
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The session of a request: the layer's, or one that the request brought along.
pub(crate) enum AnySession<T> {
    Layer(T),
    // Boxed, since every request would have to make room for it.
    Brought(Box<dyn Session + Send>),
    Disabled,
    /// Others retry it. Boxed, as it is rare.
    Refused(Box<StopReason>),
}

/// Starts a request under its own policy if it brought one, else under the layer's.
pub(crate) fn select<P: Policy + ?Sized>(
    policy: &P,
    request: &RequestHead<'_>,
) -> AnySession<P::Session> {
    if request.extensions().is_empty() {
        return AnySession::Layer(policy.session(request));
    }
    match brought(request) {
        Some(RequestPolicy::Disabled) => AnySession::Disabled,
        Some(RequestPolicy::Own(own)) => AnySession::Brought(Box::new(own.session(request))),
        Some(RequestPolicy::Shared(shared)) => AnySession::Brought(shared.session(request)),
        None => AnySession::Layer(policy.session(request)),
    }
}

pub(super) enum RequestPolicy<'a> {
    Disabled,
    Own(&'a RetryPolicy),
    Shared(&'a SharedPolicy),
}

#[inline(never)]
pub(super) fn brought<'a>(request: &RequestHead<'a>) -> Option<RequestPolicy<'a>> {
    let extensions = request.extensions();
    if extensions.get::<RetryDisabled>().is_some() {
        return Some(RequestPolicy::Disabled);
    }
    let own = extensions.get().map(RequestPolicy::Own);
    own.or_else(|| extensions.get().map(RequestPolicy::Shared))
}

impl<T: Session> Session for AnySession<T> {
    #[inline]
    fn eligibility(&self) -> Eligibility {
        match self {
            Self::Layer(session) => session.eligibility(),
            Self::Brought(session) => session.eligibility(),
            Self::Disabled => Eligibility::Never(StopReason::Disabled),
            Self::Refused(stop) => Eligibility::Never((**stop).clone()),
        }
    }

    #[inline]
    fn is_eligible(&self) -> bool {
        match self {
            Self::Layer(session) => session.is_eligible(),
            Self::Brought(session) => session.is_eligible(),
            Self::Disabled | Self::Refused(_) => false,
        }
    }

    #[inline]
    fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Layer(session) => session.deadline(),
            Self::Brought(session) => session.deadline(),
            Self::Disabled | Self::Refused(_) => None,
        }
    }

    #[inline]
    fn is_final(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        match self {
            Self::Layer(session) => session.is_final(status, headers),
            Self::Brought(session) => session.is_final(status, headers),
            Self::Disabled | Self::Refused(_) => status.as_u16() < 400,
        }
    }

    fn decide(&mut self, attempt: &Attempt<'_>) -> Decision {
        match self {
            Self::Layer(session) => session.decide(attempt),
            Self::Brought(session) => session.decide(attempt),
            Self::Disabled => Decision::Stop(StopDecision::because(StopReason::Disabled)),
            Self::Refused(stop) => Decision::Stop(StopDecision::because((**stop).clone())),
        }
    }

    #[inline(always)]
    fn succeeded(&mut self) {
        match self {
            Self::Layer(session) => session.succeeded(),
            Self::Brought(session) => session.succeeded(),
            Self::Disabled | Self::Refused(_) => {}
        }
    }

    fn failed(&mut self, now: Instant) {
        match self {
            Self::Layer(session) => session.failed(now),
            Self::Brought(session) => session.failed(now),
            Self::Disabled | Self::Refused(_) => {}
        }
    }

    fn moved(&mut self, uri: &Uri) {
        match self {
            Self::Layer(session) => session.moved(uri),
            Self::Brought(session) => session.moved(uri),
            Self::Disabled | Self::Refused(_) => {}
        }
    }

    fn commit(&mut self, now: Instant) -> Result<RetryPermit, StopReason> {
        match self {
            Self::Layer(session) => session.commit(now),
            Self::Brought(session) => session.commit(now),
            Self::Disabled => Err(StopReason::Disabled),
            Self::Refused(stop) => Err((**stop).clone()),
        }
    }
}
