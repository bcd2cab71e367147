//! Errors of `std`, of tokio's clock and of the `http` crate, which are always known.

use std::{error::Error, io};

use super::{
    Cause,
    reading::{Place, Reading},
};

/// Reads an `io::Error` by its kind, as a failure of an exchange that was under way; a kind that
/// says little is only a guess, and what the error carries is looked at.
///
/// What is found names the cause and proves nothing: an established connection returns
/// `ECONNREFUSED`, too, after an ICMP port unreachable (RFC 1122, section 4.2.3.9).
pub(super) fn read(error: &(dyn Error + 'static), at: Place) -> Option<Reading> {
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
        _ if at == Place::Connecting => {
            let by_code = error.raw_os_error().and_then(super::tls::read_code);
            by_code.unwrap_or_else(|| Guess(connecting(error)))
        }
        // HTTP/1 says this of a chunk size that is not one.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if at == Place::Body => {
            Guess(Cause::InvalidResponse)
        }
        _ => Guess(Cause::Io),
    })
}

/// What an error of a vague kind is while connecting.
fn connecting(error: &io::Error) -> Cause {
    /// The protocol has no addresses of that kind on this machine (`EAFNOSUPPORT`): Linux; macOS
    /// and the BSDs; Windows. It has no `ErrorKind`.
    const NO_SUCH_ADDRESSES: [i32; 3] = [97, 47, 10047];

    match error.kind() {
        // A TLS stack says this of its peer's messages.
        io::ErrorKind::InvalidData => Cause::TlsProtocol,
        // `EACCES` and `EPERM`, of a firewall or a broadcast address; `EINVAL`, of an address
        // that needs a scope.
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => Cause::ConnectImpossible,
        _ if error
            .raw_os_error()
            .is_some_and(|code| NO_SUCH_ADDRESSES.contains(&code)) =>
        {
            Cause::ConnectImpossible
        }
        _ => Cause::Io,
    }
}

/// Reads the error of `tokio::time::timeout`.
pub(super) fn read_elapsed(error: &(dyn Error + 'static), _: Place) -> Option<Reading> {
    error
        .is::<tokio::time::error::Elapsed>()
        .then_some(Reading::Settled(Cause::Timeout))
}

/// Reads the errors of the `http` crate: a layer below could not build its request.
pub(super) fn read_http(error: &(dyn Error + 'static), _: Place) -> Option<Reading> {
    if error.is::<http::uri::InvalidUri>() || error.is::<http::uri::InvalidUriParts>() {
        Some(Reading::Settled(Cause::InvalidUri))
    } else if error.is::<http::Error>() {
        Some(Reading::Guess(Cause::InvalidRequest))
    } else {
        None
    }
}
