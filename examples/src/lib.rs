//! The server that the small examples talk to: on a local port, with a script.

use std::{collections::VecDeque, io, sync::Arc, sync::Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A server that gives one answer after the other, and then echoes what it is sent.
#[derive(Clone, Debug)]
pub struct Server {
    url: String,
    script: Arc<Mutex<VecDeque<Answer>>>,
}

/// An answer of a [`Server`].
#[derive(Clone, Debug)]
pub struct Answer(Response<Bytes>);

impl Answer {
    /// An empty response with this status.
    pub fn status(status: u16) -> Self {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        Self(response)
    }

    /// The same with a header.
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        let value = http::HeaderValue::from_static(value);
        self.0.headers_mut().insert(name, value);
        self
    }

    /// The same with a body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.0.body_mut() = body.into();
        self
    }
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self::status(status)
    }
}

impl Server {
    /// Starts a server on a free port of this machine. It ends with the runtime.
    ///
    /// # Errors
    ///
    /// There is no free port.
    pub async fn start(script: impl IntoIterator<Item = impl Into<Answer>>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = Self {
            url: format!("http://{}", listener.local_addr()?),
            script: Arc::new(Mutex::new(script.into_iter().map(Into::into).collect())),
        };
        let shared = server.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let answer = service_fn(|request| shared.answer(request));
                    // A client that goes away is no matter for the server.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), answer)
                        .await;
                });
            }
        });
        Ok(server)
    }

    /// The URL of this path on the server.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn answer(&self, request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
        let content = request.into_body().collect().await?.to_bytes();
        let next = self.script.lock().expect("nobody panics").pop_front();
        let Answer(response) = next.unwrap_or_else(|| Answer::status(200).body(content));
        Ok(response.map(Full::new))
    }
}
