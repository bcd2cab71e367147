//! A server that fails as the path tells it to, and remembers every request.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header::LOCATION};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower_http_retry::BoxError;

/// The paths it knows, each below any prefix:
///
/// - `fail/N`: 503 for the first N requests to that path, then 200;
/// - `hang/N`: no answer to the first N, then 200;
/// - `hop/PATH`: 503 once, then a redirect to PATH below the same prefix;
/// - `locked`: 503 until `key` was asked for;
/// - `key`: 200.
#[derive(Clone)]
pub(crate) struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

struct Seen {
    path: String,
    id: Option<String>,
}

impl Server {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = Self {
            url: format!("http://{}", listener.local_addr()?),
            seen: Arc::default(),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    // Out of file descriptors, for instance.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let server = accepting.clone();
                tokio::spawn(async move {
                    let serve = service_fn(|request| server.answer(request));
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), serve)
                        .await;
                });
            }
        });
        Ok(server)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The paths below `prefix` that were asked for, in order.
    pub(crate) fn paths(&self, prefix: &str) -> Vec<String> {
        let seen = self.seen();
        seen.iter()
            .filter_map(|seen| seen.path.strip_prefix(prefix).map(str::to_owned))
            .collect()
    }

    pub(crate) fn count(&self, prefix: &str) -> usize {
        self.paths(prefix).len()
    }

    /// The different request ids that came with the requests below `prefix`.
    pub(crate) fn ids(&self, prefix: &str) -> BTreeSet<String> {
        let seen = self.seen();
        seen.iter()
            .filter(|seen| seen.path.starts_with(prefix))
            .filter_map(|seen| seen.id.clone())
            .collect()
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
        let path = request.uri().path().to_owned();
        let id = request.headers().get("x-request-id");
        let id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let (before, unlocked) = {
            let mut seen = self.seen();
            let before = seen.iter().filter(|seen| seen.path == path).count();
            let key = path.strip_suffix("locked").map(|path| format!("{path}key"));
            let unlocked = key.is_some_and(|key| seen.iter().any(|seen| seen.path == key));
            seen.push(Seen {
                path: path.clone(),
                id,
            });
            (before, unlocked)
        };
        let first = |n: &str| n.parse().is_ok_and(|n: usize| before < n);
        let status = match path.split('/').collect::<Vec<_>>().as_slice() {
            [.., "fail", n] if first(n) => 503,
            [.., "hang", n] if first(n) => pending().await,
            [.., "locked"] if !unlocked => 503,
            [prefix @ .., "hop", _, _] if before > 0 => {
                let rest = path.rsplit_once("hop/").map_or("", |(_, rest)| rest);
                let to = format!("{}/{rest}", prefix.join("/"));
                return Ok(Response::builder()
                    .status(302)
                    .header(LOCATION, to)
                    .body(Full::default())?);
            }
            [.., "hop", _, _] => 503,
            _ => 200,
        };
        Ok(Response::builder().status(status).body(Full::default())?)
    }
}
