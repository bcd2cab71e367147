//! Errors of reqwest's client.

use std::error::Error;

use super::{
    Cause,
    messages::message,
    reading::{Place, Reading},
};

/// Reads an error of reqwest.
///
/// The whole chain of the client below it hangs under it, so that its predicates are only needed
/// where it puts errors of private types in place of those of its parts. `is_connect` is not: it
/// is true wherever a failed connection is in the chain, for instance below a body.
pub(super) fn read(error: &(dyn Error + 'static), _: Place) -> Option<Reading> {
    use Reading::{Deeper, Guess, Settled};

    if error.is::<crate::reqwest::ReqwestError>() {
        return Some(Deeper);
    }
    let error = error.downcast_ref::<reqwest::Error>()?;
    Some(if let Some(status) = error.status() {
        Settled(Cause::Status(status))
    } else if error.is_redirect() {
        Settled(Cause::Redirect)
    } else if error.is_builder() {
        builder(error)
    } else if error.is_timeout() {
        // Not settled: a request body that timed out is true here, too.
        Guess(Cause::Timeout)
    } else if error.is_decode() {
        Guess(Cause::InvalidResponse)
    } else if error.is_body() {
        Guess(Cause::ResponseBody)
    } else {
        Deeper
    })
}

/// What is wrong with a request that reqwest could not build; some of it shows only in the message
/// of the source.
fn builder(error: &reqwest::Error) -> Reading {
    match error.source().map(message).as_deref() {
        Some("URL scheme is not allowed") => Reading::Settled(Cause::UnsupportedScheme),
        Some("Parsed Url is not a valid Uri") => Reading::Settled(Cause::InvalidUri),
        _ => Reading::Guess(Cause::InvalidRequest),
    }
}
