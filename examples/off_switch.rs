//! Retries that can be switched off, with and without another type.

use bytes::Bytes;
use examples::Server;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    util::{MapErrLayer, option_layer},
};
use tower_http_retry::{
    BoxError, Retry, RetryError, RetryLayer,
    policy::{Limit, RetryPolicy},
};

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// One type for both: no retry is what is left of the policy, and a report says so.
fn same_type(retries: bool) -> Result<Retry<HttpClient, RetryPolicy>, BoxError> {
    let total = if retries {
        Limit::AtMost(3)
    } else {
        Limit::Never
    };
    let policy = RetryPolicy::builder().total(total).build()?;
    Ok(RetryLayer::new(policy).layer(Client::builder(TokioExecutor::new()).build_http()))
}

/// `option_layer` wants one error type of both ways: a boxed one, in which that of the retries is
/// still found by `downcast_ref::<RetryError>()`.
fn no_layer(
    retries: bool,
) -> impl Service<Request<Full<Bytes>>, Response = Response<Incoming>, Error = BoxError> {
    let layer = || {
        let boxed = MapErrLayer::new(|error: RetryError| BoxError::from(error));
        (boxed, RetryLayer::new(RetryPolicy::default()))
    };
    ServiceBuilder::new()
        .layer(option_layer(retries.then(layer)))
        .map_err(BoxError::from)
        .service(Client::builder(TokioExecutor::new()).build_http())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    for retries in [true, false] {
        let server = Server::start([503, 200, 503]).await?;
        let request = || Request::get(server.url("/")).body(Full::default());
        let same = same_type(retries)?.oneshot(request()?).await?;
        let other = no_layer(retries).oneshot(request()?).await?;
        println!("{retries}: {} and {}", same.status(), other.status());
    }
    Ok(())
}
