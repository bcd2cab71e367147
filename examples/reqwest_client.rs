//! reqwest with retries: its own requests and responses.

use examples::Server;
use tower_http_retry::{RetryLayer, RetryReport, policy::RetryPolicy, reqwest::RetryClient};

fn client() -> reqwest::Result<RetryClient> {
    // The builder, not a client: its own retries and redirects are switched off.
    let builder = reqwest::Client::builder().no_proxy();
    RetryClient::build(RetryLayer::new(RetryPolicy::default()), builder)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start([503, 503]).await?;

    let request = client()?.put(server.url("/orders/1")).body("three apples");
    let response = request.send().await?;
    if let Some(report) = response.extensions().get::<RetryReport>() {
        println!("{report}");
    }
    println!("{}", response.text().await?);
    Ok(())
}
