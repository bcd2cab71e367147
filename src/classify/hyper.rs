//! Errors of hyper-util's legacy client and of hyper.

use std::error::Error;

use hyper_util::client::legacy;

use super::{
    Cause,
    messages::message,
    reading::{Reading, Stage},
};

/// Reads an error of hyper-util's client.
///
/// Its kind is private: it shows in the message alone, apart from `is_connect`.
pub(super) fn read_client(error: &(dyn Error + 'static), _: Stage) -> Option<Reading> {
    let error = error.downcast_ref::<legacy::Error>()?;
    if error.is_connect() {
        return Some(Reading::At(Stage::Connecting));
    }
    match &*message(error) {
        "client error (UserAbsoluteUriRequired)" => Some(Reading::Settled(Cause::InvalidUri)),
        "client error (UserUnsupportedVersion)" => {
            Some(Reading::Settled(Cause::UnsupportedVersion))
        }
        "client error (Canceled)" => Some(Reading::Guess(Cause::Canceled)),
        // Every other kind without a source is a mistake in the request.
        _ if error.source().is_none() => Some(Reading::Settled(Cause::InvalidRequest)),
        // The request is handed to a connection only once that is checked out, and from then on
        // every error names it: this one is from the HTTP handshake before that.
        _ if error.connect_info().is_none() => Some(Reading::At(Stage::Connecting)),
        _ => None,
    }
}

/// Reads an error of hyper itself.
pub(super) fn read(error: &(dyn Error + 'static), _: Stage) -> Option<Reading> {
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
        Reading::At(Stage::Connecting)
    } else if error.is_canceled() || error.is_closed() {
        // Both come from the queue in front of a connection.
        Reading::Settled(Cause::Canceled)
    } else if error.is_incomplete_message() {
        Reading::Settled(Cause::IncompleteMessage)
    } else if error.is_parse() {
        Reading::Settled(Cause::InvalidResponse)
    } else if error.is_timeout() {
        Reading::Settled(Cause::Timeout)
    } else if error.is_user() {
        Reading::Settled(user(error))
    } else if &*message(error) == "error reading a body from connection" {
        Reading::At(Stage::Body)
    } else {
        // I/O, HTTP/2 and what hyper will add: the source tells more.
        Reading::Guess(Cause::Io)
    })
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
