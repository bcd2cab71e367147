use std::{fmt, sync::Arc};

use proptest::prelude::*;

use super::{
    reading::{Place, Reading},
    *,
};
use crate::BoxError;

/// An error that says nothing itself.
#[derive(Debug)]
struct Opaque(BoxError);

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something failed")
    }
}

impl Error for Opaque {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// An error whose source is itself.
#[derive(Debug)]
struct Ouroboros;

impl fmt::Display for Ouroboros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ouroboros")
    }
}

impl Error for Ouroboros {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

fn cause_of(error: impl Into<BoxError>) -> Cause {
    classify(&*error.into()).cause
}

fn io(kind: std::io::ErrorKind) -> std::io::Error {
    kind.into()
}

#[test]
fn io_errors_are_known_by_their_kind() {
    use std::io::ErrorKind::*;

    for (kind, cause) in [
        (ConnectionRefused, Cause::ConnectionRefused),
        (ConnectionReset, Cause::ConnectionReset),
        (ConnectionAborted, Cause::ConnectionReset),
        (BrokenPipe, Cause::BrokenPipe),
        (UnexpectedEof, Cause::UnexpectedEof),
        (TimedOut, Cause::Timeout),
        (HostUnreachable, Cause::Io),
        (PermissionDenied, Cause::Io),
        (InvalidData, Cause::Io),
        (Other, Cause::Io),
    ] {
        assert_eq!(cause_of(io(kind)), cause, "{kind:?}");
    }
}

#[test]
fn an_io_error_of_a_vague_kind_is_looked_into() {
    let inner = io(std::io::ErrorKind::ConnectionReset);
    let error = std::io::Error::other(std::io::Error::other(Opaque(inner.into())));
    assert_eq!(cause_of(error), Cause::ConnectionReset);
}

#[test]
fn wrappers_that_say_nothing_are_looked_through() {
    let refused: Arc<dyn Error + Send + Sync> = Arc::new(io(std::io::ErrorKind::ConnectionRefused));
    let error = Opaque(Box::new(Opaque(Box::new(refused))));
    assert_eq!(cause_of(error), Cause::ConnectionRefused);
}

#[test]
fn an_error_that_nobody_knows_is_unknown() {
    assert_eq!(
        classify(&Opaque("why".into())),
        Failure::from(Cause::Unknown)
    );
    assert_eq!(cause_of("operation failed"), Cause::Unknown);
}

#[test]
fn an_endless_chain_is_unknown() {
    assert_eq!(cause_of(Ouroboros), Cause::Unknown);

    let mut error: BoxError = io(std::io::ErrorKind::ConnectionRefused).into();
    for _ in 0..10_000 {
        error = Opaque(error).into();
    }
    assert_eq!(cause_of(error), Cause::Unknown);
}

#[test]
fn an_invalid_uri_is_known_inside_the_error_of_http() {
    let uri = http::Uri::try_from("http:// /").unwrap_err();
    assert_eq!(cause_of(http::Error::from(uri)), Cause::InvalidUri);
    let name = http::HeaderName::try_from(" ").unwrap_err();
    assert_eq!(cause_of(http::Error::from(name)), Cause::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_tokio_is_a_timeout() {
    let never = std::future::pending::<()>();
    let error = tokio::time::timeout(std::time::Duration::from_secs(1), never)
        .await
        .unwrap_err();
    assert_eq!(cause_of(error), Cause::Timeout);
}

/// The texts of clients, connectors and TLS stacks, in an error of any other type.
#[test]
fn a_text_says_nothing_below_a_type_that_does_not_make_it() {
    for message in [
        "operation timed out",
        "request timed out",
        "deadline has elapsed",
        "data was not received within the designated timeout",
        "URL scheme is not allowed",
        "Parsed Url is not a valid Uri",
        "dns error",
        "invalid peer certificate: Expired",
        "received fatal alert: CertificateRequired",
        "tunnel error: proxy authorization required",
        "client error (UserAbsoluteUriRequired)",
    ] {
        for error in [BoxError::from(message), Opaque(message.into()).into()] {
            assert_eq!(
                classify(&*error),
                Failure::from(Cause::Unknown),
                "{message}"
            );
        }
        let carried = std::io::Error::other(message);
        assert_eq!(classify(&carried), Failure::from(Cause::Io), "{message}");
    }
}

#[cfg(feature = "tower")]
#[test]
fn errors_of_tower_are_known_by_type() {
    assert_eq!(
        cause_of(Opaque(::tower::timeout::error::Elapsed::new().into())),
        Cause::Timeout
    );
    assert_eq!(
        cause_of(::tower::load_shed::error::Overloaded::new()),
        Cause::Overloaded
    );
}

#[cfg(feature = "h2")]
mod h2_errors {
    use super::*;
    use ::h2::{Error as H2, Reason};

    #[test]
    fn only_the_peer_can_say_that_it_refused() {
        let error = H2::from(Reason::REFUSED_STREAM);
        assert_eq!(cause_of(error), Cause::Http2(Reason::REFUSED_STREAM.into()));
    }

    /// Of all codes of RFC 9113, section 7, and of those to come.
    #[test]
    fn http_1_1_required_alone_is_permanent() {
        for code in 0..=0x1f {
            let cause = Cause::Http2(code);
            assert_eq!(cause.is_permanent(), code == 0xd, "{code:#x}");
            assert!(!cause.is_user_error());
        }
    }
}

/// What is found while connecting, or after the head of the response.
#[test]
fn the_stage_names_what_an_ambiguous_cause_means() {
    for (cause, connecting, body) in [
        (Cause::Timeout, Cause::ConnectTimeout, Cause::ResponseBody),
        (
            Cause::ConnectionReset,
            Cause::ConnectReset,
            Cause::ResponseBody,
        ),
        (Cause::Canceled, Cause::ConnectReset, Cause::ResponseBody),
        (
            Cause::UnexpectedEof,
            Cause::TlsHandshake,
            Cause::ResponseBody,
        ),
        (Cause::Unknown, Cause::ConnectOther, Cause::ResponseBody),
        (Cause::Io, Cause::ConnectOther, Cause::ResponseBody),
        (
            Cause::InvalidResponse,
            Cause::ConnectOther,
            Cause::InvalidResponse,
        ),
        (
            Cause::RefusedStream,
            Cause::RefusedStream,
            Cause::ResponseBody,
        ),
        (Cause::RequestBody, Cause::RequestBody, Cause::RequestBody),
        (Cause::Certificate, Cause::Certificate, Cause::Certificate),
    ] {
        assert_eq!(Place::Exchange.settle(cause), cause);
        assert_eq!(Place::Connecting.settle(cause), connecting);
        assert_eq!(Place::Body.settle(cause), body);
    }
}

/// P6: what SChannel says by number is permanent while connecting, and nothing of it elsewhere.
#[test]
fn the_numbers_of_schannel_are_certificates_only_while_connecting() {
    for (code, cause) in [
        (-2_146_762_495, Cause::Certificate),
        (-2_146_762_487, Cause::Certificate),
        (-2_146_762_486, Cause::Certificate),
        (-2_146_762_484, Cause::Certificate),
        (-2_146_762_481, Cause::Certificate),
        (-2_146_762_480, Cause::Certificate),
        (-2_146_869_244, Cause::Certificate),
        (-2_146_885_616, Cause::Certificate),
        (-2_146_893_022, Cause::Certificate),
        (-2_146_893_019, Cause::Certificate),
        (-2_146_893_016, Cause::Certificate),
        (-2_146_893_007, Cause::TlsProtocol),
    ] {
        assert!(cause.is_permanent());
        let error = std::io::Error::from_raw_os_error(code);
        let read = io::read(&error, Place::Connecting);
        assert_eq!(read, Some(Reading::Settled(cause)), "{code}");
        for place in [Place::Nothing, Place::Called, Place::Exchange, Place::Body] {
            assert_eq!(io::read(&error, place), Some(Reading::Guess(Cause::Io)));
        }
    }
    // A reset, a code that is close, and a text that is no number.
    let message = "... (os error -2146762489)";
    assert_eq!(
        messages::read(&*BoxError::from(message), Place::Connecting),
        None
    );
    let message = "... (os error 104)";
    assert_eq!(
        messages::read(&*BoxError::from(message), Place::Connecting),
        None
    );
}

/// The messages of a connector, and of TLS stacks, as they stand below an error that says that
/// the client was connecting.
#[test]
fn connectors_are_known_by_message_only_while_connecting() {
    for (message, cause) in [
        ("dns error", Cause::Dns),
        (
            "failed to lookup address information: Name or service not known",
            Cause::Dns,
        ),
        ("invalid URL, scheme is not http", Cause::UnsupportedScheme),
        ("unsupported scheme ftp", Cause::UnsupportedScheme),
        ("invalid URL, host is missing", Cause::InvalidUri),
        (
            "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify \
             failed:ssl/statem/statem_clnt.c:1889: (self-signed certificate)",
            Cause::Certificate,
        ),
        (
            "error:0A00010B:SSL routines:ssl3_get_record:wrong version number:ssl/record/x.c:354:",
            Cause::TlsProtocol,
        ),
        ("unexpected EOF", Cause::TlsHandshake),
        ("The certificate was not trusted.", Cause::Certificate),
        ("An expired certificate was detected.", Cause::Certificate),
        ("A host name mismatch has occurred.", Cause::Certificate),
        ("The certificate was revoked.", Cause::Certificate),
        // In the language of the machine.
        (
            "Der CN-Name des Zertifikats stimmt nicht überein. (os error -2146762481)",
            Cause::Certificate,
        ),
        ("... (os error -2146762495)", Cause::Certificate),
        ("... (os error -2146893007)", Cause::TlsProtocol),
        (
            "A certificate chain processed, but terminated in a root certificate which is not \
             trusted by the trust provider. (os error -2146762487)",
            Cause::Certificate,
        ),
    ] {
        let error = BoxError::from(message);
        assert_eq!(
            messages::read(&*error, Place::Connecting),
            Some(Reading::Settled(cause)),
            "{message}"
        );
        for place in [Place::Nothing, Place::Exchange, Place::Body] {
            assert_eq!(messages::read(&*error, place), None, "{message}");
        }
    }
}

#[test]
fn rustls_is_known_by_message() {
    for (message, connecting, exchange) in [
        (
            "invalid peer certificate: UnknownIssuer",
            Cause::Certificate,
            Cause::Certificate,
        ),
        (
            "received corrupt message of type InvalidContentType",
            Cause::TlsProtocol,
            Cause::Io,
        ),
        (
            "received fatal alert: HandshakeFailure",
            Cause::TlsProtocol,
            Cause::Io,
        ),
        (
            "received fatal alert: InternalError",
            Cause::TlsHandshake,
            Cause::Io,
        ),
        (
            "received fatal alert: CertificateRequired",
            Cause::ClientCertificate,
            Cause::ClientCertificate,
        ),
    ] {
        let error = BoxError::from(message);
        for (place, cause) in [(Place::Connecting, connecting), (Place::Exchange, exchange)] {
            assert_eq!(
                messages::read(&*error, place),
                Some(Reading::Settled(cause)),
                "{message}"
            );
        }
    }
}

/// The type and the message must not disagree: which one is asked depends on a feature.
#[cfg(feature = "rustls")]
#[test]
fn rustls_by_type_and_by_message_agree() {
    use ::rustls::{AlertDescription, CertificateError, Error as Tls, InvalidMessage};

    let alerts = (0..=u8::MAX)
        .map(AlertDescription::from)
        .map(Tls::AlertReceived);
    let errors = [
        Tls::InvalidCertificate(CertificateError::Expired),
        Tls::NoCertificatesPresented,
        Tls::InvalidMessage(InvalidMessage::InvalidContentType),
        Tls::PeerIncompatible(::rustls::PeerIncompatible::NoCipherSuitesInCommon),
        Tls::PeerMisbehaved(::rustls::PeerMisbehaved::TooMuchEarlyDataReceived),
        Tls::NoApplicationProtocol,
        Tls::PeerSentOversizedRecord,
        Tls::DecryptError,
        Tls::UnsupportedNameType,
    ];
    for error in errors.into_iter().chain(alerts) {
        for place in [Place::Connecting, Place::Exchange] {
            let by_type = tls::read(&error, place);
            assert!(by_type.is_some(), "{error}");
            let message = BoxError::from(error.to_string());
            assert_eq!(messages::read(&*message, place), by_type, "{error}");
        }
    }
}

proptest! {
    #[test]
    fn never_panics(
        kinds in prop::collection::vec(0_usize..6, 0..40),
        message in ".{0,600}",
    ) {
        let mut error = BoxError::from(message);
        for kind in kinds {
            error = match kind {
                0 => Opaque(error).into(),
                1 => std::io::Error::other(error).into(),
                2 => std::io::Error::new(std::io::ErrorKind::InvalidData, error).into(),
                3 => Arc::new(std::io::Error::other(error)).into(),
                4 => Arc::<dyn Error + Send + Sync>::from(error).into(),
                _ => format!("{error}: again").into(),
            };
        }
        let failure = classify(&*error);
        prop_assert_eq!(failure.sent, failure.cause.unproved());
        prop_assert!(chain(&*error).len() <= 512);
    }
}

/// An error whose words are the connector's, if it stands where one speaks.
#[derive(Debug)]
struct Words(&'static str);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Words {}

#[test]
fn the_words_of_connectors_are_read_while_connecting_and_nowhere_else() {
    for (words, cause) in [
        ("dns error", Cause::Dns),
        ("error resolving DNS", Cause::Dns),
        (
            "failed to lookup address information: try again",
            Cause::Dns,
        ),
        ("invalid URL, scheme is not http", Cause::UnsupportedScheme),
        ("invalid URL, scheme is missing", Cause::UnsupportedScheme),
        ("missing scheme", Cause::UnsupportedScheme),
        ("unsupported scheme ftp", Cause::UnsupportedScheme),
        ("invalid URL, host is missing", Cause::InvalidUri),
        ("invalid dns name", Cause::InvalidUri),
        ("tunnel error: missing destination host", Cause::InvalidUri),
        ("operation timed out", Cause::ConnectTimeout),
        ("request timed out", Cause::ConnectTimeout),
        ("deadline has elapsed", Cause::ConnectTimeout),
        (
            "tunnel error: proxy authorization required",
            Cause::ProxyAuthentication,
        ),
    ] {
        let read = |at| messages::read(&Words(words), at);
        assert_eq!(
            read(Place::Connecting),
            Some(Reading::Settled(cause)),
            "{words}"
        );
        for at in [
            Place::Nothing,
            Place::OneRequest,
            Place::Called,
            Place::Stream,
            Place::Exchange,
            Place::Body,
        ] {
            assert_eq!(read(at), None, "{words} {at:?}");
        }
        let failure = classify(&NeverSent::new(Words(words)));
        assert_eq!(
            (failure.cause, failure.sent),
            (cause, Sent::Never),
            "{words}"
        );
    }
    let other = classify(&NeverSent::new(Words("tunnel error: unsuccessful")));
    assert_eq!(
        (other.cause, other.sent),
        (Cause::ConnectOther, Sent::Never)
    );
}

#[test]
fn an_errno_that_cannot_pass_is_permanent_while_connecting() {
    use std::io::{Error as Io, ErrorKind::*};

    for (error, cause) in [
        (Io::from(InvalidData), Cause::TlsProtocol),
        (Io::from(PermissionDenied), Cause::ConnectImpossible),
        (Io::from(InvalidInput), Cause::ConnectImpossible),
        (Io::from_raw_os_error(97), Cause::ConnectImpossible),
        (Io::from_raw_os_error(10047), Cause::ConnectImpossible),
        // No route to the host.
        (Io::from_raw_os_error(113), Cause::ConnectOther),
        (Io::from(Other), Cause::ConnectOther),
    ] {
        let text = format!("{error:?}");
        assert_eq!(cause_of(NeverSent::new(error)), cause, "{text}");
    }
    // What was found first is the cause; what it carries are its details.
    let carried = Io::new(ConnectionReset, io(BrokenPipe));
    assert_eq!(cause_of(carried), Cause::ConnectionReset);
}

#[test]
fn sixteen_links_prove_what_seventeen_do_not() {
    let vouches = [Vouch::of::<Opaque>(Stage::Transparent)];
    let sent = |wrappers: usize| {
        let refused = NeverSent::new(io(std::io::ErrorKind::ConnectionRefused));
        let error = (0..wrappers).fold(BoxError::from(refused), |error, _| Opaque(error).into());
        examine(&*error, &vouches).failure.sent
    };
    for wrappers in 0..=14 {
        assert_eq!(sent(wrappers), Sent::Never, "{wrappers}");
    }
    for wrappers in [15, 16, 100] {
        assert_eq!(sent(wrappers), Sent::Unknown, "{wrappers}");
    }
}

#[test]
fn evidence_is_told_where_something_reads_like_a_request_that_was_not_sent_and_only_there() {
    use crate::{body::ReplayError, reason::Evidence};
    use std::io::{Error as Io, ErrorKind::*};

    /// Ends a call.
    #[derive(Debug)]
    struct Call(BoxError);

    impl fmt::Display for Call {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the call failed")
        }
    }

    impl Error for Call {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }

    let vouches = [Vouch::of::<Call>(Stage::Call)];
    let evidence = |error: BoxError| examine(&*error, &vouches).evidence;
    assert!(matches!(
        evidence(io(ConnectionRefused).into()),
        Some(Evidence::NoStage)
    ));
    assert!(matches!(
        evidence(Opaque(io(ConnectionRefused).into()).into()),
        Some(Evidence::Unvouched { link: 1, .. })
    ));
    for silent in [
        io(ConnectionReset).into(),
        Opaque(io(ConnectionReset).into()).into(),
        // There a stage is known: something may have been exchanged.
        Call(io(ConnectionRefused).into()).into(),
        Call(Io::other(Opaque(io(ConnectionRefused).into())).into()).into(),
        // Of a request's body, of which nobody has to say what it is.
        ReplayError::Body(NeverSent::new(io(ConnectionRefused)).into()).into(),
    ] {
        let text = format!("{silent:?}");
        assert_eq!(evidence(silent), None, "{text}");
    }
}

#[test]
fn a_message_is_cut_where_it_has_no_more_room() {
    use std::fmt::Write;

    let mut message = messages::Message::new(5);
    assert!(message.write_str("abc").is_ok() && !message.is_cut());
    assert!(message.write_str("de").is_ok() && !message.is_cut());
    assert!(message.write_str("f").is_err() && message.is_cut());
    assert_eq!(&*message, "abcde");
}

#[test]
fn what_classifiers_see_shows_itself() {
    struct Post;

    impl RequestView for Post {
        fn method(&self) -> &http::Method {
            &http::Method::POST
        }
        fn uri(&self) -> Option<&http::Uri> {
            None
        }
        fn headers(&self) -> Option<&HeaderMap> {
            None
        }
        fn extensions(&self) -> Option<&http::Extensions> {
            None
        }
    }

    let outcome = Outcome::Error {
        failure: Cause::Io.into(),
        error: None,
    };
    let exchange = Exchange::new(3, outcome, &Post);
    assert_eq!((exchange.number(), exchange.method().as_str()), (3, "POST"));
    let shown = format!("{exchange:?}");
    assert!(
        shown.contains("POST") && shown.contains("number: 3"),
        "{shown}"
    );

    let classifier = |_: &Outcome<'_>| Opinion::NoOpinion;
    let classifier: &(dyn Classify + Send + Sync) = &classifier;
    assert_eq!(format!("{classifier:?}"), "Classify(\"classifier\")");
    let passed = DeadlinePassed::new(std::time::Duration::from_secs(2));
    assert_eq!(passed.to_string(), "the deadline of 2 s passed");
}
