//! [`NotResumed`]: why a download that broke could not go on.

use std::fmt;

use http::StatusCode;

/// Why a response body that broke could not be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum NotResumed {
    // --- what the request and the first response say ---
    /// Only a GET is continued, and only one without a body.
    NotGet,
    /// The response is no message of its own: an upgrade, a tunnel, or a stream of events.
    NoDownload,
    /// The response has neither the status 200 nor 206; to a continuation, it has one that says
    /// nothing about its content.
    Status {
        /// Its status.
        #[cfg_attr(feature = "serde", serde(with = "crate::serde_http::status"))]
        status: StatusCode,
    },
    /// The response has no `Content-Length`; a layer that decodes bodies takes it away.
    NoLength,
    /// The response has a `Content-Encoding`.
    Encoded,
    /// The response says that there are no ranges: `Accept-Ranges: none`.
    RangesRefused,
    /// The response has neither an `ETag` nor a `Last-Modified`, or none that can be read.
    NoValidator,
    /// The response has a validator that other bytes could have as well: a weak `ETag`, or a
    /// `Last-Modified` that was not yet a second old.
    WeakValidator,
    /// The body was longer than its `Content-Length`.
    TooLong,

    // --- what the response to a continuation says ---
    /// It is of several parts.
    Multipart,
    /// Its `Content-Range` is missing, is not valid, is of other bytes than were asked for, or
    /// differs from its `Content-Length`.
    InvalidRange,
    /// What is there now is something else, or cannot be shown to be the same.
    Changed,

    // --- neither ---
    /// The head of the request could not be made again.
    HeadNotKept,
}

impl NotResumed {
    /// A short, stable name for metrics and log fields.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotGet => "not_get",
            Self::NoDownload => "no_download",
            Self::Status { .. } => "status",
            Self::NoLength => "no_length",
            Self::Encoded => "encoded",
            Self::RangesRefused => "ranges_refused",
            Self::NoValidator => "no_validator",
            Self::WeakValidator => "weak_validator",
            Self::TooLong => "too_long",
            Self::Multipart => "multipart",
            Self::InvalidRange => "invalid_range",
            Self::Changed => "changed",
            Self::HeadNotKept => "head_not_kept",
        }
    }
}

impl fmt::Display for NotResumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotGet => "only a GET without a body is continued",
            Self::NoDownload => "it is an upgrade, a tunnel or a stream of events",
            Self::Status { status } => {
                return write!(
                    f,
                    "a response with status {} is not continued",
                    status.as_u16()
                );
            }
            Self::NoLength => "the response has no `Content-Length`",
            Self::Encoded => "the response has a `Content-Encoding`",
            Self::RangesRefused => "the server has no ranges (`Accept-Ranges: none`)",
            Self::NoValidator => "the response has no `ETag` or `Last-Modified` to be sure with",
            Self::WeakValidator => {
                "the response's validator is weak: other bytes could have it, too"
            }
            Self::TooLong => "the body was longer than its `Content-Length`",
            Self::Multipart => "the server sent several parts",
            Self::InvalidRange => "the server sent another range than it was asked for",
            Self::Changed => "the server has something else there now",
            Self::HeadNotKept => "the head of the request could not be made again",
        })
    }
}
