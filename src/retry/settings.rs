//! What a layer was told, shared by its services and their requests.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{Extensions, HeaderMap, HeaderValue, Method, Request, request::Parts};
use tokio::time::Instant;

use super::admissions;
use crate::{
    BoxError,
    budget::InFlightLimit,
    classify::{Classify, Exchange, Opinion, Vouch},
    deadline_header::DeadlineHeader,
    lint::LintCode,
    observe::OnEvent,
    own_header::OwnHeader,
    policy::{IDEMPOTENCY_KEY, Idempotent},
    stack::{AttemptInfo, RequestState},
    trial::Judged,
};

/// How much of a failed response is read, so that its connection can be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainLimit {
    /// Bytes at most.
    pub bytes: u64,
    /// Time at most.
    pub time: Duration,
}

impl DrainLimit {
    /// Drops every failed response unread. What becomes of its connection under HTTP/1.1 is up to
    /// the client: hyper keeps it if the rest of the response has arrived already and is small, and
    /// closes it otherwise.
    pub const NONE: Self = Self {
        bytes: 0,
        time: Duration::ZERO,
    };

    /// At most `bytes`, for at most the default time.
    pub const fn bytes(bytes: u64) -> Self {
        Self {
            bytes,
            ..Self::DEFAULT
        }
    }

    const DEFAULT: Self = Self {
        bytes: 64 * 1024,
        time: Duration::from_millis(250),
    };
}

impl Default for DrainLimit {
    /// 64 KiB and 250 ms: an error page, not a download.
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl From<u64> for DrainLimit {
    fn from(bytes: u64) -> Self {
        Self::bytes(bytes)
    }
}

/// What an asynchronous hook knows of a retry; see
/// [`RetryLayer::before_retry_async`](crate::RetryLayer::before_retry_async).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RetryContext {
    /// The attempt that is to be made.
    pub attempt: AttemptInfo,
    /// The headers of the response that the attempt before it ended with, if it did: a nonce to
    /// use, for instance.
    pub response_headers: Option<HeaderMap>,
}

/// What a hook may return: nothing, or whether the retry may be sent.
pub trait HookResult {
    /// The error for which the retry is not sent.
    ///
    /// # Errors
    ///
    /// The hook's.
    fn into_result(self) -> Result<(), BoxError>;
}

impl HookResult for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> HookResult for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// A request's own deadline for all attempts and waits together, in its extensions: it takes the
/// place of the layer's.
///
/// A request whose deadline has passed when the layer gets it, or while it is held back, is not
/// sent: it ends with [`RetryErrorKind::DeadlineExceeded`](crate::RetryErrorKind::DeadlineExceeded)
/// after 0 attempts.
///
/// ```
/// use std::time::Duration;
/// use tower_http_retry::RequestDeadline;
///
/// let mut request = http::Request::get("http://example.com/").body(())?;
/// request.extensions_mut().insert(RequestDeadline::after(Duration::from_secs(2)));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestDeadline(DeadlineForm);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeadlineForm {
    After(Duration),
    At(Instant),
}

impl RequestDeadline {
    /// This long after the request starts.
    pub const fn after(duration: Duration) -> Self {
        Self(DeadlineForm::After(duration))
    }

    /// At this instant; one that a server was given itself, for instance.
    pub const fn at(instant: Instant) -> Self {
        Self(DeadlineForm::At(instant))
    }

    /// The time from `now` until the deadline.
    pub(crate) fn remaining(self, now: Instant) -> Duration {
        match self.0 {
            DeadlineForm::After(duration) => duration,
            DeadlineForm::At(instant) => instant.saturating_duration_since(now),
        }
    }
}

/// What a request brought along in its extensions for the layer, rather than for the policy.
#[derive(Clone, Default)]
pub(crate) struct RequestOptions {
    pub(crate) deadline: Option<RequestDeadline>,
    pub(crate) outer_attempt: Option<u32>,
    pub(crate) state: Option<RequestState>,
}

impl RequestOptions {
    #[inline]
    pub(crate) fn of(extensions: &Extensions) -> Self {
        // An empty map costs no look-up.
        if extensions.is_empty() {
            return Self::default();
        }
        Self {
            deadline: extensions.get().copied(),
            outer_attempt: extensions.get().map(|info: &AttemptInfo| info.number),
            state: extensions.get().cloned(),
        }
    }
}

type NewKey = Arc<dyn Fn() -> String + Send + Sync>;
type RedactPath = Arc<dyn Fn(&str) -> String + Send + Sync>;
type BeforeRetry = Arc<dyn Fn(&mut Parts, &AttemptInfo) -> Result<(), BoxError> + Send + Sync>;
type PrepareRetry = Arc<dyn Fn(Parts, RetryContext) -> Preparing + Send + Sync>;
/// What an asynchronous hook returns.
pub(super) type Preparing = Pin<Box<dyn Future<Output = Result<Parts, BoxError>> + Send>>;
type WallClockFn = Arc<dyn Fn() -> SystemTime + Send + Sync>;

#[derive(Clone)]
pub(crate) struct LayerSettings {
    pub(crate) classifiers: Vec<Arc<dyn Classify + Send + Sync>>,
    /// What is promised of error types.
    pub(crate) vouches: Vec<Vouch>,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) min_attempt: Duration,
    pub(crate) drain: DrainLimit,
    pub(crate) on_event: Option<OnEvent>,
    pub(crate) before_retry: Option<BeforeRetry>,
    pub(super) prepare_retry: Option<PrepareRetry>,
    pub(crate) attempt_header: Option<OwnHeader>,
    pub(crate) attempt_count_header: Option<OwnHeader>,
    pub(crate) retry_reason_header: Option<OwnHeader>,
    pub(crate) deadline_header: Option<DeadlineHeader>,
    /// The depth up to which requests are retried here.
    pub(super) max_depth: Option<u32>,
    /// Whether retries say how deep they are.
    pub(super) tells_depth: bool,
    #[cfg(feature = "telemetry")]
    pub(super) metrics: Option<crate::telemetry::Metrics>,
    pub(crate) redact_path: Option<RedactPath>,
    pub(crate) new_key: Option<NewKey>,
    pub(crate) wall_clock: Option<WallClockFn>,
    pub(super) admissions: admissions::List,
    pub(crate) in_flight: Option<InFlightLimit>,
    /// The bytes of a request body that `RecordBody` keeps, where it is used.
    pub(crate) body_limit: Option<u64>,
    /// The methods that lint should look for, and the findings that are meant to be so.
    pub(crate) wanted: Vec<Method>,
    pub(crate) allowed: Vec<LintCode>,
}

/// A string of a structured field (RFC 9651, section 3.3.3). What such a string cannot hold is
/// percent-encoded, so that different keys stay different.
fn quoted(key: &str) -> String {
    use fmt::Write;

    let mut quoted = String::with_capacity(key.len() + 2);
    quoted.push('"');
    for byte in key.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            // Writing to a string cannot fail.
            byte => drop(write!(quoted, "%{byte:02X}")),
        }
    }
    quoted.push('"');
    quoted
}

impl Default for LayerSettings {
    fn default() -> Self {
        Self {
            classifiers: Vec::new(),
            vouches: Vec::new(),
            attempt_timeout: None,
            deadline: None,
            min_attempt: Duration::ZERO,
            drain: DrainLimit::DEFAULT,
            on_event: None,
            before_retry: None,
            prepare_retry: None,
            attempt_header: None,
            attempt_count_header: None,
            retry_reason_header: None,
            deadline_header: None,
            max_depth: None,
            tells_depth: false,
            #[cfg(feature = "telemetry")]
            metrics: None,
            redact_path: None,
            new_key: None,
            wall_clock: None,
            admissions: Arc::new([]),
            in_flight: None,
            body_limit: None,
            wanted: Vec::new(),
            allowed: Vec::new(),
        }
    }
}

impl LayerSettings {
    /// Gives a request that needs one an idempotency key, which makes it repeatable.
    #[inline]
    pub(crate) fn add_key<B>(&self, request: &mut Request<B>) {
        let Some(new_key) = &self.new_key else {
            return;
        };
        if !self.gives_key(request.method(), request.headers()) {
            return;
        }
        // Every quoted string is a legal value.
        if let Ok(key) = HeaderValue::try_from(quoted(&new_key())) {
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
            request.extensions_mut().insert(Idempotent);
        }
    }

    /// Whether the head of a retry may be another one.
    pub(super) fn has_hook(&self) -> bool {
        self.before_retry.is_some() || self.prepare_retry.is_some()
    }

    /// Whether nothing is to be done to any request before it is sent.
    pub(crate) fn is_plain(&self) -> bool {
        self.new_key.is_none() && self.only_gives_keys()
    }

    /// Whether nothing is to be done to this request, which has no extensions.
    #[inline(never)]
    pub(super) fn leaves<B>(&self, request: &Request<B>) -> bool {
        self.only_gives_keys() && !self.gives_key(request.method(), request.headers())
    }

    fn only_gives_keys(&self) -> bool {
        self.admissions.is_empty()
            && self.deadline_header.is_none()
            && self.attempt_count_header.is_none()
            && self.max_depth.is_none()
            && !self.tells_depth
            && self.deadline != Some(Duration::ZERO)
    }

    /// Whether there are limits to a request's time.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        self.deadline.is_some() || self.attempt_timeout.is_some()
    }

    /// Whether such a request is given an idempotency key.
    #[inline]
    pub(crate) fn gives_key(&self, method: &Method, headers: &HeaderMap) -> bool {
        self.new_key.is_some()
            && matches!(*method, Method::POST | Method::PATCH)
            && !headers.contains_key(IDEMPOTENCY_KEY)
    }

    /// What the first classifier with an opinion says.
    #[inline]
    pub(crate) fn judge<'a>(&self, exchange: impl FnOnce() -> Exchange<'a>) -> Option<Judged> {
        if self.classifiers.is_empty() {
            return None;
        }
        let exchange = exchange();
        for classifier in &self.classifiers {
            match classifier.classify_exchange(&exchange) {
                Opinion::NoOpinion => {}
                opinion => return Some(Judged::by(classifier.name().to_owned().into(), opinion)),
            }
        }
        None
    }

    pub(crate) fn wall_clock(&self) -> SystemTime {
        match &self.wall_clock {
            Some(clock) => clock(),
            None => SystemTime::now(),
        }
    }
}

impl fmt::Debug for LayerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerSettings")
            .field("classifiers", &self.classifiers)
            .field("vouches", &self.vouches)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("deadline", &self.deadline)
            .field("min_attempt", &self.min_attempt)
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_characters_is_a_legal_header() {
        for (key, expected) in [
            ("0190-abc", r#""0190-abc""#),
            (r#"a"b\c"#, r#""a\"b\\c""#),
            ("é\n", r#""%C3%A9%0A""#),
            ("", r#""""#),
        ] {
            assert_eq!(quoted(key), expected);
            assert!(HeaderValue::try_from(quoted(key)).is_ok());
        }
    }
}
