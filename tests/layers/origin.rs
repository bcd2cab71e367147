//! Above tonic's channel, which adds the origin itself, a request is a path. The client's own
//! `with_origin` gives it the whole URL before it comes to the retries.

use std::error::Error;

use http::{Uri, uri::PathAndQuery};
use test_support::net::Refused;
use tonic::{
    Request, Status,
    body::Body,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Endpoint,
};
use tower::Layer;
use tower_http_retry::{RetryError, RetryLayer, policy::RetryPolicy};

/// Messages of nothing.
struct Nothing;

impl Codec for Nothing {
    type Encode = ();
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Nothing {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Nothing {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        Ok(Some(()))
    }
}

#[tokio::test]
async fn the_origin_that_tonics_client_is_given_is_in_the_report() {
    let closed = Refused::new();
    let origin = closed.uri("/").to_string();
    let channel = Endpoint::from_shared(origin.clone())
        .expect("a URL")
        .connect_lazy();
    let policy = RetryPolicy::builder()
        .backoff_factor(0.0)
        .build()
        .expect("valid");
    let layer = RetryLayer::new(policy).replay_bodies_as(1024, Body::new);
    let path = "/grpc.health.v1.Health/Check";
    let whole = format!("{}{path}", origin.trim_end_matches('/'));
    for (given, expected) in [
        (Uri::default(), path),
        (origin.parse().expect("a URL"), whole.as_str()),
    ] {
        let mut client = Grpc::with_origin(layer.layer(channel.clone()), given);
        client.ready().await.expect("lazy");
        let path = PathAndQuery::from_static(path);
        let status = client
            .unary(Request::new(()), path, Nothing)
            .await
            .expect_err("closed");
        let error = status
            .source()
            .and_then(|e| e.downcast_ref::<RetryError>())
            .expect("ours");
        assert_eq!(error.report().url, expected, "{}", error.report());
        assert_eq!(error.report().effects(), 0..=0);
    }
}
