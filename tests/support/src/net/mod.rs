//! Servers on 127.0.0.1 that fail for real, and the clients that meet them.
//!
//! There are two levels. A [`Server`] is raw: it plays a [`Script`], a list of [`Step`]s, on each
//! socket that it accepts, so that each byte, FIN and RST is chosen by the test. [`http1`] and
//! [`http2`] have what there is to write and the usual scripts, [`tls`] fails before any of that,
//! and [`Refused`] and [`Saturated`] before anything is accepted.
//!
//! On top of it, a [`fault::FaultServer`] speaks HTTP: it plays something else for each attempt at
//! a request, in either version, and keeps a log of what arrived and what came of it.
//!
//! A port is never written down, and no step waits for time to pass: a server does its next step
//! when the client has done its own.

pub mod client;
pub mod clock;
pub mod fault;
pub mod http1;
pub mod http2;
pub mod tls;

use std::{
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::Uri;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, Semaphore},
    task::{JoinHandle, JoinSet},
};

/// Port 0 of the loopback interface: the system chooses a free one.
fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// What a server does with a connection, in this order; after the last step it closes it.
pub type Script = Vec<Step>;

/// A step of a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads an HTTP/1.1 request up to the end of its head.
    ReadHead,
    /// Opens an HTTP/2 connection, and reads up to the head of the first request.
    OpenHttp2,
    /// Reads a single byte.
    ReadByte,
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Waits until the test says so.
    Wait(Arc<Notify>),
    /// Does nothing more, until the client closes the connection.
    Silence,
    /// Closes the connection with RST, as a crashed process or a firewall does.
    Reset,
}

impl Step {
    /// Writes these bytes.
    pub fn write(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Write(bytes.into())
    }
}

/// A server that plays a script on each connection, until it is dropped.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    heads: Arc<Semaphore>,
    accepting: JoinHandle<()>,
}

/// An accepted connection.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    heads: Arc<Semaphore>,
}

impl Connection {
    async fn play(mut self, script: Script) -> io::Result<()> {
        for step in script {
            match step {
                Step::ReadHead => {
                    http1::read_head(&mut self.stream).await?;
                    self.heads.add_permits(1);
                }
                Step::OpenHttp2 => {
                    http2::open(&mut self.stream).await?;
                    self.heads.add_permits(1);
                }
                Step::ReadByte => {
                    self.stream.read_u8().await?;
                }
                Step::Write(bytes) => self.stream.write_all(&bytes).await?,
                Step::Wait(told) => told.notified().await,
                Step::Silence => return drain(self.stream).await,
                Step::Reset => return reset(self.stream),
            }
        }
        close(self.stream).await
    }
}

impl Server {
    /// Starts a server that plays `script` on each connection.
    pub async fn playing(script: Script) -> Self {
        Self::start(move |connection| connection.play(script.clone())).await
    }

    /// Starts a server that does this with each connection.
    ///
    /// An error ends its connection and nothing else: a client that goes away in the middle is
    /// part of most scripts.
    async fn start<F, P>(play: F) -> Self
    where
        F: Fn(Connection) -> P + Send + 'static,
        P: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind(any_port()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heads = Arc::new(Semaphore::new(0));
        let received = Arc::clone(&heads);
        let accepting = tokio::spawn(async move {
            // Dropped with this task, so that no connection outlives its server.
            let mut playing = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { break };
                        let heads = Arc::clone(&received);
                        playing.spawn(play(Connection { stream, heads }));
                    }
                    // What is left of one that ended would stay.
                    Some(_) = playing.join_next() => {}
                }
            }
        });
        Self {
            addr,
            heads,
            accepting,
        }
    }

    /// The address that the server listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URI of a path on this server, for the scheme `http`.
    pub fn uri(&self, path: &str) -> Uri {
        uri(self.addr, path)
    }

    /// Waits until one more request head has arrived than was waited for before.
    pub async fn head_received(&self) {
        self.heads.acquire().await.unwrap().forget();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The URI of a path at an address, for the scheme `http`.
pub fn uri(addr: SocketAddr, path: &str) -> Uri {
    format!("http://{addr}{path}").parse().unwrap()
}

/// Closes a connection with RST instead of FIN.
pub fn reset(stream: TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}

/// Closes a connection with FIN.
///
/// A socket that is closed while there are bytes that it has not read sends RST: it must be read
/// empty after it has said that it will not write any more.
async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.shutdown().await?;
    drain(stream).await
}

/// Reads until the peer closes.
async fn drain(mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// A port that refuses connections, as long as this lives.
///
/// It is bound, so that no other process gets it, and never listens.
#[derive(Debug)]
pub struct Refused {
    addr: SocketAddr,
    _socket: TcpSocket,
}

impl Refused {
    /// Binds a port.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(any_port()).unwrap();
        Self {
            addr: socket.local_addr().unwrap(),
            _socket: socket,
        }
    }

    /// The URI of a path on this port.
    pub fn uri(&self, path: &str) -> Uri {
        uri(self.addr, path)
    }
}

/// A port that neither accepts nor refuses: a connection to it is never made.
///
/// The queue of connections that wait to be accepted is full, and Linux drops the SYN of the next
/// one. The queue's length is a hint to the system, so it is filled until a connection is seen not
/// to come about; what that wait costs, 100 ms, is the only time that a test spends here.
#[derive(Debug)]
pub struct Saturated {
    addr: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<std::net::TcpStream>,
}

impl Saturated {
    /// Listens, and fills the queue.
    ///
    /// # Panics
    ///
    /// When the system's queue cannot be filled.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(any_port()).unwrap();
        let listener = socket.listen(1).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        loop {
            match std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
                Ok(stream) => waiting.push(stream),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
                Err(error) => panic!("the queue of {addr} cannot be filled: {error}"),
            }
            assert!(waiting.len() < 1024, "the queue of {addr} has no end");
        }
        Self {
            addr,
            _listener: listener,
            _waiting: waiting,
        }
    }

    /// The URI of a path on this port.
    pub fn uri(&self, path: &str) -> Uri {
        uri(self.addr, path)
    }
}
