//! Which connection an attempt is on, and what is a reason to leave it.

use std::{any::Any, error::Error, iter};

use hyper_util::client::legacy::connect::CaptureConnection;

use crate::{BoxError, reason::Cause, stack::OnConnection};

/// The connection that an attempt is on, once there is one.
#[derive(Clone)]
pub(super) struct Leave(CaptureConnection);

impl Leave {
    pub(super) fn new(captured: CaptureConnection) -> Self {
        Self(captured)
    }

    pub(super) fn is_known(&self) -> bool {
        self.0.connection_metadata().is_some()
    }

    /// For the layers further out.
    pub(super) fn handle(&self) -> OnConnection {
        let connection = self.clone();
        OnConnection::new(move || connection.leave())
    }

    /// Leaves the connection. Returns whether there is one.
    pub(super) fn leave(&self) -> bool {
        match &*self.0.connection_metadata() {
            Some(connection) => {
                connection.poison();
                true
            }
            None => false,
        }
    }
}

/// Whether what failed is the connection, or may be, rather than one stream of it or the request.
pub(super) fn is_of_connection(error: &(dyn Error + 'static), cause: Cause) -> bool {
    let answered = matches!(
        cause,
        Cause::Status(_) | Cause::Grpc(_) | Cause::Overloaded | Cause::EnhanceYourCalm
    );
    !answered && !cause.is_user_error() && !is_of_stream(error)
}

/// Whether one stream of HTTP/2 was reset, while the others go on (RFC 9113, section 5.4.2).
fn is_of_stream(error: &(dyn Error + 'static)) -> bool {
    let chain = iter::successors(Some(error), |error| Error::source(*error));
    let mut links = chain.take(LINKS);
    links.any(|link| link.downcast_ref().is_some_and(h2::Error::is_reset))
}

/// So many links of an error are looked at: one can be its own source.
const LINKS: usize = 16;

/// The same of a body's error.
pub(super) fn breaks_connection<E: 'static>(error: &E) -> bool {
    let error: &dyn Any = error;
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        !is_of_stream(error)
    } else if let Some(error) = error.downcast_ref::<BoxError>() {
        !is_of_stream(&**error)
    } else {
        true
    }
}
