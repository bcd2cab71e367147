//! Errors of reqwest's client.

use std::error::Error;

use super::{
    Cause,
    reading::{Reading, Stage},
};

/// Reads an error of reqwest.
///
/// The whole chain of the client below it hangs under it, so that most of its predicates are only
/// needed where it puts errors of private types in place of those of its parts.
pub(super) fn read(error: &(dyn Error + 'static), _: Stage) -> Option<Reading> {
    use Reading::{At, Guess, Settled};

    let error = error.downcast_ref::<reqwest::Error>()?;
    Some(if let Some(status) = error.status() {
        Settled(Cause::Status(status))
    } else if error.is_redirect() {
        Settled(Cause::Redirect)
    } else if error.is_builder() {
        Guess(Cause::InvalidRequest)
    } else if error.is_connect() {
        if error.is_dns() {
            Settled(Cause::Dns)
        } else if error.is_timeout() {
            Settled(Cause::ConnectTimeout)
        } else {
            At(Stage::Connecting)
        }
    } else if error.is_timeout() {
        // Not settled: a request body that timed out is true here, too.
        Guess(Cause::Timeout)
    } else if error.is_decode() {
        Guess(Cause::InvalidResponse)
    } else if error.is_body() {
        Guess(Cause::ResponseBody)
    } else {
        return None;
    })
}
