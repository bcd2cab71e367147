//! An HTTP/1.1 server on a real socket that follows a script and writes down what it was sent.
//!
//! It reads and writes bytes by itself: a server made of a library cannot be told to stop in the
//! middle of a head.

use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    script::{Answer, Step},
    tls::Identity,
};

/// A request as it was on the wire.
#[derive(Clone)]
pub struct Received {
    /// The number of its connection; 0 is the first one.
    pub connection: usize,
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    /// As much of the body as was read.
    pub body: Bytes,
    /// Whether the body was read to its end.
    pub whole: bool,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connection,
            method,
            target,
            body,
            whole,
            ..
        } = self;
        write!(f, "{method} {target} on connection {connection}, ")?;
        let whole = if *whole { "the whole" } else { "cut" };
        write!(f, "a body of {} bytes, {whole}", body.len())
    }
}

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    script: Mutex<VecDeque<Step>>,
    log: Mutex<Vec<Received>>,
    connections: AtomicUsize,
}

impl Server {
    /// Does these steps, one a request, whichever connection it comes on, and then echoes.
    pub async fn start(steps: impl IntoIterator<Item = impl Into<Step>>) -> Self {
        Self::serve(steps, None).await
    }

    /// The same over TLS, in the name of `localhost`, with HTTP/1.1 as its protocol.
    pub async fn start_tls(
        identity: &Identity,
        steps: impl IntoIterator<Item = impl Into<Step>>,
    ) -> Self {
        Self::serve(steps, Some(identity.acceptor(b"http/1.1"))).await
    }

    /// Reads the first record of a TLS handshake, sends these bytes, and closes the connection.
    pub async fn to_a_handshake(answer: &'static [u8]) -> Self {
        Self::listen([] as [Step; 0], move |mut stream, _, _| async move {
            let mut head = [0; 5];
            stream.read_exact(&mut head).await?;
            let length = u16::from_be_bytes([head[3], head[4]]);
            stream.read_exact(&mut vec![0; length.into()]).await?;
            stream.write_all(answer).await?;
            stream.shutdown().await
        })
        .await
    }

    async fn serve(
        steps: impl IntoIterator<Item = impl Into<Step>>,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        Self::listen(steps, move |stream, number, shared| {
            let tls = tls.clone();
            async move {
                match tls {
                    None => connection(stream, number, &shared).await,
                    Some(tls) => connection(tls.accept(stream).await?, number, &shared).await,
                }
            }
        })
        .await
    }

    /// Hands each connection, with its number, to `serve`.
    async fn listen<F>(
        steps: impl IntoIterator<Item = impl Into<Step>>,
        serve: impl Fn(TcpStream, usize, Arc<Shared>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            script: Mutex::new(steps.into_iter().map(Into::into).collect()),
            log: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = of_task.connections.fetch_add(1, Ordering::Relaxed);
                // A client that goes away in the middle is what some of the tests are about.
                tokio::spawn(serve(stream, number, Arc::clone(&of_task)));
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its URL in the name that its certificate is for.
    pub fn tls_url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// Every request that reached it, whole or not.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.log).clone()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that can be reset.
trait Wire: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;

    /// Ends with a reset in place of an orderly end.
    fn reset(self) -> io::Result<()>
    where
        Self: Sized,
    {
        self.tcp().set_zero_linger()
    }
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Serves requests until the script ends the connection, or the client does.
async fn connection(stream: impl Wire, number: usize, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = head(&mut stream, number).await?;
        let step = lock(&shared.script).pop_front().unwrap_or(Step::Echo);
        let enough = match step {
            Step::ResetInUpload(enough) => enough,
            _ => usize::MAX,
        };
        let read = body(&mut stream, &request.headers, enough).await;
        let (content, whole) = read.unwrap_or_default();
        request.body = content.clone();
        request.whole = whole;
        lock(&shared.log).push(request);
        if !whole && enough == usize::MAX {
            return Ok(()); // The client has gone.
        }
        match step {
            Step::Answer(answer) => respond(&mut stream, &answer).await?,
            Step::Echo => respond(&mut stream, &Answer::status(200).body(content)).await?,
            Step::CloseBeforeHead => return stream.shutdown().await,
            Step::ResetBeforeHead | Step::ResetInUpload(_) => return stream.into_inner().reset(),
            Step::CutInHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nconte").await?;
                return stream.shutdown().await;
            }
            Step::CutInBody => {
                let beginning = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0123456789";
                stream.write_all(beginning).await?;
                return stream.shutdown().await;
            }
            Step::Silence => {
                // Until the client gives up.
                return stream.read_u8().await.map(drop);
            }
        }
    }
}

async fn respond(stream: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {}\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", answer.body.len()));
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&answer.body);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

async fn line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads a request's head.
async fn head(stream: &mut (impl AsyncBufReadExt + Unpin), number: usize) -> io::Result<Received> {
    let first = line(stream).await?;
    let mut words = first.split(' ');
    let method = words.next().and_then(|word| word.parse().ok());
    let target = words.next().map(str::to_owned);
    let mut headers = HeaderMap::new();
    loop {
        let line = line(stream).await?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("header"))?;
        headers.append(
            HeaderName::try_from(name).map_err(|_| invalid("name"))?,
            HeaderValue::try_from(value.trim()).map_err(|_| invalid("value"))?,
        );
    }
    Ok(Received {
        connection: number,
        method: method.ok_or_else(|| invalid("method"))?,
        target: target.ok_or_else(|| invalid("target"))?,
        headers,
        body: Bytes::new(),
        whole: false,
    })
}

/// Reads a request's body, but not much more than `enough` of it, and says whether it was the
/// whole.
async fn body(
    stream: &mut (impl AsyncBufReadExt + Unpin),
    headers: &HeaderMap,
    enough: usize,
) -> io::Result<(Bytes, bool)> {
    let mut content = Vec::new();
    let chunked = headers.contains_key("transfer-encoding");
    let length = headers.get("content-length").map(|length| {
        let length = length.to_str().ok().and_then(|length| length.parse().ok());
        length.ok_or_else(|| invalid("content-length"))
    });
    let mut left: usize = length.transpose()?.unwrap_or(0);
    loop {
        if chunked && left == 0 {
            let size = line(stream).await?;
            left = usize::from_str_radix(&size, 16).map_err(|_| invalid("chunk size"))?;
            if left == 0 {
                while !line(stream).await?.is_empty() {} // Trailers.
                return Ok((content.into(), true));
            }
        }
        if left == 0 {
            return Ok((content.into(), true));
        }
        if content.len() >= enough {
            return Ok((content.into(), false));
        }
        let mut part = vec![0; left.min(4096)];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return Ok((content.into(), false)),
            Ok(read) => {
                content.extend_from_slice(&part[..read]);
                left -= read;
            }
        }
        if chunked && left == 0 {
            line(stream).await?; // What ends a chunk.
        }
    }
}
