//! A first attempt that is held back, because the server asked another request to wait.

use http::Request;

/// The request as it was given, and the service to send it with.
///
/// The service is a clone of the one that was polled ready, which must not be kept from others
/// for the time of the wait.
pub(crate) struct Held<S, B> {
    pub(crate) service: S,
    pub(crate) request: Request<B>,
}
