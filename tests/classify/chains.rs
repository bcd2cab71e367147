//! Random chains of errors against a table that was written from the documentation of
//! `classify`, not from its code: what is believed not to have been applied is what the table
//! proves, and nothing else.
//!
//! `CHAINS_SEED` and `CHAINS_CASES` choose other chains, and more of them.
#![cfg(all(feature = "hyper", feature = "h2", feature = "tower"))]

use std::{
    env,
    error::Error,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use futures_util::FutureExt;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::rt::ReadBufCursor;
use hyper_util::{
    client::legacy::{
        self, Client,
        connect::{Connected, Connection},
    },
    rt::TokioExecutor,
};
use test_support::net::client::{self, Body};
use tower::{Layer, Service, ServiceExt, buffer::Buffer, service_fn};
use tower_http_retry::{
    AttemptOutcome, BoxError, NeverSent, RetryError, RetryLayer,
    classify::{Failure, FailureKind, Sent, Stage, classify},
    policy::RetryPolicy,
    stack::{LayerError, LayerOutcome, Rejected},
};

use self::real::Real;

/// What one error of a chain is, as far as the table is concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    /// A wrapper that is known to add nothing.
    Transparent(&'static str),
    /// An `io::Error`, which may carry the next link.
    Io(io::ErrorKind, bool),
    /// An error of a type that nobody knows, with its text.
    Unknown(&'static str),
    /// A `NeverSent`, or the `Rejected` of a breaker.
    NeverSent,
    Overloaded,
    /// A `LayerError`: what it says was sent, and how often.
    Layer(Option<Sent>, Option<u32>),
    /// A `RetryError`, and whether one of its attempts may have been applied.
    Retries(bool),
    Legacy(Legacy),
    /// A `hyper::Error`, and whether it is `is_canceled()`.
    Hyper(bool),
    /// A `hyper::Error` of a response's body.
    HyperBody,
    H2(H2),
    /// A `ReqwestError`, and whether it is that of a client which was built to send one request.
    #[cfg_attr(not(feature = "reqwest"), expect(dead_code))]
    Reqwest(bool),
    /// A `reqwest::Error`, and whether it is `is_request()`.
    #[cfg_attr(not(feature = "reqwest"), expect(dead_code))]
    ReqwestsOwn(bool),
    #[cfg_attr(not(feature = "tonic"), expect(dead_code))]
    Tonic(Tonic),
    /// An error of a type that is vouched for.
    Promised(Stage),
    /// A `rustls::Error` about a certificate.
    Certificate,
    /// Another error that proves nothing.
    Other(&'static str),
}

/// What an error of hyper-util's client says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Legacy {
    Connect,
    /// It names a connection, and has a source.
    Call,
    NoSource,
}

/// Errors of tonic's channel.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(not(feature = "tonic"), expect(dead_code))]
enum Tonic {
    Transport,
    Connect,
    Timeout,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum H2 {
    Local,
    Reset(u32),
    GoAway,
}

/// A pair that the table does not have, for tables that are wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Belief {
    RefusedIsConnecting,
    UnknownIsTransparent,
    EveryCallIsNeverSent,
    CanceledAnywhere,
    EveryResetIsRefused,
    H2Anywhere,
    RetriesAreForgotten,
    /// What a connection or a request's body failed with.
    DetailsOfACall,
    LastOfSeveralAttempts,
    EveryLink,
    /// The body of a response is part of the call.
    BodiesOfACall,
    /// A promise holds wherever the error is.
    PromisesAnywhere,
    #[cfg(feature = "reqwest")]
    EveryClientSendsOne,
}

const BELIEFS: &[Belief] = &[
    Belief::RefusedIsConnecting,
    Belief::UnknownIsTransparent,
    Belief::EveryCallIsNeverSent,
    Belief::CanceledAnywhere,
    Belief::EveryResetIsRefused,
    Belief::H2Anywhere,
    Belief::RetriesAreForgotten,
    Belief::DetailsOfACall,
    Belief::LastOfSeveralAttempts,
    Belief::EveryLink,
    Belief::BodiesOfACall,
    Belief::PromisesAnywhere,
    #[cfg(feature = "reqwest")]
    Belief::EveryClientSendsOne,
];

/// The table of `classify`, with one more row if `belief` is there.
fn proof(links: &[Link], belief: Option<Belief>) -> Option<Sent> {
    let believes = |other| belief == Some(other);
    let applied = links.contains(&Link::Retries(true));
    if applied && !believes(Belief::RetriesAreForgotten) {
        return None;
    }
    if links.len() > 16 && !believes(Belief::EveryLink) {
        return None;
    }
    let promised = links.contains(&Link::Promised(Stage::NeverSent));
    if promised && believes(Belief::PromisesAnywhere) {
        return Some(Sent::Never);
    }
    for (at, link) in links.iter().enumerate() {
        let below = &links[at + 1..];
        match *link {
            link if is_transparent(link, belief) => {}
            Link::Io(_, true) => {}
            link if says_never_sent(link) => return Some(Sent::Never),
            Link::Layer(said, _) => return said.filter(|sent| sent.is_safe_to_repeat()),
            Link::Legacy(Legacy::Connect | Legacy::NoSource) => return Some(Sent::Never),
            Link::Legacy(Legacy::Call) if believes(Belief::EveryCallIsNeverSent) => {
                return Some(Sent::Never);
            }
            Link::Legacy(Legacy::Call)
            | Link::Tonic(Tonic::Transport)
            | Link::Promised(Stage::Call) => return proof_of_call(below, belief),
            #[cfg(feature = "reqwest")]
            Link::Reqwest(one) if one || believes(Belief::EveryClientSendsOne) => {
                return match below {
                    [Link::ReqwestsOwn(true), below @ ..] => proof(below, belief),
                    _ => None,
                };
            }
            Link::Hyper(true) if believes(Belief::CanceledAnywhere) => return Some(Sent::Never),
            Link::Hyper(_) if believes(Belief::H2Anywhere) => {
                return proof_of_call(&links[at..], belief);
            }
            Link::Io(io::ErrorKind::ConnectionRefused, false)
                if believes(Belief::RefusedIsConnecting) =>
            {
                return Some(Sent::Never);
            }
            _ => return None,
        }
    }
    None
}

/// Whether a link adds nothing to the one below it.
fn is_transparent(link: Link, belief: Option<Belief>) -> bool {
    match link {
        Link::Transparent(_) | Link::Retries(_) | Link::Promised(Stage::Transparent) => true,
        Link::Layer(None, None | Some(1)) => true,
        Link::Layer(None, _) => belief == Some(Belief::LastOfSeveralAttempts),
        Link::Unknown(_) => belief == Some(Belief::UnknownIsTransparent),
        _ => false,
    }
}

/// Whether a link says itself that nothing was sent.
fn says_never_sent(link: Link) -> bool {
    matches!(
        link,
        Link::NeverSent
            | Link::Overloaded
            | Link::Promised(Stage::NeverSent)
            | Link::Tonic(Tonic::Connect)
    )
}

/// What hyper and h2 say below an error of a client's call.
fn proof_of_call(below: &[Link], belief: Option<Belief>) -> Option<Sent> {
    let bodies = belief == Some(Belief::BodiesOfACall);
    match *below {
        [link, ref below @ ..] if is_transparent(link, belief) => proof_of_call(below, belief),
        [Link::Promised(Stage::Call), ref below @ ..] => proof_of_call(below, belief),
        [link, ..] if says_never_sent(link) => Some(Sent::Never),
        [Link::Hyper(true), ..] => Some(Sent::Never),
        [Link::HyperBody, ref below @ ..] if bodies => {
            proof_of_call(&[&[Link::Hyper(false)], below].concat(), None)
        }
        [Link::Hyper(false), Link::H2(H2::Reset(code)), ..] => {
            let refused = code == 7 || belief == Some(Belief::EveryResetIsRefused);
            refused.then_some(Sent::Unprocessed)
        }
        [Link::Hyper(false), Link::H2(H2::GoAway), ..] => Some(Sent::Unprocessed),
        [Link::Hyper(false), ref details @ ..] if belief == Some(Belief::DetailsOfACall) => {
            proof(details, belief)
        }
        _ => None,
    }
}

/// An error, and what it is made of, outermost first.
struct Chain {
    links: Vec<Link>,
    error: BoxError,
}

impl Chain {
    fn leaf(link: Link, error: impl Into<BoxError>) -> Self {
        let (links, error) = (vec![link], error.into());
        Self { links, error }
    }

    fn below(self, link: Link, wrap: impl FnOnce(BoxError) -> BoxError) -> Self {
        let mut links = vec![link];
        links.extend(self.links);
        let error = wrap(self.error);
        Self { links, error }
    }
}

/// Errors of types that nobody knows.
#[derive(Debug)]
struct Unknown<const N: usize> {
    text: &'static str,
    source: Option<BoxError>,
}

impl<const N: usize> fmt::Display for Unknown<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl<const N: usize> Error for Unknown<N> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Errors of types that are vouched for, each with another promise.
#[derive(Debug)]
struct Promised<const N: usize>(Option<BoxError>);

impl<const N: usize> fmt::Display for Promised<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the permit was not given")
    }
}

impl<const N: usize> Error for Promised<N> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_deref().map(|source| source as _)
    }
}

/// What a layer that they are vouched for on says of an error.
fn judged(error: BoxError) -> Failure {
    let policy = RetryPolicy::builder().total(0).unprocessed(0).budget(None);
    let layer = RetryLayer::new(policy.build().expect("valid"))
        .vouch::<Promised<0>>(Stage::NeverSent)
        .vouch::<Promised<1>>(Stage::Transparent)
        .vouch::<Promised<2>>(Stage::Call);
    let error = Arc::new(Mutex::new(Some(error)));
    let service = service_fn(move |_: Request<Empty<Bytes>>| {
        let error = error.lock().unwrap().take().expect("sent once");
        std::future::ready(Err::<Response<Empty<Bytes>>, _>(error))
    });
    let response = layer.layer(service).oneshot(Request::new(Empty::new()));
    let error = response.now_or_never().expect("no wait");
    let error = error.expect_err("it fails");
    match error.report().attempts[0].outcome {
        AttemptOutcome::Failed {
            kind, cause, sent, ..
        } => Failure::new(cause, sent).with_kind(kind),
        ref other => panic!("{other}"),
    }
}

/// An error of a type that nobody knows, above one that is shared.
#[derive(Debug)]
struct Above(Arc<dyn Error + Send + Sync>, usize);

impl fmt::Display for Above {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("client error (Connect)")
    }
}

impl Error for Above {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let mut error: &(dyn Error + 'static) = &*self.0;
        for _ in 0..self.1 {
            error = below(error)?;
        }
        Some(error)
    }
}

/// What an error of hyper-util's client says of itself.
fn said(error: &legacy::Error) -> Link {
    Link::Legacy(match (error.is_connect(), error.source()) {
        (true, _) => Legacy::Connect,
        (false, None) => Legacy::NoSource,
        (false, Some(_)) => {
            assert!(error.connect_info().is_some(), "{error:?}");
            Legacy::Call
        }
    })
}

/// The next link: an `io::Error` has the source of what it carries.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|carried| carried as _),
        None => error.source(),
    }
}

/// Texts that known clients use.
const TEXTS: [&str; 14] = [
    "payment accepted, but could not save the receipt",
    "dns error",
    "tcp connect error",
    "client error (Connect)",
    "client error (SendRequest)",
    "URL scheme is not allowed",
    "Parsed Url is not a valid Uri",
    "invalid URL, scheme is not http",
    "invalid peer certificate: Expired",
    "connection closed before message completed",
    "operation was canceled",
    "tls handshake eof",
    "stream error received: refused stream before processing any application logic",
    "service overloaded",
];

/// Every kind that has a name in stable Rust 1.85.
const KINDS: [io::ErrorKind; 40] = {
    use io::ErrorKind::*;
    [
        NotFound,
        PermissionDenied,
        ConnectionRefused,
        ConnectionReset,
        HostUnreachable,
        NetworkUnreachable,
        ConnectionAborted,
        NotConnected,
        AddrInUse,
        AddrNotAvailable,
        NetworkDown,
        BrokenPipe,
        AlreadyExists,
        WouldBlock,
        NotADirectory,
        IsADirectory,
        DirectoryNotEmpty,
        ReadOnlyFilesystem,
        StaleNetworkFileHandle,
        InvalidInput,
        InvalidData,
        TimedOut,
        WriteZero,
        StorageFull,
        NotSeekable,
        QuotaExceeded,
        FileTooLarge,
        ResourceBusy,
        ExecutableFileBusy,
        Deadlock,
        CrossesDevices,
        TooManyLinks,
        ArgumentListTooLong,
        Interrupted,
        Unsupported,
        UnexpectedEof,
        OutOfMemory,
        Other,
        // What clients meet most often, twice.
        ConnectionRefused,
        ConnectionReset,
    ]
};

/// A client that fails as it was last told.
struct Failing {
    next: Arc<Mutex<Option<Result<Wire, BoxError>>>>,
    send: Box<dyn Fn(Request<Body>) -> legacy::Error>,
}

impl Failing {
    fn new() -> Self {
        let next = Arc::new(Mutex::new(None));
        let results = Arc::clone(&next);
        let connector = service_fn(move |_: Uri| {
            let result: Result<Wire, BoxError> = results.lock().unwrap().take().expect("told");
            std::future::ready(result)
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
        let send = Box::new(move |request| {
            let response = runtime.block_on(client.request(request));
            response.expect_err("it fails")
        });
        Self { next, send }
    }

    fn request(&self, result: Result<Wire, BoxError>, request: Request<Body>) -> legacy::Error {
        *self.next.lock().unwrap() = Some(result);
        (self.send)(request)
    }

    /// The connector fails.
    fn connect(&self, error: BoxError) -> legacy::Error {
        self.request(Err(error), client::get(URI.parse().expect("valid")))
    }

    /// Reading fails when the request is written.
    fn read(&self, error: io::Error) -> legacy::Error {
        let wire = Wire {
            error: Some(error),
            reader: None,
            written: false,
        };
        self.request(Ok(wire), client::get(URI.parse().expect("valid")))
    }

    /// The request's body fails.
    fn body(&self, error: BoxError) -> legacy::Error {
        let wire = Wire {
            error: None,
            reader: None,
            written: false,
        };
        let parts = futures_util::stream::iter([Ok(Bytes::from("half")), Err(error)]);
        let request = client::post_parts(URI.parse().expect("valid"), parts);
        self.request(Ok(wire), request)
    }
}

const URI: &str = "http://a.test/";

/// A connection that fails with this error when the request is on it.
struct Wire {
    error: Option<io::Error>,
    reader: Option<Waker>,
    written: bool,
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let written = self.written;
        match self.error.take_if(|_| written) {
            Some(error) => Poll::Ready(Err(error)),
            None => {
                self.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// The error of a layer that retries and gives up with the last of these.
fn retried(mut errors: Vec<BoxError>) -> RetryError {
    let total = u32::try_from(errors.len()).expect("few") - 1;
    errors.reverse();
    let errors = Arc::new(Mutex::new(errors));
    let policy = RetryPolicy::builder()
        .total(total)
        .backoff_factor(0.0)
        .budget(None);
    let service = service_fn(move |_: Request<Empty<Bytes>>| {
        let error = errors.lock().unwrap().pop().expect("no more attempts");
        std::future::ready(Err::<Response<Empty<Bytes>>, _>(error))
    });
    let retries = RetryLayer::new(policy.build().expect("valid")).layer(service);
    let response = retries.oneshot(Request::new(Empty::new())).now_or_never();
    response.expect("no wait").expect_err("it fails")
}

/// tower's Buffer above a service that fails so to become ready.
fn buffered(error: BoxError) -> BoxError {
    struct NotReady(Option<BoxError>);

    impl Service<()> for NotReady {
        type Response = ();
        type Error = BoxError;
        type Future = std::future::Ready<Result<(), BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Err(self.0.take().expect("asked once")))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            unreachable!("it is never ready")
        }
    }

    let (mut buffer, worker) = Buffer::pair(NotReady(Some(error)), 1);
    let ready = buffer.ready().now_or_never().expect("there is room");
    let response = ready.expect("the worker lives").call(());
    worker.now_or_never();
    let result = response.now_or_never().expect("the worker has answered");
    result.expect_err("it fails")
}

/// Makes chains.
struct Generator<'a> {
    rng: Rng,
    reals: &'a [Real],
    failing: Failing,
}

impl<'a> Generator<'a> {
    fn new(seed: u64, reals: &'a [Real]) -> Self {
        let (rng, failing) = (Rng::with_seed(seed), Failing::new());
        Self {
            rng,
            reals,
            failing,
        }
    }

    fn kind(&mut self) -> io::ErrorKind {
        KINDS[self.rng.usize(..KINDS.len())]
    }

    fn text(&mut self) -> &'static str {
        TEXTS[self.rng.usize(..TEXTS.len())]
    }

    /// A chain of one to six, or, seldom, of more than are looked at.
    fn chain(&mut self) -> Chain {
        let mut chain = self.leaf();
        for _ in 0..self.rng.usize(..6) {
            chain = self.wrap(chain);
        }
        if self.rng.u8(..100) == 0 {
            for _ in 0..20 {
                chain = self.around_in_io(chain);
            }
        }
        chain
    }

    fn leaf(&mut self) -> Chain {
        let kind = self.kind();
        match self.rng.u8(..14) {
            0 => self.named(Link::Io(kind, false), io::Error::from(kind)),
            1 => {
                let errno = self.rng.i32(1..134);
                let error = io::Error::from_raw_os_error(errno);
                self.named(Link::Io(error.kind(), false), error)
            }
            2 | 3 => self.unknown(None),
            4 => {
                let text = self.text();
                let text = Chain::leaf(Link::Unknown(text), text);
                let inner = self.around_in_io(text);
                self.wrap(inner)
            }
            5 => Chain::leaf(
                Link::Other("tower's Elapsed"),
                tower::timeout::error::Elapsed::new(),
            ),
            6 if self.rng.bool() => self.named(Link::NeverSent, Rejected::new("breaker")),
            6 => self.named(Link::Overloaded, tower::load_shed::error::Overloaded::new()),
            7 => {
                let code = self.rng.u32(..14);
                let error = h2::Error::from(h2::Reason::from(code));
                self.named(Link::H2(H2::Local), error)
            }
            8 => self.rustls(),
            9 => {
                let error = Uri::try_from("http://[").expect_err("half a literal");
                Chain::leaf(Link::Other("http::Error"), http::Error::from(error))
            }
            10 => self.layer(None),
            11 if self.rng.bool() => self.promised(None),
            _ => self.real(),
        }
    }

    fn rustls(&mut self) -> Chain {
        use rustls::{CertificateError::*, Error as Tls};

        let certificate = [
            Expired,
            NotValidForName,
            UnknownIssuer,
            BadEncoding,
            Revoked,
        ];
        match self.rng.usize(..certificate.len() + 2) {
            0 => Chain::leaf(Link::Other("rustls"), Tls::General("dns error".into())),
            1 => Chain::leaf(Link::Other("rustls"), Tls::HandshakeNotComplete),
            at => {
                let error = Tls::InvalidCertificate(certificate[at - 2].clone());
                Chain::leaf(Link::Certificate, error)
            }
        }
    }

    /// An error that was once made for real, as it is or from somewhere within.
    fn real(&mut self) -> Chain {
        let real = &self.reals[self.rng.usize(..self.reals.len())];
        let mut links = real.links.clone();
        match self.rng.u8(..3) {
            0 => {
                links.insert(0, Link::Transparent("Arc<dyn Error>"));
                let error = Box::new(real.shared.any());
                Chain { links, error }
            }
            1 => {
                links.insert(0, Link::Transparent("Arc"));
                let error = real.shared.named();
                Chain { links, error }
            }
            _ => {
                let depth = self.rng.usize(..real.links.len());
                links.drain(..depth);
                links.insert(0, Link::Unknown("client error (Connect)"));
                let error = Box::new(Above(real.shared.any(), depth));
                Chain { links, error }
            }
        }
    }

    /// An error of a type that the table names, itself or in a pointer.
    fn named<E: Error + Send + Sync + 'static>(&mut self, link: Link, error: E) -> Chain {
        let chain = Chain::leaf(link, io::Error::other(""));
        let (pointer, error): (_, BoxError) = match self.rng.u8(..6) {
            0 => (Link::Transparent("Box"), Box::new(Box::new(error))),
            1 => (Link::Transparent("Arc"), Box::new(Arc::new(error))),
            _ => {
                let error = Box::new(error);
                return Chain { error, ..chain };
            }
        };
        chain.below(pointer, |_| error)
    }

    fn named_around<E, F>(&mut self, chain: Chain, link: Link, wrap: F) -> Chain
    where
        E: Error + Send + Sync + 'static,
        F: FnOnce(BoxError) -> E,
    {
        let mut outer = self.named(link, wrap(chain.error));
        outer.links.extend(chain.links);
        outer
    }

    fn unknown(&mut self, source: Option<Chain>) -> Chain {
        let text = self.text();
        let mut links = vec![Link::Unknown(text)];
        let source = source.map(|chain| {
            links.extend(chain.links);
            chain.error
        });
        // A pointer to a type that nobody knows is none that somebody knows.
        let error: BoxError = match self.rng.u8(..5) {
            0 => Box::new(Unknown::<0> { text, source }),
            1 => Box::new(Unknown::<1> { text, source }),
            2 => Box::new(Unknown::<2> { text, source }),
            3 => Box::new(Box::new(Unknown::<0> { text, source })),
            _ => Box::new(Arc::new(Unknown::<1> { text, source })),
        };
        Chain { links, error }
    }

    fn around_in_io(&mut self, chain: Chain) -> Chain {
        let kind = match self.rng.bool() {
            true => io::ErrorKind::Other,
            false => self.kind(),
        };
        self.named_around(chain, Link::Io(kind, true), |error| {
            io::Error::new(kind, error)
        })
    }

    fn layer(&mut self, source: Option<Chain>) -> Chain {
        let sent = [
            None,
            None,
            Some(Sent::Never),
            Some(Sent::Unprocessed),
            Some(Sent::Unknown),
            Some(Sent::Answered),
        ][self.rng.usize(..6)];
        let attempts = match sent {
            None => [None, Some(1), Some(3)][self.rng.usize(..3)],
            Some(_) => None,
        };
        let mut outcome = LayerOutcome::new("breaker");
        outcome.sent = sent;
        outcome.attempts = attempts;
        let link = Link::Layer(sent, attempts);
        match source {
            Some(chain) => {
                self.named_around(chain, link, |error| LayerError::around(outcome, error))
            }
            None => self.named(link, LayerError::new(outcome)),
        }
    }

    /// An error of a type that is vouched for. What is in a pointer to it is not known.
    fn promised(&mut self, source: Option<Chain>) -> Chain {
        let stage = [Stage::NeverSent, Stage::Transparent, Stage::Call][self.rng.usize(..3)];
        let mut links = vec![Link::Promised(stage)];
        let source = source.map(|chain| {
            links.extend(chain.links);
            chain.error
        });
        let error: BoxError = match stage {
            Stage::NeverSent => Box::new(Promised::<0>(source)),
            Stage::Transparent => Box::new(Promised::<1>(source)),
            _ => Box::new(Promised::<2>(source)),
        };
        Chain { links, error }
    }

    fn wrap(&mut self, chain: Chain) -> Chain {
        match self.rng.u8(..18) {
            16 | 17 => self.promised(Some(chain)),
            0..=2 => self.around_in_io(chain),
            3..=5 => self.unknown(Some(chain)),
            6..=8 => chain.below(Link::Transparent("Arc<dyn Error>"), |error| {
                Box::new(<Arc<dyn Error + Send + Sync>>::from(error))
            }),
            9 => self.named_around(chain, Link::NeverSent, NeverSent::new),
            10 | 11 => self.layer(Some(chain)),
            12 => chain.below(Link::Transparent("ServiceError"), buffered),
            13 | 14 => self.retries(chain),
            _ => self.client(chain),
        }
    }

    /// hyper-util's client with this error in its connector, its connection or the request.
    fn client(&mut self, chain: Chain) -> Chain {
        let call = [Link::Legacy(Legacy::Call), Link::Hyper(false)];
        let kind = self.kind();
        let carrier = Link::Io(kind, true);
        let (links, error) = match self.rng.u8(..3) {
            0 => (
                vec![Link::Legacy(Legacy::Connect)],
                self.failing.connect(chain.error),
            ),
            1 => (
                vec![call[0], call[1], carrier],
                self.failing.read(io::Error::new(kind, chain.error)),
            ),
            _ => (call.to_vec(), self.failing.body(chain.error)),
        };
        assert_eq!(links[0], said(&error), "{error:?}");
        if let [_, hyper, ..] = *links {
            let cause: Option<&hyper::Error> = error.source().and_then(<dyn Error>::downcast_ref);
            let cause = cause.expect("hyper's");
            assert_eq!(hyper, Link::Hyper(cause.is_canceled()));
            assert_eq!(cause.is_user(), links.len() == 2, "{cause:?}");
        }
        let mut client = self.named(links[0], error);
        client.links.extend_from_slice(&links[1..]);
        client.links.extend(chain.links);
        client
    }

    /// An inner retry layer that gave up with this error.
    fn retries(&mut self, chain: Chain) -> Chain {
        let proved = proof(&chain.links, None);
        // The inner layer has promises of its own: none.
        if chain
            .links
            .iter()
            .any(|link| matches!(link, Link::Promised(_)))
        {
            return chain;
        }
        // What was not processed is sent again whatever the counts say.
        let canceled = chain.links.contains(&Link::Hyper(true));
        if proved.is_some() && canceled || proved == Some(Sent::Unprocessed) {
            return chain;
        }
        let before = self.rng.bool();
        self.named_around(chain, Link::Retries(before || proved.is_none()), |error| {
            let reset = io::Error::from(io::ErrorKind::ConnectionReset);
            match before {
                true => retried(vec![reset.into(), error]),
                false => retried(vec![error]),
            }
        })
    }
}

/// In what the library and the table differ about this error, if in anything.
fn disagreement(
    classify: impl FnOnce() -> Failure,
    links: &[Link],
    belief: Option<Belief>,
) -> Option<String> {
    let Ok(failure) = catch_unwind(AssertUnwindSafe(classify)) else {
        return Some(format!("a panic: {links:?}"));
    };
    let proved = proof(links, belief);
    let said = Some(failure.sent).filter(|sent| sent.is_safe_to_repeat());
    let connect = failure.kind == FailureKind::Connect;
    let certificate = links.len() <= 16 && links.contains(&Link::Certificate);
    let what = if said != proved {
        "sent"
    } else if connect && proved.is_none() {
        "kind"
    } else if cfg!(feature = "rustls") && certificate && !failure.cause.is_permanent() {
        "permanence"
    } else {
        return None;
    };
    Some(format!("{what}: {failure:?}, table {proved:?}: {links:?}"))
}

fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(number) => number.parse().expect(name),
        Err(_) => default,
    }
}

/// Compares the library with the table, and shows the first chains on which they differ.
fn compare(reals: &[Real], cases: u64, belief: Option<Belief>) -> Vec<String> {
    let seed = number("CHAINS_SEED", 0x5eed);
    let mut found = Vec::new();
    for real in reals {
        let mut error = Some(real.shared.borrow());
        for depth in 0..real.links.len() {
            let this = error.expect("as many links as it was said to have");
            found.extend(disagreement(
                || classify(this),
                &real.links[depth..],
                belief,
            ));
            error = below(this);
        }
    }
    let mut generator = Generator::new(seed, reals);
    let (mut proved, mut lengths) = (0_u64, [0_u64; 40]);
    for _ in 0..cases {
        let Chain { links, error } = generator.chain();
        let promised = links.iter().any(|link| matches!(link, Link::Promised(_)));
        let classify = || match promised {
            true => judged(error),
            false => classify(&*error),
        };
        found.extend(disagreement(classify, &links, belief));
        proved += u64::from(proof(&links, None).is_some());
        lengths[links.len().min(39)] += 1;
    }
    let longest = lengths.iter().rposition(|count| *count > 0);
    println!("CHAINS_SEED={seed}: of {cases} chains {proved} prove something, {longest:?} links");
    // Otherwise one of the two sides of the table was not tried.
    assert!(proved * 20 > cases && (cases - proved) * 20 > cases);
    found
}

#[test]
fn what_random_chains_prove_is_what_the_table_says() {
    let default = if cfg!(debug_assertions) {
        50_000
    } else {
        1_000_000
    };
    let cases = number("CHAINS_CASES", default);
    let mut found = compare(&real::all(), cases, None);
    // The shortest is the easiest to read.
    found.sort_by_key(String::len);
    println!("{cases} chains, {} disagreements", found.len());
    let first = &found[..found.len().min(20)];
    assert!(found.is_empty(), "{}", first.join("\n"));
}

#[test]
fn a_table_with_one_more_row_disagrees() {
    let reals = real::all();
    for &belief in BELIEFS {
        // Most are found at once; what few chains show needs more of them.
        let found = [2_000, 50_000]
            .into_iter()
            .any(|cases| !compare(&reals, cases, Some(belief)).is_empty());
        assert!(found, "{belief:?}");
    }
}

/// Errors that are made once, over sockets.
mod real {
    use test_support::net::{
        Refused, Script, Server, Step, http1,
        http2::{self, code},
        tls::{self, Identity},
    };
    use tokio::sync::Notify;

    use super::*;
    use crate::never_twice;

    pub(super) enum Shared {
        Legacy(Arc<legacy::Error>),
        Hyper(Arc<hyper::Error>),
        Any(Arc<dyn Error + Send + Sync>),
    }

    impl Shared {
        pub(super) fn any(&self) -> Arc<dyn Error + Send + Sync> {
            match self {
                Self::Legacy(error) => Arc::clone(error) as _,
                Self::Hyper(error) => Arc::clone(error) as _,
                Self::Any(error) => Arc::clone(error),
            }
        }

        /// A pointer to this type.
        pub(super) fn named(&self) -> BoxError {
            match self {
                Self::Legacy(error) => Box::new(Arc::clone(error)),
                Self::Hyper(error) => Box::new(Arc::clone(error)),
                Self::Any(error) => Box::new(Arc::clone(error)),
            }
        }

        pub(super) fn borrow(&self) -> &(dyn Error + 'static) {
            match self {
                Self::Legacy(error) => &**error,
                Self::Hyper(error) => &**error,
                Self::Any(error) => &**error,
            }
        }
    }

    /// An error, and what it is made of; as far as that is of interest.
    pub(super) struct Real {
        pub(super) links: Vec<Link>,
        pub(super) shared: Shared,
    }

    const CALL: Link = Link::Legacy(Legacy::Call);
    const HYPER: Link = Link::Hyper(false);

    fn of_client(links: &[Link], error: legacy::Error) -> Real {
        assert_eq!(links[0], said(&error), "{error:?}");
        let (links, shared) = (links.to_vec(), Shared::Legacy(Arc::new(error)));
        Real { links, shared }
    }

    fn of_hyper(links: &[Link], error: hyper::Error) -> Real {
        let (links, shared) = (links.to_vec(), Shared::Hyper(Arc::new(error)));
        Real { links, shared }
    }

    /// All of them. What is made of them later is made outside of a runtime, since a task may
    /// not do that much at once.
    pub(super) fn all() -> Vec<Real> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(make())
    }

    async fn make() -> Vec<Real> {
        let mut all = vec![elapsed().await, canceled().await];
        let upgrade = never_twice::canceled_upgrade().await;
        all.push(of_hyper(&[Link::Hyper(true)], upgrade));
        all.extend(connecting().await);
        all.extend(over_http1().await);
        all.extend(over_http2().await);
        all.extend(bodies().await);
        #[cfg(feature = "reqwest")]
        all.extend(of_reqwest().await);
        #[cfg(feature = "tonic")]
        all.extend(of_tonic().await);
        all
    }

    /// What an error of a client is made of, by the types that the table names and by what these
    /// say of themselves.
    #[cfg(any(feature = "reqwest", feature = "tonic"))]
    fn read(error: impl Error + Send + Sync + 'static) -> Real {
        let shared: Arc<dyn Error + Send + Sync> = Arc::new(error);
        let mut links = Vec::new();
        let mut next: Option<&(dyn Error + 'static)> = Some(&*shared);
        while let Some(error) = next {
            links.push(link(error));
            next = below(error);
        }
        let shared = Shared::Any(shared);
        Real { links, shared }
    }

    #[cfg(any(feature = "reqwest", feature = "tonic"))]
    fn link(error: &(dyn Error + 'static)) -> Link {
        #[cfg(feature = "reqwest")]
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            return Link::ReqwestsOwn(error.is_request());
        }
        #[cfg(feature = "tonic")]
        if error.is::<tonic::transport::Error>() {
            return Link::Tonic(Tonic::Transport);
        } else if error.is::<tonic::ConnectError>() {
            return Link::Tonic(Tonic::Connect);
        } else if error.is::<tonic::TimeoutExpired>() {
            return Link::Tonic(Tonic::Timeout);
        }
        if let Some(error) = error.downcast_ref() {
            said(error)
        } else if let Some(error) = error.downcast_ref::<hyper::Error>() {
            Link::Hyper(error.is_canceled())
        } else if let Some(error) = error.downcast_ref::<h2::Error>() {
            let code = error.reason().map_or(0, u32::from);
            Link::H2(match (error.is_remote(), error.is_go_away()) {
                (false, _) => H2::Local,
                (true, true) => H2::GoAway,
                (true, false) => H2::Reset(code),
            })
        } else if let Some(error) = error.downcast_ref::<io::Error>() {
            Link::Io(error.kind(), error.get_ref().is_some())
        } else {
            Link::Other("a private type")
        }
    }

    /// reqwest's, of a client that sends one request and of one that may send more.
    #[cfg(feature = "reqwest")]
    async fn of_reqwest() -> Vec<Real> {
        use tower_http_retry::reqwest::ReqwestService;

        let builder = || reqwest::Client::builder().no_proxy();
        let one = ReqwestService::build(builder()).expect("a client");
        let any = ReqwestService::new(builder().build().expect("a client"));
        let mut all = Vec::new();
        for (service, built) in [(one, true), (any, false)] {
            let nobody = Refused::new();
            let silent = Server::playing(http1::answer("")).await;
            let garbage = Server::playing(http1::answer(http1::GARBAGE)).await;
            let reset = Server::playing(vec![Step::ReadHead, Step::Reset]).await;
            let uris = [
                nobody.uri("/"),
                silent.uri("/"),
                garbage.uri("/"),
                reset.uri("/"),
                Uri::from_static("/relative"),
                Uri::from_static("ftp://127.0.0.1/"),
            ];
            for uri in uris {
                let request = Request::get(uri).body(reqwest::Body::default());
                let response = service.clone().oneshot(request.expect("valid")).await;
                let mut real = read(response.expect_err("it fails"));
                // Which client it was cannot be seen.
                assert_eq!(real.links[0], Link::Other("a private type"));
                real.links[0] = Link::Reqwest(built);
                all.push(real);
            }
        }
        // Without the service that knows which client it was.
        let nobody = Refused::new();
        let bare = builder().build().expect("a client");
        let bare = bare.get(nobody.uri("/").to_string()).send().await;
        all.push(read(bare.expect_err("it fails")));
        all
    }

    /// tonic's channel's.
    #[cfg(feature = "tonic")]
    async fn of_tonic() -> Vec<Real> {
        let mut all = Vec::new();
        let nobody = Refused::new();
        all.push(read(call(nobody.uri("/")).await));
        for code in 1..14 {
            for frame in [http2::rst_stream(1, code), http2::goaway(0, code)] {
                let server = Server::playing(http2::answer(&[frame])).await;
                all.push(read(call(server.uri("/")).await));
            }
        }
        let server = Server::playing(vec![Step::OpenHttp2, Step::Reset]).await;
        all.push(read(call(server.uri("/")).await));
        all
    }

    /// The error of a call through a channel.
    #[cfg(feature = "tonic")]
    async fn call(uri: Uri) -> tonic::transport::Error {
        let channel = tonic::transport::Channel::builder(uri.clone()).connect_lazy();
        let request = Request::post(uri).body(tonic::body::Body::empty());
        let response = channel.oneshot(request.expect("valid")).await;
        response.expect_err("it fails")
    }

    async fn elapsed() -> Real {
        let timeout = tokio::time::timeout(Duration::ZERO, std::future::pending::<()>());
        let error = timeout.await.expect_err("it takes longer");
        let shared = Shared::Any(Arc::new(error));
        let links = vec![Link::Other("tokio's Elapsed")];
        Real { links, shared }
    }

    async fn http1_error(script: Script) -> legacy::Error {
        let server = Server::playing(script).await;
        let response = client::http1().request(client::get(server.uri("/")));
        response.await.expect_err("it fails")
    }

    async fn connecting() -> Vec<Real> {
        const CONNECT: Link = Link::Legacy(Legacy::Connect);
        let port = Refused::new();
        let refused = client::http1().request(client::get(port.uri("/")));
        let refused = refused.await.expect_err("nobody there");
        let (identity, other) = (Identity::new(), Identity::new());
        let server = tls::server(&identity).await;
        let uri = format!("https://localhost:{}/", server.addr().port());
        let client = client::https(tls::trusting(&other));
        let untrusted = client.request(client::get(uri.parse().expect("valid")));
        let untrusted = untrusted.await.expect_err("not trusted");
        let relative = client::http1().request(client::get("/".parse().expect("valid")));
        let relative = relative.await.expect_err("no host");
        let kind = io::ErrorKind::ConnectionRefused;
        vec![
            of_client(
                &[CONNECT, Link::Other("ConnectError"), Link::Io(kind, false)],
                refused,
            ),
            of_client(
                &[
                    CONNECT,
                    Link::Io(io::ErrorKind::Other, true),
                    Link::Io(io::ErrorKind::InvalidData, true),
                    Link::Certificate,
                ],
                untrusted,
            ),
            of_client(&[Link::Legacy(Legacy::NoSource)], relative),
        ]
    }

    async fn over_http1() -> Vec<Real> {
        let server = Server::playing(vec![Step::ReadHead, Step::Silence]).await;
        let failing = client::post_parts(
            server.uri("/"),
            futures_util::stream::iter([
                Ok(Bytes::from("half")),
                Err(NeverSent::new("not opened").into()),
            ]),
        );
        let body = client::http1().request(failing).await;
        let reset = http1_error(vec![Step::ReadHead, Step::Reset]).await;
        vec![
            of_client(&[CALL, HYPER], http1_error(http1::answer("")).await),
            of_client(
                &[CALL, HYPER],
                http1_error(http1::answer(http1::GARBAGE)).await,
            ),
            of_client(
                &[CALL, HYPER, Link::Io(io::ErrorKind::ConnectionReset, false)],
                reset,
            ),
            of_client(&[CALL, HYPER], body.expect_err("it fails")),
        ]
    }

    async fn over_http2() -> Vec<Real> {
        let mut all = Vec::new();
        for code in 0..14 {
            // A stream that is reset without an error before its head is no error of this kind.
            if code > 0 {
                let error = http2_error(&http2::rst_stream(1, code)).await;
                all.push(of_client(&[CALL, HYPER, Link::H2(H2::Reset(code))], error));
            }
            let error = http2_error(&http2::goaway(0, code)).await;
            all.push(of_client(&[CALL, HYPER, Link::H2(H2::GoAway)], error));
        }
        all
    }

    async fn http2_error(frame: &[u8]) -> legacy::Error {
        let server = Server::playing(http2::answer(&[frame.to_vec()])).await;
        let response = client::http2().request(client::get(server.uri("/")));
        response.await.expect_err("it fails")
    }

    /// The errors of responses' bodies.
    async fn bodies() -> Vec<Real> {
        let server = Server::playing(http1::answer(http1::HALF_A_BODY)).await;
        let response = client::http1().request(client::get(server.uri("/")));
        let body = response.await.expect("a head").into_body();
        let cut = body.collect().await.expect_err("it is cut");
        let mut all = vec![of_hyper(&[Link::HyperBody], cut)];
        for code in [code::REFUSED_STREAM, code::INTERNAL_ERROR] {
            let frames = [
                http2::head(1),
                http2::data(1, b"half"),
                http2::rst_stream(1, code),
            ];
            let server = Server::playing(http2::answer(&frames)).await;
            let response = client::http2().request(client::get(server.uri("/")));
            let body = response.await.expect("a head").into_body();
            let error = body.collect().await.expect_err("it is cut");
            all.push(of_hyper(
                &[Link::HyperBody, Link::H2(H2::Reset(code))],
                error,
            ));
        }
        all
    }

    /// A request that was given to a pooled connection which was already closed.
    ///
    /// When the client learns that is decided by how often its runtime looks at the socket, so
    /// that every number of looks is tried.
    async fn canceled() -> Real {
        for looks in (0..10).cycle().take(1000) {
            let close = Arc::new(Notify::new());
            let mut script = http1::answer(http1::ANSWER);
            script.push(Step::Wait(Arc::clone(&close)));
            let server = Server::playing(script).await;
            let client: Client<_, client::Body> = client::builder()
                .retry_canceled_requests(false)
                .build_http();
            let response = client.request(client::get(server.uri("/"))).await;
            let body = response.expect("answered").into_body();
            body.collect().await.expect("empty");
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            close.notify_one();
            for _ in 0..looks {
                tokio::task::yield_now().await;
            }
            let Err(error) = client.request(client::get(server.uri("/"))).await else {
                continue;
            };
            let below = error.source().and_then(|below| below.downcast_ref());
            if below.is_some_and(hyper::Error::is_canceled) {
                return of_client(&[CALL, Link::Hyper(true)], error);
            }
        }
        panic!("the client never chose a connection that was closed");
    }
}
