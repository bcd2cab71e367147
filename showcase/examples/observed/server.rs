//! A service whose health can be set.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
};

use axum::{Router, routing::get};
use http::StatusCode;
use tokio::net::TcpListener;
use tower_http_retry::BoxError;

/// Of so many requests in 100 it answers with 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Health(u8);

impl Health {
    pub(crate) const WELL: Self = Self(0);
    pub(crate) const FLAKY: Self = Self(50);
    pub(crate) const DOWN: Self = Self(100);
}

/// Sets it.
#[derive(Clone, Default)]
pub(crate) struct Switch(Arc<AtomicU8>);

impl Switch {
    pub(crate) fn set(&self, health: Health) {
        self.0.store(health.0, Relaxed);
    }
}

/// Starts the service; its URL, and what sets its health.
pub(crate) async fn start() -> Result<(String, Switch), BoxError> {
    let switch = Switch::default();
    let failing = Arc::clone(&switch.0);
    let asked = Arc::new(AtomicU64::new(0));
    let handler = move || {
        // Evenly spread, and the same each time.
        let number = asked.fetch_add(1, Relaxed).wrapping_mul(37) % 100;
        let fails = number < u64::from(failing.load(Relaxed));
        async move {
            match fails {
                true => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
                false => (StatusCode::OK, "here you are"),
            }
        }
    };
    let address = serve(Router::new().route("/orders", get(handler))).await?;
    Ok((format!("http://{address}/orders"), switch))
}

/// Serves on a port of its own.
pub(crate) async fn serve(router: Router) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}
