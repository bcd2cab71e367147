//! Errors of hyper-util's legacy client and of hyper.

use std::error::Error;

use hyper_util::client::legacy;

use super::{
    Cause,
    messages::message,
    reading::{Place, Reading},
};

/// Reads an error of hyper-util's client.
///
/// Its kind is private: it shows in the message alone, apart from `is_connect`.
pub(super) fn read_client(error: &(dyn Error + 'static), _: Place) -> Option<Reading> {
    let error = error.downcast_ref::<legacy::Error>()?;
    Some(match &*message(error) {
        "client error (UserAbsoluteUriRequired)" => Reading::Settled(Cause::InvalidUri),
        "client error (UserUnsupportedVersion)" => Reading::Settled(Cause::UnsupportedVersion),
        // Another request is at work on the only connection that there will be.
        "client error (Canceled)" => Reading::Guess(Cause::Canceled),
        "client error (Connect)" => Reading::Deeper,
        // Every other kind without a source is a mistake in the request.
        _ if error.source().is_none() => Reading::Settled(Cause::InvalidRequest),
        _ => Reading::Deeper,
    })
}

/// Reads an error of hyper itself.
pub(super) fn read(error: &(dyn Error + 'static), _: Place) -> Option<Reading> {
    let error = error.downcast_ref::<hyper::Error>()?;
    let is_source_own = || {
        error
            .source()
            .is_some_and(|source| source.is::<hyper::Error>())
    };
    Some(if error.is_canceled() && is_source_own() {
        // The connection failed, for the reason given, before it took the request. The client
        // sends a request that had to wait for a connection in use again by itself, so that this
        // is a new connection, and as good as none.
        Reading::Deeper
    } else if error.is_canceled() || error.is_closed() {
        Reading::Settled(Cause::Canceled)
    } else if error.is_incomplete_message() {
        Reading::Settled(Cause::IncompleteMessage)
    } else if error.is_parse() {
        Reading::Settled(Cause::InvalidResponse)
    } else if error.is_timeout() {
        Reading::Settled(Cause::Timeout)
    } else if error.is_user() {
        Reading::Settled(user(error))
    } else if is_of_response_body(error) {
        Reading::Deeper
    } else {
        // I/O, HTTP/2 and what hyper will add: the source tells more.
        Reading::Guess(Cause::Io)
    })
}

/// Whether the response's head had arrived. That it had not is not said by anything else: this
/// only takes away what might be proved.
pub(super) fn is_of_response_body(error: &hyper::Error) -> bool {
    &*message(error) == "error reading a body from connection"
}

/// What a "user" error is, one of which no user makes.
fn user(error: &hyper::Error) -> Cause {
    match &*message(error) {
        "dispatch task is gone" => Cause::DispatchGone,
        // Only the body's error and the one above come with a source.
        _ if error.source().is_some() || error.is_body_write_aborted() => Cause::RequestBody,
        _ => Cause::InvalidRequest,
    }
}
