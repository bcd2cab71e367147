//! The three servers.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri, header},
};
use tokio::{net::TcpListener, task::JoinSet};

/// Longer than anybody waits.
const TOO_LONG: Duration = Duration::from_secs(3600);

pub(crate) struct Servers {
    all: [(&'static str, SocketAddr); 3],
    _serving: JoinSet<()>,
}

impl Servers {
    pub(crate) async fn start() -> io::Result<Self> {
        let any = "127.0.0.1:0";
        // Nobody listens there any more.
        let dead = TcpListener::bind(any).await?.local_addr()?;

        let slow = TcpListener::bind(any).await?;
        let slow_at = slow.local_addr()?;
        let warm = Arc::new(AtomicBool::new(false));
        let slow_app = Router::new().fallback(answer_slowly).with_state(warm);

        let busy = TcpListener::bind(any).await?;
        let busy_at = busy.local_addr()?;
        let busy_app = Router::new().fallback(|| async {
            let busy = StatusCode::SERVICE_UNAVAILABLE;
            (busy, [(header::RETRY_AFTER, "30")], "busy")
        });

        let mut serving = JoinSet::new();
        for (listener, app) in [(slow, slow_app), (busy, busy_app)] {
            serving.spawn(async move {
                let _ = axum::serve(listener, app).await;
            });
        }
        Ok(Self {
            all: [("dead", dead), ("slow", slow_at), ("busy", busy_at)],
            _serving: serving,
        })
    }

    /// The base URI of a server.
    pub(crate) fn base(&self, name: &str) -> String {
        let found = self.all.iter().find(|(it, _)| *it == name);
        let (_, at) = found.expect("one of the three");
        format!("http://{at}/")
    }

    /// The server that a URL leads to.
    pub(crate) fn name(&self, url: &str) -> &'static str {
        let found = self
            .all
            .iter()
            .find(|(_, at)| url.contains(&at.to_string()));
        found.map_or("nobody", |(name, _)| name)
    }

    /// A text with the servers' names in place of their addresses.
    pub(crate) fn named(&self, text: &str) -> String {
        let all = self.all.iter();
        all.fold(text.to_owned(), |text, (name, at)| {
            text.replace(&at.to_string(), name)
        })
    }
}

/// The first request for `/cold`, and each for `/stuck`, is not answered in time.
async fn answer_slowly(State(warm): State<Arc<AtomicBool>>, uri: Uri) -> &'static str {
    let slow = match uri.path() {
        "/cold" => !warm.swap(true, Relaxed),
        path => path == "/stuck",
    };
    if slow {
        tokio::time::sleep(TOO_LONG).await;
    }
    "well"
}
