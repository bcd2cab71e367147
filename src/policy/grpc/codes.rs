//! Sets of gRPC's codes, and the code that each failure has there.

use std::fmt;

use crate::reason::{Cause, GrpcCode};

/// A set of codes: one bit for each.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CodeSet(u32);

impl CodeSet {
    pub(crate) const NONE: Self = Self(0);

    /// What says "not now" and nothing else.
    pub(crate) const UNAVAILABLE: Self = Self(1 << GrpcCode::Unavailable.number());

    pub(crate) const fn contains(self, code: GrpcCode) -> bool {
        self.0 & 1 << code.number() != 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = GrpcCode> {
        (0..=i64::from(GrpcCode::Unauthenticated.number()))
            .map(GrpcCode::from_number)
            .filter(move |code| self.contains(*code))
    }
}

impl FromIterator<GrpcCode> for CodeSet {
    fn from_iter<I: IntoIterator<Item = GrpcCode>>(codes: I) -> Self {
        let bits = codes.into_iter().map(|code| 1 << code.number());
        Self(bits.fold(0, |all, bit| all | bit))
    }
}

impl fmt::Debug for CodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The code with which gRPC's clients report a failure ("gRPC over HTTP2", "Errors", for those of
/// HTTP/2, and "HTTP to gRPC Status Code Mapping").
///
/// Where gRPC knows no such failure it is [`GrpcCode::Unknown`], which nobody lists lightly.
pub(crate) const fn code_of(cause: Cause) -> GrpcCode {
    match cause {
        Cause::Grpc(code) => code,
        Cause::Status(status) => GrpcCode::from_http(status),

        Cause::ConnectionRefused
        | Cause::Dns
        | Cause::ConnectTimeout
        | Cause::ConnectReset
        | Cause::TlsHandshake
        | Cause::ConnectOther
        | Cause::ConnectImpossible
        | Cause::Overloaded
        | Cause::Rejected
        | Cause::Canceled
        | Cause::RefusedStream
        | Cause::GoAway
        | Cause::IncompleteMessage
        | Cause::ConnectionReset
        | Cause::BrokenPipe
        | Cause::UnexpectedEof
        | Cause::ResponseBody
        | Cause::DispatchGone
        | Cause::Io
        | Cause::Certificate
        | Cause::ClientCertificate
        | Cause::TlsProtocol
        | Cause::ProxyAuthentication => GrpcCode::Unavailable,

        Cause::Timeout | Cause::AttemptTimeout => GrpcCode::DeadlineExceeded,
        Cause::EnhanceYourCalm => GrpcCode::ResourceExhausted,
        Cause::Http2(code) => GrpcCode::from_reset(code),
        Cause::InvalidResponse => GrpcCode::Internal,
        Cause::UnsupportedScheme
        | Cause::InvalidUri
        | Cause::UnsupportedVersion
        | Cause::RequestBody
        | Cause::InvalidRequest
        | Cause::Redirect
        | Cause::Unknown => GrpcCode::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_codes_that_were_put_into_it() {
        let codes = [GrpcCode::Aborted, GrpcCode::Unavailable, GrpcCode::Aborted];
        let set: CodeSet = codes.into_iter().collect();
        let all = (0..=16).map(GrpcCode::from_number);
        for code in all {
            assert_eq!(set.contains(code), codes.contains(&code), "{code}");
        }
        assert!(set.iter().eq([GrpcCode::Aborted, GrpcCode::Unavailable]));
        assert_eq!(format!("{set:?}"), "{Aborted, Unavailable}");
        assert!(CodeSet::UNAVAILABLE.iter().eq([GrpcCode::Unavailable]));
        assert_eq!(CodeSet::NONE.iter().next(), None);
    }

    /// "gRPC over HTTP2", the table of its section "Errors".
    #[test]
    fn a_reset_has_the_code_that_grpc_gives_it() {
        use GrpcCode::{
            Cancelled, Internal, PermissionDenied, ResourceExhausted, Unavailable, Unknown,
        };
        let expected = [
            Internal,          // NO_ERROR
            Internal,          // PROTOCOL_ERROR
            Internal,          // INTERNAL_ERROR
            Internal,          // FLOW_CONTROL_ERROR
            Internal,          // SETTINGS_TIMEOUT
            Internal,          // STREAM_CLOSED: no mapping, the stream was open
            Internal,          // FRAME_TOO_LARGE
            Unavailable,       // REFUSED_STREAM
            Cancelled,         // CANCEL
            Internal,          // COMPRESSION_ERROR
            Internal,          // CONNECT_ERROR
            ResourceExhausted, // ENHANCE_YOUR_CALM
            PermissionDenied,  // INADEQUATE_SECURITY
            Internal,          // HTTP_1_1_REQUIRED
            Unknown,           // none that is registered
        ];
        for (reset, code) in (0..).zip(expected) {
            assert_eq!(code_of(Cause::Http2(reset)), code, "{reset:#x}");
        }
    }
}
