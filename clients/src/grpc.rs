//! A gRPC server on a real socket that follows a script: HTTP/2 frames in the order that a test
//! wants, which no server made of a library sends.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Notify,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{server::Received, tls::Identity};

/// What the server does with one call after the other, once it has read the whole request.
#[derive(Clone, Debug)]
pub enum Call {
    /// It answers with this message and the status `OK`.
    Message(Bytes),
    /// It answers with this status code in the response's only head, as gRPC has it for a failure
    /// without a message.
    Status(u16),
    /// It answers with an HTTP status, as a proxy in between does.
    Http(u16),
    /// It resets the stream.
    Reset(Reason),
    /// It closes the connection.
    Close,
    /// It says nothing.
    Silence,
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
    script: Mutex<VecDeque<Call>>,
    log: Mutex<Vec<Received>>,
    connections: AtomicUsize,
}

impl Server {
    /// Does these, one a call, and then answers with an empty message.
    pub async fn start(calls: impl IntoIterator<Item = Call>) -> Self {
        Self::serve(calls, None).await
    }

    /// The same over TLS, in the name of `localhost`.
    pub async fn start_tls(identity: &Identity, calls: impl IntoIterator<Item = Call>) -> Self {
        Self::serve(calls, Some(identity.acceptor(b"h2"))).await
    }

    async fn serve(calls: impl IntoIterator<Item = Call>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            script: Mutex::new(calls.into_iter().collect()),
            log: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = of_task.connections.fetch_add(1, Ordering::Relaxed);
                let (shared, tls) = (Arc::clone(&of_task), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => connection(stream, number, shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                connection(stream, number, shared).await;
                            }
                        }
                    }
                });
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

    /// Every request that reached it.
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

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    number: usize,
    shared: Arc<Shared>,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let close = Arc::new(Notify::new());
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = close.notified() => return,
        };
        let Some(Ok((request, respond))) = accepted else {
            return;
        };
        let (shared, close) = (Arc::clone(&shared), Arc::clone(&close));
        tokio::spawn(async move { call(request, respond, number, &shared, &close).await });
    }
}

/// Reads a request and does what comes next in the script.
async fn call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    shared: &Shared,
    close: &Notify,
) {
    let (head, mut stream) = request.into_parts();
    let mut body = BytesMut::new();
    let mut whole = true;
    while let Some(data) = stream.data().await {
        match data {
            Ok(data) => {
                // Without this the client stops when the window is full.
                let _ = stream.flow_control().release_capacity(data.len());
                body.extend_from_slice(&data);
            }
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    let call = lock(&shared.script)
        .pop_front()
        .unwrap_or(Call::Message(Bytes::new()));
    lock(&shared.log).push(Received {
        connection,
        method: head.method,
        target: head.uri.path().to_owned(),
        headers: head.headers,
        body: body.freeze(),
        whole,
    });
    // A client that has gone is not this server's concern.
    let _ = answer(call, &mut respond, close).await;
}

async fn answer(
    call: Call,
    respond: &mut SendResponse<Bytes>,
    close: &Notify,
) -> Result<(), h2::Error> {
    let head = |status: StatusCode| {
        let head = Response::builder().status(status);
        head.header("content-type", "application/grpc")
    };
    match call {
        Call::Message(message) => {
            let head = head(StatusCode::OK).body(()).expect("valid");
            let mut stream = respond.send_response(head, false)?;
            stream.send_data(framed(&message), false)?;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("valid"));
            stream.send_trailers(trailers)
        }
        Call::Status(code) => {
            let head = head(StatusCode::OK).header("grpc-status", code.to_string());
            let head = head.body(()).expect("valid");
            respond.send_response(head, true).map(drop)
        }
        Call::Http(status) => {
            let head = Response::builder().status(status).body(()).expect("valid");
            respond.send_response(head, true).map(drop)
        }
        Call::Reset(reason) => {
            respond.send_reset(reason);
            Ok(())
        }
        Call::Close => {
            close.notify_one();
            Ok(())
        }
        Call::Silence => std::future::poll_fn(|cx| respond.poll_reset(cx))
            .await
            .map(drop),
    }
}

/// A message as gRPC has it on the wire: not compressed, with its length before it.
pub fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("short");
    let mut framed = BytesMut::from(&[0][..]);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed.freeze()
}

/// The method of every gRPC call.
pub const METHOD: Method = Method::POST;
