//! What a failed attempt is called: its kind (which limit it is charged to) and its cause.

use std::fmt;

use http::StatusCode;

use super::GrpcCode;

/// Which of urllib3's limits a failure is charged to.
///
/// The names are urllib3's: a `connect` failure happened before anything was sent, a `read`
/// failure after the request may have reached the server, a `status` failure is an answer, and
/// everything else is `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum FailureKind {
    /// The connection could not be made, or the request was refused unprocessed. Safe to repeat
    /// for every method.
    Connect,
    /// The request was, or may have been, sent and no usable response came back.
    Read,
    /// A response whose status says failure.
    Status,
    /// Anything else: TLS that can never work, a request that is wrong in itself, an error of an
    /// unknown type.
    Other,
}

impl FailureKind {
    /// The name of the limit, as urllib3 spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Read => "read",
            Self::Status => "status",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What certainly happened to the request of a failed attempt, as far as the client can know.
///
/// RFC 9110, section 9.2.2, lets a client repeat a request that is not idempotent only when it
/// knows that the first one was never applied; this is that knowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Sent {
    /// Nothing of the request left the client.
    Never,
    /// The server said that it did not process the request (RFC 9113, section 8.7).
    Unprocessed,
    /// The request may or may not have been applied.
    #[default]
    Unknown,
    /// The server answered, so it has seen the request.
    Answered,
}

impl Sent {
    /// Whether the server certainly did not apply the request.
    pub const fn is_safe_to_repeat(self) -> bool {
        matches!(self, Self::Never | Self::Unprocessed)
    }
}

/// Why an attempt failed.
///
/// Found by walking the error's chain; see [`classify`](crate::classify).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Cause {
    // --- while connecting: nothing was sent, where that stage is proved ---
    /// Nobody listens on the port.
    ConnectionRefused,
    /// The name could not be resolved.
    Dns,
    /// The connection was not made in time.
    ConnectTimeout,
    /// The peer closed or reset the connection while it was being made, or before it took a
    /// request.
    ConnectReset,
    /// The TLS handshake was cut off: a transient fault, unlike [`Cause::Certificate`].
    TlsHandshake,
    /// Another fault while connecting, for instance an unreachable network.
    ConnectOther,
    /// This machine cannot connect there: it has no permission, or no such kind of address
    /// (`EACCES`, `EINVAL`, `EAFNOSUPPORT` while connecting).
    ConnectImpossible,
    /// A layer below refused to send the request because it has too much to do
    /// (tower's `LoadShed`).
    Overloaded,
    /// A layer below refused to send the request for some time
    /// ([`Rejected`](crate::stack::Rejected)).
    Rejected,

    // --- not processed, where the stage is proved: sent again outside of the counts ---
    /// The pooled connection closed before the request was written to it.
    Canceled,
    /// HTTP/2 `RST_STREAM` with `REFUSED_STREAM`.
    RefusedStream,
    /// HTTP/2 `GOAWAY` with `NO_ERROR` and a last stream below this request's. One with an error
    /// code is [`Cause::Http2`] or [`Cause::EnhanceYourCalm`].
    GoAway,

    // --- may have been processed ---
    /// The connection closed before a whole response head arrived.
    IncompleteMessage,
    /// The connection was reset.
    ConnectionReset,
    /// The connection was closed while it was written to.
    BrokenPipe,
    /// The connection ended in the middle of something.
    UnexpectedEof,
    /// A timeout below this layer fired.
    Timeout,
    /// This layer's own attempt timeout fired.
    AttemptTimeout,
    /// The server sent something that is not HTTP, or content that cannot be decoded.
    InvalidResponse,
    /// The response's head arrived and its body broke off.
    ResponseBody,
    /// An HTTP/2 error with this code (RFC 9113, section 7).
    Http2(u32),
    /// HTTP/2 `ENHANCE_YOUR_CALM`: the server throttles.
    EnhanceYourCalm,
    /// The client's connection task is gone, for instance because its runtime shut down.
    DispatchGone,
    /// Another I/O error after the connection was made.
    Io,

    // --- can never work by repeating ---
    /// The server's certificate is not acceptable.
    Certificate,
    /// The server does not accept the client's certificate, or the lack of one.
    ///
    /// With TLS 1.3 it may say so only after the request was written (RFC 8446, section 4.4.2.4).
    ClientCertificate,
    /// The peer does not speak TLS, or not a version or cipher in common.
    TlsProtocol,
    /// The proxy wants other credentials for a tunnel: 407, or 403 where a connector says it, which
    /// hyper-util's does not.
    ProxyAuthentication,
    /// The connector cannot do this URI's scheme.
    UnsupportedScheme,
    /// The URI cannot be sent, for instance because it is not absolute.
    InvalidUri,
    /// The request's HTTP version cannot be sent on this connection.
    UnsupportedVersion,
    /// The request's own body failed.
    RequestBody,
    /// Another mistake in the request itself.
    InvalidRequest,
    /// A client below this layer followed redirects and gave up: too many, or one that its policy
    /// refuses.
    Redirect,

    /// A layer below made an error of a response whose status says failure.
    Status(
        /// The response's status.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::status"))]
        StatusCode,
    ),
    /// A gRPC call ended with this code, whatever the response's status.
    Grpc(GrpcCode),
    /// An error that none of the classifiers knows.
    Unknown,
}

impl Cause {
    /// The kind that a failure of this cause has where the stage is known that it names.
    ///
    /// It proves nothing: a connection refused is a `connect` failure only where an error's type
    /// says that the client was connecting. See [`Failure::kind`].
    pub const fn kind(self) -> FailureKind {
        match self {
            Self::ConnectionRefused
            | Self::Dns
            | Self::ConnectTimeout
            | Self::ConnectReset
            | Self::TlsHandshake
            | Self::ConnectOther
            | Self::ConnectImpossible
            | Self::Overloaded
            | Self::Rejected
            | Self::Canceled
            | Self::RefusedStream
            | Self::GoAway => FailureKind::Connect,
            Self::IncompleteMessage
            | Self::ConnectionReset
            | Self::BrokenPipe
            | Self::UnexpectedEof
            | Self::Timeout
            | Self::AttemptTimeout
            | Self::InvalidResponse
            | Self::ResponseBody
            | Self::Http2(_)
            | Self::EnhanceYourCalm
            | Self::DispatchGone
            | Self::Io => FailureKind::Read,
            Self::Certificate
            | Self::ClientCertificate
            | Self::TlsProtocol
            | Self::ProxyAuthentication
            | Self::UnsupportedScheme
            | Self::InvalidUri
            | Self::UnsupportedVersion
            | Self::RequestBody
            | Self::InvalidRequest
            | Self::Redirect
            | Self::Unknown => FailureKind::Other,
            Self::Status(_) | Self::Grpc(_) => FailureKind::Status,
        }
    }

    /// What is known of the request where nothing proves that it was not applied.
    pub(crate) const fn unproved(self) -> Sent {
        match self {
            Self::InvalidResponse
            | Self::ResponseBody
            | Self::Redirect
            | Self::Status(_)
            | Self::Grpc(_) => Sent::Answered,
            _ => Sent::Unknown,
        }
    }

    /// Whether repeating the request unchanged can never succeed.
    pub const fn is_permanent(self) -> bool {
        matches!(
            self,
            Self::Certificate
                | Self::ClientCertificate
                | Self::TlsProtocol
                | Self::ProxyAuthentication
                | Self::ConnectImpossible
        ) || self.is_http_1_1_required()
            || self.is_user_error()
    }

    /// Whether the server wants HTTP/1.1, which the next attempt would not speak either.
    const fn is_http_1_1_required(self) -> bool {
        matches!(self, Self::Http2(0xd))
    }

    /// Whether the caller's request is at fault: what it asks for, or where it leads.
    ///
    /// No preset repeats such a request: urllib3, too, raises these without asking its `Retry`.
    pub const fn is_user_error(self) -> bool {
        matches!(
            self,
            Self::UnsupportedScheme
                | Self::InvalidUri
                | Self::UnsupportedVersion
                | Self::RequestBody
                | Self::InvalidRequest
                | Self::Redirect
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectionRefused => "connection refused",
            Self::Dns => "name not resolved",
            Self::ConnectTimeout => "connect timed out",
            Self::ConnectReset => "connection reset while connecting",
            Self::TlsHandshake => "TLS handshake cut off",
            Self::ConnectOther => "could not connect",
            Self::ConnectImpossible => "cannot connect there from here",
            Self::Overloaded => "refused locally: overloaded",
            Self::Rejected => "turned away by a layer below",
            Self::Canceled => "pooled connection closed before the request was sent",
            Self::RefusedStream => "refused unprocessed (REFUSED_STREAM)",
            Self::GoAway => "refused unprocessed (GOAWAY)",
            Self::IncompleteMessage => "connection closed before the response",
            Self::ConnectionReset => "connection reset",
            Self::BrokenPipe => "broken pipe",
            Self::UnexpectedEof => "unexpected end of the stream",
            Self::Timeout => "timed out",
            Self::AttemptTimeout => "attempt timed out",
            Self::InvalidResponse => "response is not HTTP",
            Self::ResponseBody => "response body cut off",
            Self::Http2(code) => return write!(f, "HTTP/2 error {code:#x}"),
            Self::EnhanceYourCalm => "throttled (ENHANCE_YOUR_CALM)",
            Self::DispatchGone => "connection task gone",
            Self::Io => "I/O error",
            Self::Certificate => "certificate not acceptable",
            Self::ClientCertificate => "client certificate not accepted by the server",
            Self::TlsProtocol => "peer does not speak compatible TLS",
            Self::ProxyAuthentication => "the proxy wants other credentials",
            Self::UnsupportedScheme => "URI scheme not supported by the connector",
            Self::InvalidUri => "URI cannot be requested",
            Self::UnsupportedVersion => "HTTP version not supported",
            Self::RequestBody => "the request's own body failed",
            Self::InvalidRequest => "invalid request",
            Self::Redirect => "redirects not followed to an end",
            Self::Status(status) => return write!(f, "status {}", status.as_u16()),
            Self::Grpc(code) => return write!(f, "gRPC {code}"),
            Self::Unknown => "unknown error",
        })
    }
}

/// A failed attempt: what it is charged to, why it failed, and what became of the request.
///
/// A cause proves nothing: `ECONNREFUSED` is also what an established connection returns after an
/// ICMP message. What was certainly not applied is said by `sent` alone; see
/// [`classify`](mod@crate::classify#what-proves-that-a-request-was-not-applied).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Failure {
    /// The limit it is charged to.
    pub kind: FailureKind,
    /// Why it failed.
    pub cause: Cause,
    /// What certainly happened to the request.
    pub sent: Sent,
}

impl Failure {
    /// A failure with this cause, about which so much is known of the request.
    ///
    /// Its kind is that of the cause where `sent` bears it out: `connect` is only what was
    /// certainly not applied, and what reads like it but was not proved is `read`.
    ///
    /// ```
    /// use tower_http_retry::classify::{Cause, Failure, FailureKind, Sent};
    ///
    /// let failure = Failure::new(Cause::ConnectionRefused, Sent::Never);
    /// assert_eq!(failure.kind, FailureKind::Connect);
    /// let failure = Failure::new(Cause::ConnectionRefused, Sent::Unknown);
    /// assert_eq!(failure.kind, FailureKind::Read);
    /// ```
    pub const fn new(cause: Cause, sent: Sent) -> Self {
        let kind = match cause.kind() {
            FailureKind::Connect if !sent.is_safe_to_repeat() => FailureKind::Read,
            FailureKind::Read if sent.is_safe_to_repeat() => FailureKind::Connect,
            kind => kind,
        };
        Self { kind, cause, sent }
    }

    /// The same failure, charged to another limit.
    #[must_use]
    pub const fn with_kind(self, kind: FailureKind) -> Self {
        Self { kind, ..self }
    }

    /// Whether the request was certainly not processed although there was a connection for it, so
    /// that it is sent again for any method, outside of counts and budget (RFC 9113, section 8.7).
    /// What is [permanent](Cause::is_permanent) is not.
    pub const fn is_unprocessed(&self) -> bool {
        if self.cause.is_permanent() {
            return false;
        }
        match self.sent {
            Sent::Unprocessed => true,
            Sent::Never => matches!(self.cause, Cause::Canceled),
            Sent::Unknown | Sent::Answered => false,
        }
    }
}

impl From<Cause> for Failure {
    /// A failure of which nothing is known but its cause: nothing proves that the request was not
    /// applied.
    fn from(cause: Cause) -> Self {
        Self::new(cause, cause.unproved())
    }
}
