//! octocrab: the layer below its own, on the client that it is given.

use clients::Server;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use octocrab::{AuthState, OctoBody, OctocrabBuilder, service::middleware::base_uri::BaseUriLayer};
use tower_http_retry::{RetryLayer, RetryReport, policy::RetryPolicy};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start([503]).await; // Busy at first.

    let client = OctocrabBuilder::new_empty()
        .with_service(Client::builder(TokioExecutor::new()).build_http())
        // A clone of an `OctoBody` is empty once the first one was sent.
        .with_layer(
            &RetryLayer::new(RetryPolicy::default()).replay_bodies_as(64 * 1024, OctoBody::new),
        )
        .with_layer(&BaseUriLayer::new(server.url().parse()?))
        .with_auth(AuthState::None)
        .build()?;

    let response = client._put("/user/starred/a/b", None::<&()>).await?;
    if let Some(report) = response.extensions().get::<RetryReport>() {
        println!("{report}");
    }
    Ok(())
}
