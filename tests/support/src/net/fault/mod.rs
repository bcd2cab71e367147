//! A server that fails as it is told, attempt by attempt, and keeps a log.
//!
//! A [`Play`] is what happens to one attempt: its name is not found, its connection is refused,
//! cut off after so many bytes or never trusted, or its request is received and the [`Act`]s
//! follow. A plan gives the play of each attempt, counted from 0:
//!
//! ```ignore
//! let server = FaultServer::start(
//!     Protocol::Http1,
//!     None,
//!     in_turn([
//!         Play::Refuse,
//!         Play::serve([Act::ReadAll, Act::Apply, Act::Reset]),
//!         Play::serve([Act::ReadAll, Act::Apply, Act::answer(200)]),
//!     ]),
//! )
//! .await;
//! let client = client::builder().build(server.connector());
//! // ... three attempts at a POST to `server.uri("/")` ...
//! let log = server.log();
//! assert_eq!(log[2].digest, log[1].digest);
//! assert_eq!(log.iter().filter(|attempt| attempt.applied).count(), 2);
//! ```
//!
//! # What an attempt is
//!
//! Clients keep connections, and open some in advance. So an attempt begins when it can no longer
//! be anything else: a play about the connection is played when the connection is asked for or
//! accepted, any other when the first byte of its request is there. A connection is kept after an
//! answer only if the next play does not need a new one; the client is told so.
//!
//! Several requests at once get their plays in the order in which they arrive.
//!
//! # Names
//!
//! The connection of a client that was told an address could only be refused by a port that
//! refuses all of them. So a client asks the server's own resolver, which comes with
//! [`connector`](FaultServer::connector), for the address of each connection: it answers with a
//! port that refuses, with an error, or with the server's.
//!
//! # Time
//!
//! The server never waits for time to pass. A server that [stalls](Act::Stall) says so to
//! [`stalled`](FaultServer::stalled): a test whose clock is paused can then let time pass, and
//! depends on nobody's speed.

mod exchange;
mod http1;
mod http2;
mod log;
mod names;
mod wire;

pub use self::{log::Attempt, names::Names};

use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::sync::{Semaphore, watch};

use self::{
    log::{Log, Record},
    wire::Wire,
};
use super::{Connection, Refused, Script, Server, Step, drain, http1 as raw, tls::Identity};

/// What happens to one attempt.
#[derive(Clone, Debug)]
pub enum Play {
    /// The server's name is not found.
    NoName,
    /// The connection is refused.
    Refuse,
    /// The connection is accepted, and this is done with it, whatever comes. Under TLS, this is
    /// what the handshake meets.
    Raw(Script),
    /// The TLS handshake is done in the name of another.
    Imposter(Arc<Identity>),
    /// The head of the request is read, and these acts follow.
    ///
    /// After the last of them, the connection is closed, unless it ended with something after
    /// which it can be used again.
    Serve(Vec<Act>),
    /// The same with acts that depend on the head.
    ByHead(ByHead),
}

/// What is done with a request, by its head.
#[derive(Clone)]
pub struct ByHead(Arc<Chooses>);

type Chooses = dyn Fn(&Method, &Uri, &HeaderMap) -> Vec<Act> + Send + Sync;

impl fmt::Debug for ByHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByHead").finish_non_exhaustive()
    }
}

impl Play {
    /// Accepts the connection and closes it at once.
    pub fn close() -> Self {
        Self::Raw(vec![])
    }

    /// Accepts the connection and resets it when so many bytes have arrived: none, some of the
    /// head, or some of what comes before it, as HTTP/2's preface or a TLS handshake.
    pub fn reset_after(bytes: usize) -> Self {
        let mut script = vec![Step::ReadByte; bytes];
        script.push(Step::Reset);
        Self::Raw(script)
    }

    /// Reads the head of the request and does this.
    pub fn serve(acts: impl Into<Vec<Act>>) -> Self {
        Self::Serve(acts.into())
    }

    /// Reads the head of the request and does what this says of it.
    pub fn by_head(
        choose: impl Fn(&Method, &Uri, &HeaderMap) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        Self::ByHead(ByHead(Arc::new(choose)))
    }

    /// Reads the whole request, applies it and answers with success.
    pub fn succeed() -> Self {
        Self::serve([Act::ReadAll, Act::Apply, Act::answer(200)])
    }

    /// Whether it is about making the connection, so that it cannot be played on one that is
    /// there.
    const fn needs_connection(&self) -> bool {
        !matches!(self, Self::Serve(_) | Self::ByHead(_))
    }

    /// What is done with a request with this head; nothing, if it is about a connection.
    fn acts(self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Vec<Act> {
        match self {
            Self::Serve(acts) => acts,
            Self::ByHead(ByHead(choose)) => choose(method, uri, headers),
            Self::NoName | Self::Refuse | Self::Raw(_) | Self::Imposter(_) => Vec::new(),
        }
    }
}

/// What is done with a request whose head has arrived.
#[derive(Clone, Debug)]
pub enum Act {
    /// Reads so many bytes of its content, or all of it if there is less. More may be read than
    /// was asked for.
    Read(u64),
    /// Reads it to its end.
    ReadAll,
    /// Applies it: counts a side effect, if all of it has arrived.
    Apply,
    /// Sends an interim answer.
    Inform(StatusCode),
    /// Answers. If there is more to come of the request, the client is told that nobody waits for
    /// it; over HTTP/1.1, it is read all the same.
    Answer(Answer),
    /// Sends the beginning of an answer's head. Over HTTP/2 nothing else can be sent on the
    /// connection after that.
    HalfAHead,
    /// Sends an answer but for the end of its content.
    HalfABody(Answer),
    /// Sends these bytes as they are, as what is no HTTP at all or ends too early. Over HTTP/2,
    /// nothing that the client can read comes after what is no frame.
    Write(Vec<u8>),
    /// Does nothing, until the client gives up.
    Stall,
    /// Closes the connection with FIN.
    Close,
    /// Closes the connection with RST.
    Reset,
    /// Ends the request with an error of this code. Over HTTP/1.1, where there is no such thing,
    /// like [`Reset`](Self::Reset).
    ResetStream(u32),
    /// Says that the connection ends with this code, and whether this request was among those
    /// that were processed. Over HTTP/1.1, where there is no such thing, like
    /// [`Close`](Self::Close).
    GoAway {
        /// Whether this request is among those that may have been processed.
        processed: bool,
        /// Why.
        code: u32,
    },
}

impl Act {
    /// Answers with this status.
    pub fn answer(status: u16) -> Self {
        Self::Answer(Answer::new(status))
    }

    /// Sends what is no HTTP.
    pub fn garbage() -> Self {
        Self::Write(raw::GARBAGE.into())
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    headers: Vec<(&'static str, &'static str)>,
    body: Bytes,
}

impl Answer {
    /// An answer with a few words of content.
    pub fn new(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers: Vec::new(),
            body: Bytes::from_static(Self::BODY),
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Answers with this content instead; none is sent in answer to a `HEAD`.
    pub fn content(mut self, content: impl Into<Bytes>) -> Self {
        self.body = content.into();
        self
    }

    /// The content of an answer, if it is not said.
    pub const BODY: &[u8] = b"that is how it is";
}

/// A version of HTTP. A client must know beforehand which one the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// Its name in a TLS handshake (RFC 7301, section 6).
    const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// A plan: these plays one after another, and then the last one again and again.
///
/// # Panics
///
/// When there is none.
pub fn in_turn(plays: impl Into<Vec<Play>>) -> impl Fn(usize) -> Play + Send + Sync + 'static {
    let plays = plays.into();
    assert!(!plays.is_empty(), "a server needs something to play");
    move |attempt| plays[attempt.min(plays.len() - 1)].clone()
}

/// A server that plays something for each attempt and keeps a log, until it is dropped.
#[derive(Debug)]
pub struct FaultServer {
    server: Server,
    shared: Arc<Shared>,
    is_tls: bool,
}

impl FaultServer {
    /// Starts a server with this plan; with an identity, it speaks TLS.
    pub async fn start(
        protocol: Protocol,
        identity: Option<&Identity>,
        plan: impl Fn(usize) -> Play + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(protocol, identity, plan, Log::keeping()).await
    }

    /// Starts a server that keeps no log and tells each attempt when it is over: for more attempts
    /// than there is memory for.
    pub async fn telling(
        protocol: Protocol,
        identity: Option<&Identity>,
        plan: impl Fn(usize) -> Play + Send + Sync + 'static,
        tell: impl Fn(Attempt) + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(protocol, identity, plan, Log::telling(tell)).await
    }

    async fn start_with(
        protocol: Protocol,
        identity: Option<&Identity>,
        plan: impl Fn(usize) -> Play + Send + Sync + 'static,
        log: Log,
    ) -> Self {
        let shared = Arc::new(Shared {
            plan: Box::new(plan),
            protocol,
            log: Arc::new(log),
            refused: Refused::new(),
            accepted: AtomicUsize::new(0),
            open: watch::Sender::new(0),
            stalls: Semaphore::new(0),
            stalled: Mutex::default(),
        });
        let acceptor = identity.map(|identity| identity.acceptor(protocol.alpn()));
        let server = Server::start({
            let shared = Arc::clone(&shared);
            move |connection| {
                let open = Open::new(&shared);
                let acceptor = acceptor.clone();
                async move {
                    let shared = &open.0;
                    if let Some((play, _record)) =
                        shared.take_if(|play| matches!(play, Play::Raw(_) | Play::Imposter(_)))
                    {
                        return shared.meet(connection, play).await;
                    }
                    let Connection { stream, heads } = connection;
                    stream.set_nodelay(true)?;
                    let wire = match acceptor {
                        Some(acceptor) => Wire::Tls(Box::new(acceptor.accept(stream).await?)),
                        None => Wire::Plain(stream),
                    };
                    match protocol {
                        Protocol::Http1 => http1::serve(wire, shared, &heads).await,
                        Protocol::Http2 => http2::serve(wire, shared, &heads).await,
                    }
                }
            }
        })
        .await;
        Self {
            server,
            shared,
            is_tls: identity.is_some(),
        }
    }

    /// The URI of a path on this server, in its name: that of an [`Identity`], `localhost`.
    pub fn uri(&self, path: &str) -> Uri {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://localhost{path}").parse().unwrap()
    }

    /// Where it is, for a client that does not ask its resolver.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// What makes connections to this server, whatever name it is asked for; for TLS, to be put
    /// into a connector for that.
    pub fn connector(&self) -> HttpConnector<Names> {
        let names = Names::new(Arc::clone(&self.shared), self.server.addr());
        let mut connector = HttpConnector::new_with_resolver(names);
        connector.enforce_http(false);
        // Nothing waits for a delayed acknowledgement.
        connector.set_nodelay(true);
        connector
    }

    /// The attempts so far, if they are kept.
    pub fn log(&self) -> Vec<Attempt> {
        self.shared.log.attempts()
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Relaxed)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        *self.shared.open.borrow()
    }

    /// Waits until no connection is open.
    pub async fn closed(&self) {
        let mut open = self.shared.open.subscribe();
        // Never fails, as the sender is alive.
        let _ = open.wait_for(|open| *open == 0).await;
    }

    /// Waits until one more attempt stalls than was waited for before, and says which.
    pub async fn stalled(&self) -> usize {
        self.shared.stalls.acquire().await.unwrap().forget();
        self.shared.stalled.lock().unwrap().pop_front().unwrap()
    }

    /// Waits until one more request head has arrived than was waited for before.
    pub async fn head_received(&self) {
        self.server.head_received().await;
    }
}

/// What the server's connections share.
struct Shared {
    plan: Box<dyn Fn(usize) -> Play + Send + Sync>,
    protocol: Protocol,
    log: Arc<Log>,
    refused: Refused,
    accepted: AtomicUsize,
    open: watch::Sender<usize>,
    /// One permit for each of these.
    stalls: Semaphore,
    stalled: Mutex<VecDeque<usize>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("protocol", &self.protocol)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Begins an attempt.
    fn take(&self) -> (Play, Record) {
        self.take_if(|_| true).unwrap()
    }

    /// Begins an attempt, if its play is like that.
    fn take_if(&self, accepts: impl FnOnce(&Play) -> bool) -> Option<(Play, Record)> {
        let mut play = None;
        let record = self.log.begin_if(|number| {
            let next = (self.plan)(number);
            let accepted = accepts(&next);
            play = Some(next);
            accepted
        })?;
        Some((play?, record))
    }

    /// Whether the next attempt needs a connection of its own.
    fn next_needs_connection(&self) -> bool {
        (self.plan)(self.log.next()).needs_connection()
    }

    /// An attempt stalls.
    fn stall(&self, number: usize) {
        self.stalled.lock().unwrap().push_back(number);
        self.stalls.add_permits(1);
    }

    /// Plays what is about a connection.
    async fn meet(&self, connection: Connection, play: Play) -> io::Result<()> {
        match play {
            Play::Raw(script) => connection.play(script).await,
            Play::Imposter(identity) => {
                let acceptor = identity.acceptor(self.protocol.alpn());
                drain(acceptor.accept(connection.stream).await?).await
            }
            Play::NoName | Play::Refuse | Play::Serve(_) | Play::ByHead(_) => {
                unreachable!("not about a connection that was accepted")
            }
        }
    }
}

/// A connection that is open.
#[derive(Debug)]
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.accepted.fetch_add(1, Relaxed);
        shared.open.send_modify(|open| *open += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}
