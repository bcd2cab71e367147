//! What both programs do, so that they differ by the layer alone.

use std::{env, fmt::Display};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Service, ServiceExt};

/// hyper's client.
pub fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Asks `service` for the URL of the command line and prints the status.
#[tokio::main(flavor = "current_thread")]
pub async fn run<S, B>(service: S)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Display>,
{
    let url = env::args().nth(1).expect("a URL");
    let request = Request::get(url).body(Full::default()).expect("a request");
    match service.oneshot(request).await {
        Ok(response) => println!("{}", response.status()),
        Err(error) => println!("{error}"),
    }
}
