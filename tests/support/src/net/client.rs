//! The clients that meet the servers.

use std::{error::Error, fmt};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http::{Method, Request, Uri, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Builder, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower_http_retry::BoxError;

use super::fault::{FaultServer, Names, Protocol};

/// A request's body, whatever it is made of.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A builder of clients whose timers are tokio's.
pub fn builder() -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new());
    builder
}

/// A client for plain HTTP/1.1.
pub fn http1() -> Client<HttpConnector, Body> {
    builder().build_http()
}

/// A client for plain HTTP/2 with prior knowledge.
pub fn http2() -> Client<HttpConnector, Body> {
    builder().http2_only(true).build_http()
}

/// A client for HTTPS.
pub fn https(config: rustls::ClientConfig) -> Client<HttpsConnector<HttpConnector>, Body> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build();
    builder().build(connector)
}

/// A client of a server that fails as it is told.
pub type FaultClient = Client<HttpsConnector<HttpConnector<Names>>, Body>;

/// A client that speaks `protocol` with a server, over TLS if the server does, and keeps so many
/// connections.
pub fn of(
    server: &FaultServer,
    protocol: Protocol,
    config: rustls::ClientConfig,
    keeps: usize,
) -> FaultClient {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http();
    let connector = match protocol {
        Protocol::Http1 => connector.enable_http1().wrap_connector(server.connector()),
        Protocol::Http2 => connector.enable_http2().wrap_connector(server.connector()),
    };
    builder()
        .http2_only(protocol == Protocol::Http2)
        .pool_max_idle_per_host(keeps)
        .build(connector)
}

/// A `GET` request.
pub fn get(uri: Uri) -> Request<Body> {
    request(
        Method::GET,
        uri,
        Empty::new().map_err(Into::into).boxed_unsync(),
    )
}

/// A `GET` request in this version of HTTP.
pub fn get_in(version: Version, uri: Uri) -> Request<Body> {
    let mut request = get(uri);
    *request.version_mut() = version;
    request
}

/// A `POST` request with this body.
pub fn post<B>(uri: Uri, body: B) -> Request<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    request(Method::POST, uri, body.map_err(Into::into).boxed_unsync())
}

/// A `POST` request whose body consists of these parts, or fails among them.
pub fn post_parts<S>(uri: Uri, parts: S) -> Request<Body>
where
    S: Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
{
    post(uri, StreamBody::new(parts.map_ok(Frame::data)))
}

fn request(method: Method, uri: Uri, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(uri)
        .body(body)
        .unwrap()
}

/// An error of the test's own, as a user's body may have it.
#[derive(Debug)]
pub struct OwnError;

impl fmt::Display for OwnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file shrank")
    }
}

impl Error for OwnError {}
