//! What a single link of an error's chain can say of the cause.

#![cfg_attr(
    not(all(feature = "hyper", feature = "h2", feature = "reqwest")),
    allow(dead_code, reason = "only client errors name a place")
)]

use super::Cause;

/// What a link says of the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// This is the cause: deeper links are its details.
    Settled(Cause),
    /// This is the cause unless a deeper link knows better.
    Guess(Cause),
    /// Deeper links tell what went wrong.
    Deeper,
}

/// How far the request had come, as far as the links above one say.
///
/// The names are in the order in which the links of a chain can lead from one to the next; what
/// leads there is in [`proof`](super::proof).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is known. This is not [`Place::Exchange`]: here a link may still say that nothing
    /// was sent.
    Nothing,
    /// Below the error of a client of reqwest's that sends one request for each that it is given.
    OneRequest,
    /// Below the error of a client's call, which ends with the response's head.
    Called,
    /// Below what HTTP/2 said about such a call.
    Stream,
    /// The connection was being made: nothing of the request was sent.
    Connecting,
    /// Something may have been exchanged, and nothing below says how much.
    Exchange,
    /// The response's head had arrived.
    Body,
}

impl Place {
    /// Whether something below may still prove that the request was not applied.
    pub(super) const fn is_open(self) -> bool {
        matches!(
            self,
            Self::Nothing | Self::OneRequest | Self::Called | Self::Stream
        )
    }

    /// What `cause`, found at this place, is called.
    ///
    /// A cause that is permanent is so everywhere.
    pub(super) const fn settle(self, cause: Cause) -> Cause {
        match self {
            Self::Nothing | Self::OneRequest | Self::Called | Self::Stream | Self::Exchange => {
                cause
            }
            Self::Connecting => match cause {
                Cause::Timeout | Cause::AttemptTimeout => Cause::ConnectTimeout,
                // A connection that goes away before it takes its first request was never there.
                Cause::ConnectionReset
                | Cause::BrokenPipe
                | Cause::IncompleteMessage
                | Cause::Canceled => Cause::ConnectReset,
                // A handshake is the only thing that is read while connecting.
                Cause::UnexpectedEof => Cause::TlsHandshake,
                // What is asked while connecting is a proxy, for a tunnel.
                Cause::Status(status) if matches!(status.as_u16(), 403 | 407) => {
                    Cause::ProxyAuthentication
                }
                Cause::Http2(_)
                | Cause::DispatchGone
                | Cause::InvalidResponse
                | Cause::Io
                | Cause::ResponseBody
                | Cause::Status(_)
                | Cause::Unknown => Cause::ConnectOther,
                cause => cause,
            },
            Self::Body => match cause {
                Cause::IncompleteMessage
                | Cause::ConnectionRefused
                | Cause::ConnectionReset
                | Cause::BrokenPipe
                | Cause::UnexpectedEof
                | Cause::Timeout
                | Cause::AttemptTimeout
                | Cause::Http2(_)
                | Cause::EnhanceYourCalm
                | Cause::DispatchGone
                | Cause::Io
                | Cause::Unknown
                // No server that has begun to answer can say that it did not process.
                | Cause::Canceled
                | Cause::RefusedStream
                | Cause::GoAway => Cause::ResponseBody,
                cause => cause,
            },
        }
    }
}
