//! Errors of tower's and tower-http's middleware.

use std::error::Error;

use super::{
    Cause,
    reading::{Place, Reading},
};

/// Reads the errors of tower's `Timeout` and `LoadShed`.
///
/// How far the request had come when a timeout fired is unknown.
#[cfg(feature = "tower")]
pub(super) fn read(error: &(dyn Error + 'static), _: Place) -> Option<Reading> {
    if error.is::<tower::timeout::error::Elapsed>() {
        Some(Reading::Settled(Cause::Timeout))
    } else if error.is::<tower::load_shed::error::Overloaded>() {
        Some(Reading::Settled(Cause::Overloaded))
    } else {
        None
    }
}

/// Reads the error of tower-http's body timeouts.
///
/// That of a *request's* body comes out of hyper as an error of that body, and is settled there.
#[cfg(feature = "tower-http")]
pub(super) fn read_http(error: &(dyn Error + 'static), _: Place) -> Option<Reading> {
    error
        .is::<tower_http::timeout::TimeoutError>()
        .then_some(Reading::Settled(Cause::Timeout))
}
