//! tonic: the layer around a channel, below a generated client.

use clients::grpc::{Call, Server};
use tonic::{body::Body, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::ServiceBuilder;
use tower_http_retry::{RetryLayer, RetryReport, policy::RetryPolicy};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Refuses the first call, as a server does that is about to go.
    let server = Server::start([Call::Reset(h2::Reason::REFUSED_STREAM)]).await;

    let channel = Endpoint::from_shared(server.url())?.connect_lazy();
    let channel = ServiceBuilder::new()
        // A channel takes no other body than tonic's own.
        .layer(RetryLayer::new(RetryPolicy::default()).replay_bodies_as(64 * 1024, Body::new))
        .service(channel);

    let mut client = HealthClient::new(channel);
    let response = client.check(HealthCheckRequest::default()).await?;
    if let Some(report) = response.extensions().get::<RetryReport>() {
        println!("{report}");
    }
    Ok(())
}
