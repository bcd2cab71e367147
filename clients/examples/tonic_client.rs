//! tonic: the layer around a channel, below a generated client.

use clients::grpc::{Call, Server};
use tonic::{body::Body, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::ServiceBuilder;
use tower_http_retry::{RetryLayer, RetryReport, policy::RetryPolicy};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The first call ends at a proxy that reaches nobody.
    let server = Server::start([Call::Http(503)]).await;
    // Every call is a POST; those of this service may be sent twice.
    let policy = RetryPolicy::builder().allowed_methods(["POST"]).build()?;

    let channel = Endpoint::from_shared(server.url())?.connect_lazy();
    let channel = ServiceBuilder::new()
        // A channel takes no other body than tonic's own.
        .layer(RetryLayer::new(policy).replay_bodies_as(64 * 1024, Body::new))
        .service(channel);

    let mut client = HealthClient::new(channel);
    let response = client.check(HealthCheckRequest::default()).await?;
    if let Some(report) = response.extensions().get::<RetryReport>() {
        println!("{report}");
    }
    Ok(())
}
