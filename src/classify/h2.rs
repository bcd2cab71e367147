//! Errors of HTTP/2 streams and connections.

use std::error::Error;

use h2::Reason;

#[cfg(feature = "grpc")]
use super::walk::Chain;

use super::{
    Cause,
    messages::message,
    reading::{Place, Reading},
};

/// Reads an error of the h2 crate.
///
/// What the codes of RFC 9113, section 7, are to a request:
///
/// | code | as | why |
/// | --- | --- | --- |
/// | `NO_ERROR` | [`GoAway`](Cause::GoAway) in a GOAWAY, else an HTTP/2 error | the server shuts down; in a reset it wants no more of the request |
/// | `PROTOCOL_ERROR` | HTTP/2 error | the peer takes this side for wrong, often after a fault of its own; a new connection may do |
/// | `INTERNAL_ERROR` | HTTP/2 error | a fault of the peer's, as a 500 |
/// | `FLOW_CONTROL_ERROR` | HTTP/2 error | a fault of one connection |
/// | `SETTINGS_TIMEOUT` | HTTP/2 error | a slow connection |
/// | `STREAM_CLOSED` | HTTP/2 error | a race on one connection |
/// | `FRAME_SIZE_ERROR` | HTTP/2 error | a fault of one connection |
/// | `REFUSED_STREAM` | [`RefusedStream`](Cause::RefusedStream) | closed before any processing (section 8.7) |
/// | `CANCEL` | HTTP/2 error | the stream is not needed any more; proxies send it when they give up |
/// | `COMPRESSION_ERROR` | HTTP/2 error | the state of one connection is lost |
/// | `CONNECT_ERROR` | HTTP/2 error | the connection behind a CONNECT was reset |
/// | `ENHANCE_YOUR_CALM` | [`EnhanceYourCalm`](Cause::EnhanceYourCalm) | the server throttles |
/// | `INADEQUATE_SECURITY` | HTTP/2 error | another machine of the same name may have another TLS |
/// | `HTTP_1_1_REQUIRED` | HTTP/2 error, [permanent](Cause::is_permanent) | the next attempt would use the same version |
/// | others | HTTP/2 error | they are to be taken for `INTERNAL_ERROR` |
///
/// All may pass but `HTTP_1_1_REQUIRED`. Whether the request was processed is another question:
/// see [`proof`](super::proof).
pub(super) fn read(error: &(dyn Error + 'static), _: Place) -> Option<Reading> {
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

/// The code with which the server has reset the stream, if that is what this error is about.
#[cfg(feature = "grpc")]
pub(crate) fn reset_by_server(error: &(dyn Error + 'static)) -> Option<u32> {
    let reset: &h2::Error = Chain::new(error).find_map(|link| link.downcast_ref())?;
    let by_server = reset.is_reset() && reset.is_remote();
    Some(reset.reason().filter(|_| by_server)?.into())
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
