//! The code of a call whose response was reset in the middle of its body.

#[cfg(feature = "h2")]
use std::any::Any;
#[cfg(feature = "h2")]
use std::error::Error;

use super::GrpcCode;
#[cfg(feature = "h2")]
use crate::classify;

/// The code with which gRPC's clients report a body that ended with this error, if it is that the
/// server reset its stream.
#[cfg(feature = "h2")]
pub(super) fn code_of<E: 'static>(error: &E) -> Option<GrpcCode> {
    classify::reset_by_server(as_error(error)?).map(GrpcCode::from_reset)
}

#[cfg(not(feature = "h2"))]
pub(super) fn code_of<E: 'static>(_: &E) -> Option<GrpcCode> {
    None
}

/// The error of a body, as far as it is one that a client's bodies have: not every one can be seen
/// as an error, as `Box<dyn Error>` cannot.
#[cfg(feature = "h2")]
fn as_error<E: 'static>(error: &E) -> Option<&(dyn Error + 'static)> {
    let error: &dyn Any = error;
    if let Some(boxed) = error.downcast_ref::<crate::BoxError>() {
        return Some(&**boxed);
    }
    #[cfg(feature = "hyper")]
    if let Some(hyper) = error.downcast_ref::<hyper::Error>() {
        return Some(hyper);
    }
    #[cfg(feature = "tonic")]
    if let Some(status) = error.downcast_ref::<tonic::Status>() {
        return Some(status);
    }
    Some(error.downcast_ref::<h2::Error>()?)
}
