//! A policy for each service, from a file.

use bytes::Bytes;
use examples::Server;
use http::Request;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer, ServiceExt};
use tower_http_retry::{RetryLayer, RetryReport, config::RetryConfig};

// In place of `std::fs::read_to_string("retries.toml")?`.
const FILE: &str = r#"
total = 3
attempt_timeout = "5s"
deadline = "20s"

[mounts."http://"]
total = 1
status_forcelist = [418]
backoff_factor = 0.01
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config: RetryConfig = toml::from_str(FILE)?;
    // A wrong key or value is an error here, before the first request.
    let layer = RetryLayer::new(config.to_mounts()?).configure(&config);

    let server = Server::start([418, 418]).await?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::get(server.url("/tea")).body(Full::default())?;
    let response = layer.layer(client).oneshot(request).await?;
    println!("{}", response.status());
    if let Some(report) = response.extensions().get::<RetryReport>() {
        println!("{report}");
    }
    Ok(())
}
