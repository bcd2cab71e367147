//! kube: the layer on top of the stack that kube makes of a `Config`.

use clients::{Answer, Server};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Config,
    api::ListParams,
    client::{Body, ClientBuilder},
};
use tower::buffer::BufferLayer;
use tower_http_retry::{RetryEvent, RetryLayer, policy::RetryPolicy};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Busy at first.
    let busy = Answer::status(429).header("retry-after", "1");
    let server = Server::start([busy, Answer::status(200).json(r#"{"items": []}"#)]).await;

    let mut config = Config::new(server.url().parse()?); // Or `Config::infer().await?`.
    // Otherwise kube repeats each of our attempts up to 15 times, a POST as well.
    config.default_retry = false;
    let client = ClientBuilder::try_from(config)?
        // What is below has to be `Clone`.
        .with_layer(&BufferLayer::new(1024))
        .with_layer(
            &RetryLayer::new(RetryPolicy::default())
                .clone_bodies_with(Body::try_clone)
                // `Api` does not show the response's extensions, where the report is.
                .on_event(|event| {
                    if let RetryEvent::Recovered(report) | RetryEvent::GaveUp(report) = event {
                        println!("{report}");
                    }
                }),
        )
        .build();

    let namespaces = Api::<Namespace>::all(client)
        .list(&ListParams::default())
        .await?;
    println!("{} namespaces", namespaces.items.len());
    Ok(())
}
