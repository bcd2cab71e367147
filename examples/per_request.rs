//! What one request says for itself, in its extensions.

use std::time::Duration;

use bytes::Bytes;
use examples::Server;
use http::Request;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer, ServiceExt};
use tower_http_retry::{
    RequestDeadline, RetryLayer, RetryReport,
    policy::{Idempotent, RetryDisabled, RetryPolicy},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start([503, 503, 200, 503]).await?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let client = RetryLayer::new(RetryPolicy::default()).layer(client);

    // This POST may be applied twice, may be tried ten times, and has five seconds for all of it.
    let request = Request::post(server.url("/search"))
        .extension(Idempotent)
        .extension(RetryPolicy::builder().total(10).build()?)
        .extension(RequestDeadline::after(Duration::from_secs(5)))
        .body(Full::from("a query"))?;
    let response = client.clone().oneshot(request).await?;
    if let Some(report) = response.extensions().get::<RetryReport>() {
        println!("{report}");
    }

    // This one is somebody else's to repeat.
    let request = Request::get(server.url("/probe"))
        .extension(RetryDisabled)
        .body(Full::default())?;
    println!("{}", client.oneshot(request).await?.status());
    Ok(())
}
