//! axum: the layer around a router that is called in process.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::{Router, body::Body, routing::put};
use http::{Request, StatusCode};
use tower::{ServiceBuilder, ServiceExt};
use tower_http_retry::{RetryLayer, RetryReport, policy::RetryPolicy};

/// Busy the first time.
async fn order(content: String) -> (StatusCode, String) {
    static BUSY: AtomicBool = AtomicBool::new(true);
    if BUSY.swap(false, Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    (StatusCode::OK, content)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::default()).replay_bodies(64 * 1024))
        .service(Router::new().route("/order", put(order)));

    let request = Request::put("/order").body(Body::from("three apples"))?;
    let response = client.oneshot(request).await?;
    if let Some(report) = response.extensions().get::<RetryReport>() {
        println!("{report}");
    }
    Ok(())
}
