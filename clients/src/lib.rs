//! What the tests of real clients have in common: servers that misbehave to order, places where no
//! server is, and one table of what must come of it.
//!
//! Nothing here knows any client. Each file in `tests/` puts the retry layer into one client that
//! others wrote, says at its head how that client's type is written down, sends the [`table`]
//! through it, and adds what is special about it.

pub mod expected;
pub mod grpc;
pub mod places;
pub mod script;
pub mod server;
pub mod story;
pub mod table;
pub mod tls;

pub use self::{
    expected::claim,
    places::Place,
    script::{Answer, Step},
    server::{Received, Server},
    story::Told,
    table::{Case, Outcome},
};

/// octocrab's body is `Clone`, but a clone of it is empty once the first one was sent. So the
/// layer does not take it as it is; it has to be told how.
///
/// ```compile_fail,E0277
/// use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
/// use octocrab::OctoBody;
/// use tower::{Layer, ServiceExt};
/// use tower_http_retry::{RetryLayer, policy::RetryPolicy};
///
/// let client: Client<HttpConnector, OctoBody> = Client::builder(TokioExecutor::new()).build_http();
/// let request = http::Request::new(OctoBody::from("content"));
/// let _ = RetryLayer::new(RetryPolicy::default()).layer(client).oneshot(request);
/// ```
///
/// ```no_run
/// use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
/// use octocrab::OctoBody;
/// use tower::{Layer, ServiceExt};
/// use tower_http_retry::{RetryLayer, policy::RetryPolicy};
///
/// let client: Client<HttpConnector, OctoBody> = Client::builder(TokioExecutor::new()).build_http();
/// let request = http::Request::new(OctoBody::from("content"));
/// let layer = RetryLayer::new(RetryPolicy::default()).replay_bodies_as(1000, OctoBody::new);
/// let _ = layer.layer(client).oneshot(request);
/// ```
#[cfg(doctest)]
pub struct OctoBody;
