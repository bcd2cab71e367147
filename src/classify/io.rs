//! Errors of `std`, of tokio's clock and of the `http` crate, which are always known.

use std::{error::Error, io};

use super::{
    Cause,
    reading::{Reading, Stage},
};

/// Reads an `io::Error` by its kind, as a failure of an exchange that was under way; a kind that
/// says little is only a guess, and what the error carries is looked at.
pub(super) fn read(error: &(dyn Error + 'static), stage: Stage) -> Option<Reading> {
    use Reading::{Guess, Settled};

    let error = error.downcast_ref::<io::Error>()?;
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => Settled(Cause::ConnectionRefused),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            Settled(Cause::ConnectionReset)
        }
        io::ErrorKind::BrokenPipe => Settled(Cause::BrokenPipe),
        io::ErrorKind::UnexpectedEof => Settled(Cause::UnexpectedEof),
        io::ErrorKind::TimedOut => Settled(Cause::Timeout),
        // A TLS stack says this of its peer's messages.
        io::ErrorKind::InvalidData if stage == Stage::Connecting => Guess(Cause::TlsProtocol),
        // HTTP/1 says this of a chunk size that is not one.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if stage == Stage::Body => {
            Guess(Cause::InvalidResponse)
        }
        _ => Guess(Cause::Io),
    })
}

/// Reads the error of `tokio::time::timeout`.
pub(super) fn read_elapsed(error: &(dyn Error + 'static), _: Stage) -> Option<Reading> {
    error
        .is::<tokio::time::error::Elapsed>()
        .then_some(Reading::Settled(Cause::Timeout))
}

/// Reads the errors of the `http` crate: a layer below could not build its request.
pub(super) fn read_http(error: &(dyn Error + 'static), _: Stage) -> Option<Reading> {
    if error.is::<http::uri::InvalidUri>() || error.is::<http::uri::InvalidUriParts>() {
        Some(Reading::Settled(Cause::InvalidUri))
    } else if error.is::<http::Error>() {
        Some(Reading::Guess(Cause::InvalidRequest))
    } else {
        None
    }
}
