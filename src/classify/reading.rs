//! What a single link of an error's chain can say.
#![cfg_attr(
    not(any(feature = "hyper", feature = "reqwest")),
    allow(dead_code, reason = "only client errors name a stage")
)]

use super::Cause;

/// What a link says of the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// This is the cause: deeper links are its details.
    Settled(Cause),
    /// This is the cause unless a deeper link knows better.
    Guess(Cause),
    /// Deeper links tell what went wrong at this stage of the request.
    At(Stage),
}

/// How far the request had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A connection was there, or nothing is known.
    Exchange,
    /// The connection was being made: nothing of the request was sent.
    Connecting,
    /// The response's head had arrived.
    Body,
}

impl Stage {
    /// What `cause`, found below a link that named this stage, is called.
    ///
    /// A cause that is permanent is so at every stage.
    pub(super) const fn settle(self, cause: Cause) -> Cause {
        match self {
            Self::Exchange => cause,
            Self::Connecting => match cause {
                Cause::Timeout | Cause::AttemptTimeout => Cause::ConnectTimeout,
                // A connection that goes away before it takes its first request was never there.
                Cause::ConnectionReset
                | Cause::BrokenPipe
                | Cause::IncompleteMessage
                | Cause::Canceled => Cause::ConnectReset,
                // A handshake is the only thing that is read while connecting.
                Cause::UnexpectedEof => Cause::TlsHandshake,
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
