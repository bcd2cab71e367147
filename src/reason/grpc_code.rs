//! [`GrpcCode`]: how a gRPC call ended.

use std::{fmt, str::FromStr};

use http::{HeaderValue, StatusCode};

/// The status code with which a gRPC call ended.
///
/// The names and numbers are those of [gRPC's list]. A number that is not in it is
/// [`Unknown`](Self::Unknown), as gRPC takes it.
///
/// ```
/// use tower_http_retry::reason::GrpcCode;
///
/// assert_eq!("UNAVAILABLE".parse(), Ok(GrpcCode::Unavailable));
/// assert_eq!(GrpcCode::Unavailable.number(), 14);
/// assert_eq!(GrpcCode::from_number(99), GrpcCode::Unknown);
/// # Ok::<(), tower_http_retry::reason::UnknownGrpcCode>(())
/// ```
///
/// [gRPC's list]: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GrpcCode {
    /// The call succeeded.
    Ok,
    /// The call was cancelled, usually by its caller.
    Cancelled,
    /// An error of which no more is known.
    Unknown,
    /// The arguments are wrong, whatever the state of the system.
    InvalidArgument,
    /// The deadline passed before the call ended.
    DeadlineExceeded,
    /// What was asked for does not exist.
    NotFound,
    /// What was to be made exists already.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// A quota, or a resource such as the disk, is used up.
    ResourceExhausted,
    /// The system is not in the state that the call needs.
    FailedPrecondition,
    /// The call was aborted, usually because of a conflict.
    Aborted,
    /// The call went past the valid range.
    OutOfRange,
    /// The method does not exist.
    Unimplemented,
    /// An invariant of the system is broken.
    Internal,
    /// The service is not available now.
    Unavailable,
    /// Data is lost or damaged for good.
    DataLoss,
    /// The caller has no valid credentials.
    Unauthenticated,
}

/// All codes, each at the index that is its number.
const ALL: [(GrpcCode, &str); 17] = [
    (GrpcCode::Ok, "OK"),
    (GrpcCode::Cancelled, "CANCELLED"),
    (GrpcCode::Unknown, "UNKNOWN"),
    (GrpcCode::InvalidArgument, "INVALID_ARGUMENT"),
    (GrpcCode::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (GrpcCode::NotFound, "NOT_FOUND"),
    (GrpcCode::AlreadyExists, "ALREADY_EXISTS"),
    (GrpcCode::PermissionDenied, "PERMISSION_DENIED"),
    (GrpcCode::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (GrpcCode::FailedPrecondition, "FAILED_PRECONDITION"),
    (GrpcCode::Aborted, "ABORTED"),
    (GrpcCode::OutOfRange, "OUT_OF_RANGE"),
    (GrpcCode::Unimplemented, "UNIMPLEMENTED"),
    (GrpcCode::Internal, "INTERNAL"),
    (GrpcCode::Unavailable, "UNAVAILABLE"),
    (GrpcCode::DataLoss, "DATA_LOSS"),
    (GrpcCode::Unauthenticated, "UNAUTHENTICATED"),
];

impl GrpcCode {
    /// The code's number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code's name, as gRPC spells it: `UNAVAILABLE`.
    pub const fn as_str(self) -> &'static str {
        ALL[self as usize].1
    }

    /// The code of this number; one that gRPC does not have is [`Unknown`](Self::Unknown).
    pub const fn from_number(number: i64) -> Self {
        if 0 <= number && number < ALL.len() as i64 {
            ALL[number as usize].0
        } else {
            Self::Unknown
        }
    }

    /// What a `grpc-status` says. One that is no number is [`Unknown`](Self::Unknown), as in
    /// grpc-go and tonic.
    pub(crate) fn from_header(value: &HeaderValue) -> Self {
        match value.as_bytes() {
            [digit @ b'0'..=b'9'] => Self::from_number(i64::from(digit - b'0')),
            [tens @ b'1'..=b'9', digit @ b'0'..=b'9'] => {
                Self::from_number(i64::from(tens - b'0') * 10 + i64::from(digit - b'0'))
            }
            _ => Self::Unknown,
        }
    }

    /// What an HTTP/2 stream that was reset means (RFC 9113, section 7; "gRPC over HTTP2", section
    /// "Errors").
    pub(crate) const fn from_reset(code: u32) -> Self {
        match code {
            // REFUSED_STREAM: not proved to be one where it is read as a plain error.
            0x7 => Self::Unavailable,
            0x8 => Self::Cancelled,
            0xb => Self::ResourceExhausted,
            0xc => Self::PermissionDenied,
            0x0..=0x6 | 0x9 | 0xa | 0xd => Self::Internal,
            _ => Self::Unknown,
        }
    }

    /// What a response without a `grpc-status` means, by its HTTP status ([HTTP to gRPC status
    /// code mapping]). One that ended well without a status is [`Unknown`](Self::Unknown), too.
    ///
    /// [HTTP to gRPC status code mapping]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
    pub(crate) const fn from_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for GrpcCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that no gRPC status code has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownGrpcCode {
    name: String,
}

impl fmt::Display for UnknownGrpcCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not the name of a gRPC status code, such as `UNAVAILABLE`",
            self.name.escape_debug()
        )
    }
}

impl std::error::Error for UnknownGrpcCode {}

impl FromStr for GrpcCode {
    type Err = UnknownGrpcCode;

    /// Reads a name in any case, as a service config may have it.
    fn from_str(name: &str) -> Result<Self, UnknownGrpcCode> {
        ALL.into_iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map(|(code, _)| code)
            .ok_or_else(|| UnknownGrpcCode {
                name: name.to_owned(),
            })
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for GrpcCode {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for GrpcCode {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(from)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_at_its_number() {
        for (number, (code, name)) in ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), number);
            assert_eq!(code.as_str(), name);
            assert_eq!(name.to_lowercase().parse(), Ok(code));
            let header = HeaderValue::try_from(number.to_string()).expect("a number");
            assert_eq!(GrpcCode::from_header(&header), code);
        }
    }

    #[test]
    fn what_is_no_code_is_unknown() {
        for value in [
            "",
            "17",
            "-1",
            "014",
            "1 4",
            "abc",
            "99999999999999999999",
            "1.0",
        ] {
            let header = HeaderValue::try_from(value).expect("a header value");
            assert_eq!(GrpcCode::from_header(&header), GrpcCode::Unknown, "{value}");
        }
        assert_eq!(GrpcCode::from_number(-1), GrpcCode::Unknown);
        assert_eq!(GrpcCode::from_number(i64::MAX), GrpcCode::Unknown);
    }
}
