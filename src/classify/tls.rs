//! Errors of TLS stacks.
//!
//! rustls's are known by their type with the feature `rustls`, and by their message without it or
//! in another major version. Those of OpenSSL, Secure Transport and SChannel, which native-tls
//! passes on, are known by message only, and only the usual ones: another is a
//! [`Cause::ConnectOther`] and costs the connect limit before it is given up.

use super::{
    Cause,
    reading::{Place, Reading},
};

/// What is wrong with a TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The server's certificate.
    Certificate,
    /// The client's certificate, in the server's opinion.
    ClientCertificate,
    /// What is spoken: no TLS, or no version, cipher or name in common.
    Protocol,
    /// Nothing that must happen again.
    Transient,
}

impl Fault {
    /// What the fault means at a place.
    ///
    /// Once the handshake is done, a broken record is a broken connection: a fault of the path
    /// that says nothing of the peer's abilities.
    const fn read(self, at: Place) -> Reading {
        Reading::Settled(match (self, at) {
            (Self::Certificate, _) => Cause::Certificate,
            (Self::ClientCertificate, _) => Cause::ClientCertificate,
            (Self::Protocol, Place::Connecting) => Cause::TlsProtocol,
            (Self::Transient, Place::Connecting) => Cause::TlsHandshake,
            (Self::Protocol | Self::Transient, _) => Cause::Io,
        })
    }
}

/// Reads an error of rustls by its type.
#[cfg(feature = "rustls")]
pub(super) fn read(error: &(dyn std::error::Error + 'static), at: Place) -> Option<Reading> {
    use rustls::{AlertDescription as Alert, Error as Tls};

    let fault = match error.downcast_ref::<Tls>()? {
        Tls::InvalidCertificate(_)
        | Tls::InvalidCertRevocationList(_)
        | Tls::NoCertificatesPresented
        | Tls::UnsupportedNameType => Fault::Certificate,
        Tls::AlertReceived(alert) => match alert {
            Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired => Fault::ClientCertificate,
            Alert::CloseNotify
            | Alert::BadRecordMac
            | Alert::InternalError
            | Alert::UserCanceled => Fault::Transient,
            _ => Fault::Protocol,
        },
        Tls::InvalidMessage(_)
        | Tls::InappropriateMessage { .. }
        | Tls::InappropriateHandshakeMessage { .. }
        | Tls::PeerIncompatible(_)
        | Tls::PeerMisbehaved(_)
        | Tls::PeerSentOversizedRecord
        | Tls::NoApplicationProtocol
        | Tls::InvalidEncryptedClientHello(_)
        | Tls::DecryptError => Fault::Protocol,
        // Of the general ones, and of those to come, no more is known than the message.
        _ => return None,
    };
    Some(fault.read(at))
}

/// How rustls begins its messages.
const RUSTLS: &[(&str, Fault)] = &[
    ("invalid peer certificate", Fault::Certificate),
    ("invalid certificate revocation list", Fault::Certificate),
    ("peer sent no certificates", Fault::Certificate),
    ("presented server name type", Fault::Certificate),
    ("received corrupt message of type", Fault::Protocol),
    ("received unexpected message", Fault::Protocol),
    ("received unexpected handshake message", Fault::Protocol),
    ("peer is incompatible", Fault::Protocol),
    ("peer misbehaved", Fault::Protocol),
    ("peer sent excess record size", Fault::Protocol),
    ("encrypted client hello failure", Fault::Protocol),
    ("cannot decrypt peer's message", Fault::Protocol),
    ("peer doesn't support any known protocol", Fault::Protocol),
    // The names of the alerts; each prefix of another comes after it.
    (
        "received fatal alert: NoCertificate",
        Fault::ClientCertificate,
    ),
    (
        "received fatal alert: BadCertificateStatusResponse",
        Fault::Protocol,
    ),
    (
        "received fatal alert: BadCertificateHashValue",
        Fault::Protocol,
    ),
    (
        "received fatal alert: BadCertificate",
        Fault::ClientCertificate,
    ),
    (
        "received fatal alert: UnsupportedCertificate",
        Fault::ClientCertificate,
    ),
    (
        "received fatal alert: CertificateUnobtainable",
        Fault::Protocol,
    ),
    (
        "received fatal alert: Certificate",
        Fault::ClientCertificate,
    ),
    ("received fatal alert: UnknownCA", Fault::ClientCertificate),
    (
        "received fatal alert: AccessDenied",
        Fault::ClientCertificate,
    ),
    ("received fatal alert: CloseNotify", Fault::Transient),
    ("received fatal alert: BadRecordMac", Fault::Transient),
    ("received fatal alert: InternalError", Fault::Transient),
    ("received fatal alert: UserCanceled", Fault::Transient),
    ("received fatal alert", Fault::Protocol),
];

/// What the messages of other stacks contain; looked for only while connecting.
const OTHERS: &[(&str, Fault)] = &[
    // OpenSSL
    ("certificate verify failed", Fault::Certificate),
    ("wrong version number", Fault::Protocol),
    ("unsupported protocol", Fault::Protocol),
    ("no protocols available", Fault::Protocol),
    ("handshake failure", Fault::Protocol),
    ("unexpected EOF", Fault::Transient),
    // Secure Transport: the comments of Apple's SecBase.h, which are what it says (-67843 in
    // rust-native-tls issue 143; -67818, -67819, -67820, -67602)
    ("certificate was not trusted", Fault::Certificate),
    ("An expired certificate was detected", Fault::Certificate),
    ("The certificate is not yet valid", Fault::Certificate),
    ("The certificate was revoked", Fault::Certificate),
    ("A host name mismatch has occurred", Fault::Certificate),
    // SChannel, whose texts are in the language of the machine: see `SCHANNEL`
    ("root certificate which is not trusted", Fault::Certificate),
];

/// What SChannel and its certificate chains say, by number (winerror.h). An `io::Error` has it in its
/// text in every language, and it is no errno of another system.
const SCHANNEL: &[(i32, Fault)] = &[
    // CERT_E_EXPIRED
    (-2_146_762_495, Fault::Certificate),
    // CERT_E_UNTRUSTEDROOT (hyper-native-tls pull request 11)
    (-2_146_762_487, Fault::Certificate),
    // CERT_E_CHAINING
    (-2_146_762_486, Fault::Certificate),
    // CERT_E_REVOKED
    (-2_146_762_484, Fault::Certificate),
    // CERT_E_CN_NO_MATCH (rust-native-tls issue 181)
    (-2_146_762_481, Fault::Certificate),
    // CERT_E_WRONG_USAGE
    (-2_146_762_480, Fault::Certificate),
    // TRUST_E_CERT_SIGNATURE (rust-native-tls issue 212)
    (-2_146_869_244, Fault::Certificate),
    // CRYPT_E_REVOKED
    (-2_146_885_616, Fault::Certificate),
    // SEC_E_WRONG_PRINCIPAL
    (-2_146_893_022, Fault::Certificate),
    // SEC_E_UNTRUSTED_ROOT
    (-2_146_893_019, Fault::Certificate),
    // SEC_E_CERT_EXPIRED
    (-2_146_893_016, Fault::Certificate),
    // SEC_E_ALGORITHM_MISMATCH
    (-2_146_893_007, Fault::Protocol),
];

/// Reads the number of an error of the operating system, found while connecting.
pub(super) fn read_code(code: i32) -> Option<Reading> {
    let (_, fault) = SCHANNEL.iter().find(|(known, _)| *known == code)?;
    Some(fault.read(Place::Connecting))
}

/// The number that an `io::Error` ends its text with: the error itself may not be in the chain.
fn code(message: &str) -> Option<i32> {
    let (_, code) = message.rsplit_once("(os error ")?;
    code.strip_suffix(')')?.parse().ok()
}

/// Reads the message of a TLS error whose type cannot be named.
pub(super) fn read_message(message: &str, at: Place) -> Option<Reading> {
    let rustls = RUSTLS.iter().find(|(start, _)| message.starts_with(start));
    let others = || {
        (at == Place::Connecting)
            .then(|| OTHERS.iter().find(|(part, _)| message.contains(part)))
            .flatten()
    };
    if let Some((_, fault)) = rustls.or_else(others) {
        return Some(fault.read(at));
    }
    match at {
        Place::Connecting => read_code(code(message)?),
        _ => None,
    }
}
