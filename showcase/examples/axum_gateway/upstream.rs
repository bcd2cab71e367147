//! An upstream that misbehaves, for the tour.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tower_http_retry::BoxError;

/// How often each path was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hits(Arc<Mutex<HashMap<String, usize>>>);

impl Hits {
    pub(crate) fn of(&self, path: &str) -> usize {
        let hits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hits.get(path).copied().unwrap_or(0)
    }

    /// Counts a request; how many there were with it.
    fn count(&self, path: &str) -> usize {
        let mut hits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = hits.entry(path.to_owned()).or_default();
        *hit += 1;
        *hit
    }
}

/// Starts the upstream; its URL, and what it counts.
pub(crate) async fn start() -> Result<(Uri, Hits), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?).parse()?;
    let hits = Hits::default();
    let counting = hits.clone();
    tokio::spawn(async move {
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                // Out of file descriptors, for instance.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let hits = counting.clone();
            tokio::spawn(async move {
                let serve = service_fn(|request| answer(request, hits.clone()));
                // An error of the service closes the connection without a response.
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), serve)
                    .await;
            });
        }
    });
    Ok((url, hits))
}

async fn answer(request: Request<Incoming>, hits: Hits) -> Result<Response<Full<Bytes>>, BoxError> {
    let path = request.uri().path().to_owned();
    let hit = hits.count(&path);
    let respond = |status: u16, text: String| {
        let body = Full::new(Bytes::from(text));
        Ok(Response::builder().status(status).body(body)?)
    };
    match path.split('/').nth(1).unwrap_or_default() {
        "flaky" if hit < 3 => respond(503, "not yet".to_owned()),
        "flaky" => respond(200, "third time lucky".to_owned()),
        "orders" if hit == 1 => respond(503, "the order book is locked".to_owned()),
        "orders" => respond(201, "ordered".to_owned()),
        "upload" => {
            let body = request.into_body().collect().await?.to_bytes();
            if hit == 1 {
                return Err("crashed after the last byte".into());
            }
            respond(200, sha256(&body))
        }
        "broken" => respond(500, "a stack trace".to_owned()),
        "hanging" => pending().await,
        "busy" => Ok(Response::builder()
            .status(429)
            .header("retry-after", "120")
            .body(Full::default())?),
        _ => respond(404, "no such page".to_owned()),
    }
}

/// The digest in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
