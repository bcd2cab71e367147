//! [`OwnHeader`]: a header that the layer writes into requests.

use std::{fmt, str::FromStr};

use http::HeaderName;

use crate::reason::InvalidPolicy;

/// The name of a header that the layer writes into requests, such as the one that counts the
/// [attempts](crate::RetryLayer::attempt_header).
///
/// It replaces what the request has under that name. So it cannot be one that means something to
/// the connection, to proxies or to servers: what frames the message, routes it, says who sends it
/// or which request it is, or selects the response. That is every request header of RFC 9110 and
/// RFC 9111, and those of other specifications and of widespread use that do the same.
///
/// ```
/// use tower_http_retry::OwnHeader;
///
/// let header = OwnHeader::try_from("Retry-Attempt")?;
/// assert_eq!(header.as_str(), "retry-attempt");
///
/// let error = OwnHeader::try_from("Content-Length").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "`header` is \"content-length\", which frames the message: must be the name of a header \
///      that nothing else gives a meaning, such as `retry-attempt`",
/// );
/// # Ok::<(), tower_http_retry::policy::InvalidPolicy>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnHeader(HeaderName);

/// What such a name must be.
pub(crate) const ALLOWED: &str =
    "the name of a header that nothing else gives a meaning, such as `retry-attempt`";

/// What a header does, so that the layer must not write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    Frames,
    Routes,
    Authenticates,
    Identifies,
    Selects,
}

impl Duty {
    const fn text(self) -> &'static str {
        match self {
            Self::Frames => "frames the message",
            Self::Routes => "routes the request",
            Self::Authenticates => "says on whose behalf the request is made",
            Self::Identifies => "says which request it is or where it comes from",
            Self::Selects => "decides what the response is",
        }
    }
}

/// Whole names, and with a `*` at the end the beginnings of names.
const TAKEN: [(Duty, &[&str]); 5] = [
    (
        Duty::Frames,
        &[
            // RFC 9110, sections 6 to 8 and 10.1, and RFC 9112.
            "connection",
            "content-*",
            "expect",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            // RFC 7540, section 3.2.1.
            "http2-settings",
            // RFC 6455, and what browsers call forbidden for the same reason.
            "sec-*",
            // RFC 9530 and its predecessors, RFC 9218, RFC 8470, RFC 9297 and gRPC over HTTP/2.
            "digest",
            "repr-digest",
            "unencoded-digest",
            "want-*",
            "priority",
            "early-data",
            "mime-version",
            "capsule-protocol",
            "grpc-encoding",
            "grpc-accept-encoding",
            "grpc-message-type",
            "grpc-status*",
            "grpc-message",
        ],
    ),
    (
        Duty::Routes,
        &[
            // RFC 9110, section 7.
            "host",
            "max-forwards",
            "via",
            // RFC 7239 and what it replaces.
            "forwarded*",
            "x-forwarded-*",
            "x-forwarded",
            "x-real-ip",
            "x-client-ip",
            "x-cluster-client-ip",
            "true-client-ip",
            "cf-connecting-ip*",
            "fastly-client-ip",
            "x-original-*",
            "x-rewrite-url",
            "x-host",
            "x-envoy-original-*",
            "x-envoy-external-address",
            // They change the method.
            "x-http-method*",
            "x-method-override",
            // RFC 7838 and RFC 8586.
            "alt-svc",
            "alt-used",
            "cdn-loop",
            "proxy-*",
            // RFC 4918 and SOAP: which resource, and what is done to it.
            "depth",
            "destination",
            "overwrite",
            "location",
            "soapaction",
        ],
    ),
    (
        Duty::Authenticates,
        &[
            // RFC 9110, section 11, and RFC 6265.
            "authentication-*",
            "authorization",
            "cookie*",
            "set-cookie*",
            "www-authenticate",
            // RFC 9440, RFC 9449 and RFC 9421.
            "client-cert*",
            "dpop*",
            "signature*",
            // In wide use.
            "api-key",
            "apikey",
            "x-api-key",
            "x-auth-*",
            "x-access-token",
            "x-amz-*",
            "x-csrf-*",
            "x-csrftoken",
            "x-xsrf-*",
            "x-goog-api-key",
            "x-goog-iap-*",
            "private-token",
            "job-token",
        ],
    ),
    (
        Duty::Identifies,
        &[
            // RFC 9110, sections 6.6 and 10.1, and RFC 6454.
            "from",
            "origin",
            "referer",
            "user-agent",
            "date",
            // What makes a request repeatable, and what must be the same on all of its attempts.
            "idempotency-key",
            "x-idempotency-key",
            "repeatability-*",
            "message-id",
            "lock-token",
            // Which trace it belongs to.
            "baggage",
            "b3",
            "correlation-id",
            "request-id",
            "traceparent",
            "tracestate",
            "uber-trace-id",
            "x-amzn-trace-id",
            "x-b3-*",
            "x-cloud-trace-context",
            "x-correlation-id",
            "x-datadog-*",
            "x-ot-span-context",
            "x-request-id",
        ],
    ),
    (
        Duty::Selects,
        &[
            // RFC 9110, sections 12 to 14, and RFC 9111.
            "accept",
            "accept-*",
            "age",
            "allow",
            "cache-control",
            "etag",
            "expires",
            "if",
            "if-*",
            "last-modified",
            "pragma",
            "range",
            "retry-after",
            "server",
            "vary",
            "warning",
            // RFC 7240, RFC 3229, RFC 2295, RFC 4918, what browsers ask beforehand, and hints
            // about the client.
            "access-control-*",
            "a-im",
            "im",
            "dnt",
            "downlink",
            "dpr",
            "ect",
            "negotiate",
            "prefer",
            "preference-applied",
            "rtt",
            "save-data",
            "timeout",
            "upgrade-insecure-requests",
            "variant-vary",
            "width",
            "x-requested-with",
            "x-should-retry",
        ],
    ),
];

/// What `name`, in lower case, does; `None` if the layer may write it.
fn duty(name: &str) -> Option<Duty> {
    let is = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    TAKEN
        .iter()
        .find(|(_, patterns)| patterns.iter().any(|pattern| is(pattern)))
        .map(|(duty, _)| *duty)
}

impl OwnHeader {
    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn name(&self) -> &HeaderName {
        &self.0
    }
}

impl TryFrom<HeaderName> for OwnHeader {
    type Error = InvalidPolicy;

    fn try_from(name: HeaderName) -> Result<Self, InvalidPolicy> {
        match duty(name.as_str()) {
            None => Ok(Self(name)),
            Some(duty) => {
                let value = format_args!("{:?}, which {}", name.as_str(), duty.text());
                Err(InvalidPolicy::new("header", value, ALLOWED))
            }
        }
    }
}

impl TryFrom<&str> for OwnHeader {
    type Error = InvalidPolicy;

    fn try_from(name: &str) -> Result<Self, InvalidPolicy> {
        // The names of HTTP/2's pseudo-headers, such as `:authority`, are none.
        match HeaderName::try_from(name) {
            Ok(name) => name.try_into(),
            Err(_) => {
                let value = format_args!("{name:?}");
                Err(InvalidPolicy::new("header", value, ALLOWED))
            }
        }
    }
}

impl FromStr for OwnHeader {
    type Err = InvalidPolicy;

    fn from_str(name: &str) -> Result<Self, InvalidPolicy> {
        name.try_into()
    }
}

impl fmt::Display for OwnHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field that RFC 9110, 9111, 9112 and 9113 and the cookies' RFC 6265 register, from
    /// IANA's registry, but for those that only a response has.
    const HTTP: &[&str] = &[
        "Accept",
        "Accept-Charset",
        "Accept-Encoding",
        "Accept-Language",
        "Accept-Ranges",
        "Authorization",
        "Cache-Control",
        "Connection",
        "Content-Encoding",
        "Content-Language",
        "Content-Length",
        "Content-Location",
        "Content-Range",
        "Content-Type",
        "Cookie",
        "Date",
        "ETag",
        "Expect",
        "From",
        "Host",
        "If-Match",
        "If-Modified-Since",
        "If-None-Match",
        "If-Range",
        "If-Unmodified-Since",
        "Last-Modified",
        "Max-Forwards",
        "Pragma",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
        "Proxy-Authorization",
        "Range",
        "Referer",
        "Retry-After",
        "Set-Cookie",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "User-Agent",
        "Vary",
        "Via",
        "WWW-Authenticate",
    ];

    /// What else must not be written over, by specification.
    const OTHERS: &[&str] = &[
        "Keep-Alive",
        "Proxy-Connection",
        "HTTP2-Settings",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "Origin",
        "Idempotency-Key",
        "If",
        "If-Schedule-Tag-Match",
        "Content-Digest",
        "Content-MD5",
        "Content-Disposition",
        "Repr-Digest",
        "Sec-WebSocket-Key",
        "Sec-Fetch-Site",
        "Signature",
        "Signature-Input",
        "DPoP",
        "Client-Cert",
        "traceparent",
        "tracestate",
        "baggage",
        "X-Request-ID",
        "X-Api-Key",
        "X-Amz-Date",
        "X-Http-Method-Override",
        "Destination",
        "Lock-Token",
        "Early-Data",
        "Prefer",
    ];

    #[test]
    fn what_frames_routes_authenticates_or_identifies_is_refused_by_name() {
        for name in HTTP.iter().chain(OTHERS) {
            let error = OwnHeader::try_from(*name).expect_err(name);
            let lower = name.to_ascii_lowercase();
            let text = error.to_string();
            assert!(
                text.starts_with(&format!("`header` is {lower:?}, which ")),
                "{text}"
            );
            assert!(text.ends_with(&format!(": must be {ALLOWED}")), "{text}");
            let parsed = HeaderName::try_from(*name).expect("a name");
            assert_eq!(OwnHeader::try_from(parsed), Err(error.clone()));
            assert_eq!(name.parse::<OwnHeader>(), Err(error));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", ":authority", ":path", "a b", "a:b", "a\r\nhost", "é"] {
            let error = OwnHeader::try_from(name).expect_err(name);
            assert_eq!(error.value(), format!("{name:?}"));
        }
    }

    #[test]
    fn counters_of_attempts_in_use_are_allowed() {
        for name in [
            "retry-attempt",
            "x-retry-count",
            "x-attempt",
            "attempts-before",
            "grpc-previous-rpc-attempts",
            "amz-sdk-request",
            "x-stainless-retry-count",
            "x-envoy-attempt-count",
            "hedged",
            "request-deadline-ms",
            "grpc-timeout",
            "contented",
            "hosts",
        ] {
            let header = OwnHeader::try_from(name).expect(name);
            assert_eq!(header.as_str(), name);
            assert_eq!(header.to_string(), name);
            assert_eq!(header.name(), name);
        }
    }

    #[test]
    fn the_list_has_each_name_once_and_in_lower_case() {
        let mut seen = Vec::new();
        for pattern in TAKEN.iter().flat_map(|(_, patterns)| *patterns) {
            assert_eq!(*pattern, pattern.to_ascii_lowercase());
            assert!(!seen.contains(pattern), "{pattern}");
            seen.push(*pattern);
        }
        // Only the dashes of families are left open.
        let whole: Vec<_> = seen.iter().filter(|name| !name.ends_with('*')).collect();
        for name in whole {
            let by = seen.iter().filter(|other| {
                let start = other.strip_suffix('*');
                start.is_some_and(|start| name.starts_with(start))
            });
            assert_eq!(by.count(), 0, "{name} is in a family already");
        }
    }
}
