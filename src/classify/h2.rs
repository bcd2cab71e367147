//! Errors of HTTP/2 streams and connections.

use std::error::Error;

use h2::Reason;

use super::{
    Cause,
    messages::message,
    reading::{Reading, Stage},
};

/// Reads an error of the h2 crate.
///
/// A `GOAWAY` is reported to a stream only when its last stream is below that stream's: one with
/// `NO_ERROR` therefore says that the request was not processed (RFC 9113, sections 6.8 and 8.7).
/// One with an error code says the same, but a server in distress is better not asked at once
/// again for a request that is not idempotent; reqwest draws the line at the same place.
pub(super) fn read(error: &(dyn Error + 'static), _: Stage) -> Option<Reading> {
    use Reading::{Guess, Settled};

    let error = error.downcast_ref::<h2::Error>()?;
    let Some(reason) = error.reason() else {
        return Some(if error.is_io() {
            Guess(Cause::Io)
        } else {
            user(error)
        });
    };
    // Only the peer can say what it did with the request.
    if !error.is_remote() {
        // hyper resets the stream of a request whose body failed, and keeps the body's error to
        // itself.
        let by_user = error.is_reset() && !error.is_library();
        return Some(Settled(if by_user {
            Cause::RequestBody
        } else {
            Cause::Http2(reason.into())
        }));
    }
    Some(Settled(match reason {
        Reason::REFUSED_STREAM if error.is_reset() => Cause::RefusedStream,
        Reason::NO_ERROR if error.is_go_away() => Cause::GoAway,
        Reason::ENHANCE_YOUR_CALM => Cause::EnhanceYourCalm,
        reason => Cause::Http2(reason.into()),
    }))
}

/// What a misuse of the h2 crate is; which one shows in the message alone.
fn user(error: &h2::Error) -> Reading {
    match &*message(error) {
        "user error: request URI missing scheme and authority" => {
            Reading::Settled(Cause::InvalidUri)
        }
        "user error: malformed headers" | "user error: payload too big" => {
            Reading::Settled(Cause::InvalidRequest)
        }
        // Some are no one's fault, as that of a connection which ran out of stream numbers.
        _ => Reading::Guess(Cause::Io),
    }
}
