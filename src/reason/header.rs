//! [`HintHeader`]: where a hint was found.

use std::fmt;

use http::{HeaderName, header::RETRY_AFTER};

/// A header in which a server says when to come back, or not to.
///
/// To serde it is its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HintHeader {
    /// `retry-after`: seconds or a date (RFC 9110, section 10.2.3).
    RetryAfter,
    /// `retry-after-ms`: milliseconds, sent by OpenAI's and Azure's services.
    RetryAfterMs,
    /// `x-ms-retry-after-ms`: milliseconds, sent by Azure's services, for instance Cosmos DB.
    XMsRetryAfterMs,
    /// `grpc-retry-pushback-ms`: milliseconds, or never (gRFC A6).
    GrpcRetryPushbackMs,
    /// `ratelimit`: what is left of each quota, and for how long
    /// (draft-ietf-httpapi-ratelimit-headers).
    RateLimit,
    /// `ratelimit-policy`: the quotas and their windows, in the same draft.
    RateLimitPolicy,
    /// A header that a policy was told of: one of its
    /// [`reset_headers`](crate::policy::RetryPolicyBuilder::reset_headers), or its
    /// [`should_retry_header`](crate::policy::RetryPolicyBuilder::should_retry_header).
    Named(Box<HeaderName>),
}

impl HintHeader {
    /// Those whose names are fixed.
    pub(crate) const FIXED: [Self; 6] = [
        Self::RetryAfter,
        Self::RetryAfterMs,
        Self::XMsRetryAfterMs,
        Self::GrpcRetryPushbackMs,
        Self::RateLimit,
        Self::RateLimitPolicy,
    ];

    /// The header's name, in lower case.
    pub fn as_str(&self) -> &str {
        self.name().as_str()
    }

    /// For look-ups: a name that is a text is parsed by each of them.
    pub(crate) fn name(&self) -> &HeaderName {
        static RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
        static X_MS_RETRY_AFTER_MS: HeaderName = HeaderName::from_static("x-ms-retry-after-ms");
        static PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
        static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
        static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
        match self {
            Self::RetryAfter => &RETRY_AFTER,
            Self::RetryAfterMs => &RETRY_AFTER_MS,
            Self::XMsRetryAfterMs => &X_MS_RETRY_AFTER_MS,
            Self::GrpcRetryPushbackMs => &PUSHBACK,
            Self::RateLimit => &RATE_LIMIT,
            Self::RateLimitPolicy => &RATE_LIMIT_POLICY,
            Self::Named(name) => name,
        }
    }
}

impl From<HeaderName> for HintHeader {
    fn from(name: HeaderName) -> Self {
        let fixed = Self::FIXED
            .into_iter()
            .find(|h| h.as_str() == name.as_str());
        fixed.unwrap_or_else(|| Self::Named(Box::new(name)))
    }
}

impl fmt::Display for HintHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for HintHeader {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for HintHeader {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(from)?;
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => Ok(name.into()),
            Err(_) => Err(serde::de::Error::custom(format_args!(
                "`{name}` is not a header name"
            ))),
        }
    }
}
