//! A server that misbehaves for real: hyper where a route still answers, bare sockets where the
//! fault is below HTTP.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

/// The request header in which an upload says what its content hashes to.
pub(crate) const DIGEST: &str = "x-content-sha256";

/// After so many bytes the upload's first connection is cut.
const CUT_AFTER: usize = 96 * 1024;

/// What a listener does to the first connection that it accepts; all later ones are served well.
#[derive(Clone, Copy)]
enum Fault {
    /// Serves the first one, too.
    None,
    /// Reads the request and closes.
    Close,
    /// Reads the request, sends half a response head and resets the connection.
    ResetWhileReading,
    /// Reads a part of the request's body and resets the connection.
    CutUpload,
}

/// The addresses of a running server; it stops when this is dropped.
pub(crate) struct Server {
    /// Answers, though not always well.
    pub(crate) http: SocketAddr,
    /// Closes its first connection instead of answering.
    pub(crate) closing: SocketAddr,
    /// Resets its first connection in the middle of the response head.
    pub(crate) resetting: SocketAddr,
    /// Cuts its first connection in the middle of an upload.
    pub(crate) cutting: SocketAddr,
    /// The same for a second upload.
    pub(crate) cutting_again: SocketAddr,
    /// A port on which nobody listens, reserved so that nobody else will.
    pub(crate) dead: SocketAddr,
    _dead: TcpSocket,
    routes: Arc<Routes>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Starts all listeners on ports that the system chooses.
    pub(crate) async fn start() -> io::Result<Self> {
        let routes = Arc::new(Routes::default());
        let mut tasks = JoinSet::new();
        let mut listen = async |fault| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let address = listener.local_addr()?;
            tasks.spawn(accept(listener, fault, Arc::clone(&routes)));
            io::Result::Ok(address)
        };
        let http = listen(Fault::None).await?;
        let closing = listen(Fault::Close).await?;
        let resetting = listen(Fault::ResetWhileReading).await?;
        let cutting = listen(Fault::CutUpload).await?;
        let cutting_again = listen(Fault::CutUpload).await?;
        let (_dead, dead) = reserve()?;
        Ok(Self {
            http,
            closing,
            resetting,
            cutting,
            cutting_again,
            dead,
            _dead,
            routes,
            tasks,
        })
    }

    /// A server that starts late: its port is taken, but refuses connections for `delay`.
    pub(crate) fn start_late(&mut self, delay: Duration) -> io::Result<SocketAddr> {
        let (socket, address) = reserve()?;
        let routes = Arc::clone(&self.routes);
        self.tasks.spawn(async move {
            tokio::time::sleep(delay).await;
            if let Ok(listener) = socket.listen(64) {
                accept(listener, Fault::None, routes).await;
            }
        });
        Ok(address)
    }
}

/// A port that is bound and does not listen: connections to it are refused.
fn reserve() -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

async fn accept(listener: TcpListener, fault: Fault, routes: Arc<Routes>) {
    let mut fault = Some(fault);
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let routes = Arc::clone(&routes);
        let fault = fault.take().unwrap_or(Fault::None);
        connections.spawn(async move {
            // A client that goes away is its own business.
            let _ = match fault {
                Fault::None => {
                    serve(stream, routes).await;
                    Ok(())
                }
                Fault::Close => close(stream).await,
                Fault::ResetWhileReading => reset_while_reading(stream).await,
                Fault::CutUpload => cut_upload(stream).await,
            };
        });
    }
}

async fn serve(stream: TcpStream, routes: Arc<Routes>) {
    let service = service_fn(move |request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(routes.answer(request).await) }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Reads until the request's head has ended; gives back how much of the body came along.
async fn read_head(stream: &mut TcpStream) -> io::Result<usize> {
    let mut head = Vec::new();
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            return Ok(head.len() - end - 4);
        }
    }
}

async fn close(mut stream: TcpStream) -> io::Result<()> {
    read_head(&mut stream).await?;
    stream.shutdown().await
}

async fn reset_while_reading(mut stream: TcpStream) -> io::Result<()> {
    read_head(&mut stream).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await?;
    // With this, closing sends RST in place of FIN.
    stream.set_zero_linger()
}

async fn cut_upload(mut stream: TcpStream) -> io::Result<()> {
    let mut received = read_head(&mut stream).await?;
    let mut chunk = vec![0; 8 * 1024];
    while received < CUT_AFTER {
        match stream.read(&mut chunk).await? {
            0 => return Ok(()),
            read => received += read,
        }
    }
    stream.set_zero_linger()
}

/// The routes that answer, and what they remember.
#[derive(Default)]
struct Routes {
    /// How often each path was asked for.
    hits: Mutex<HashMap<String, u32>>,
}

impl Routes {
    /// Counts a request for `path`; the first one is 1.
    fn hit(&self, path: &str) -> u32 {
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        let hits = hits.entry(path.to_owned()).or_default();
        *hits += 1;
        *hits
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let nth = self.hit(&path);
        match (request.method(), path.as_str()) {
            (&Method::GET, "/well" | "/closing" | "/resetting" | "/late") => {
                answer(StatusCode::OK, "")
            }
            (&Method::GET, "/flaky") if nth <= 2 => answer(StatusCode::SERVICE_UNAVAILABLE, ""),
            (&Method::GET, "/flaky") => answer(StatusCode::OK, ""),
            (&Method::GET, "/limited") if nth == 1 => {
                retry_after(answer(StatusCode::TOO_MANY_REQUESTS, ""), "1")
            }
            (&Method::GET, "/limited") => answer(StatusCode::OK, ""),
            (&Method::GET, "/maintenance") => {
                retry_after(answer(StatusCode::SERVICE_UNAVAILABLE, ""), "3600")
            }
            (&Method::GET, "/hanging") if nth == 1 => pending().await,
            (&Method::GET, "/hanging") => answer(StatusCode::OK, ""),
            (&Method::POST, "/order" | "/order/allowed" | "/order/marked") if nth == 1 => {
                answer(StatusCode::SERVICE_UNAVAILABLE, "")
            }
            (&Method::POST, "/order" | "/order/allowed" | "/order/marked") => {
                answer(StatusCode::CREATED, "")
            }
            (&Method::PUT, "/upload") => receive(request).await,
            _ => answer(StatusCode::NOT_FOUND, ""),
        }
    }
}

/// Takes an upload and says whether it is what its sender says it is.
async fn receive(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let announced = request.headers().get(DIGEST).cloned();
    let Ok(content) = request.into_body().collect().await else {
        return answer(StatusCode::BAD_REQUEST, "the content broke off");
    };
    let content = content.to_bytes();
    let digest = hex(&Sha256::digest(&content));
    let (status, verdict) = if announced.is_some_and(|announced| announced == digest.as_str()) {
        (StatusCode::CREATED, "as announced")
    } else {
        (StatusCode::UNPROCESSABLE_ENTITY, "not as announced")
    };
    let text = format!("{} bytes, SHA-256 {digest}, {verdict}", content.len());
    answer(status, text)
}

fn answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

fn retry_after(
    mut response: Response<Full<Bytes>>,
    seconds: &'static str,
) -> Response<Full<Bytes>> {
    let value = http::HeaderValue::from_static(seconds);
    response.headers_mut().insert(RETRY_AFTER, value);
    response
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
