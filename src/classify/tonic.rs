//! Errors of tonic's channel, which sends over hyper without hyper-util's client.

use std::error::Error;

use super::{
    Cause,
    reading::{Place, Reading},
};

/// Whether this is tonic's own error, which says nothing but where it stands.
pub(super) fn read(error: &(dyn Error + 'static), _: Place) -> Option<Reading> {
    if error.is::<tonic::transport::Error>() || error.is::<tonic::ConnectError>() {
        Some(Reading::Deeper)
    } else if error.is::<tonic::TimeoutExpired>() {
        // That of `Endpoint::timeout` or of the `grpc-timeout` header.
        Some(Reading::Settled(Cause::Timeout))
    } else {
        None
    }
}
