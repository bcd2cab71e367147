//! Several servers for one service: [`EndpointsLayer`].
//!
//! A service has a name, `https://orders.internal/` for instance, and several base URIs at which it
//! can be reached. The layer stands below the retries. Each attempt, and each hedge, goes to a base
//! URI that this request was not sent to yet and that did not fail lately, in the order of the list
//! or at random by weight.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_http_retry::{RetryLayer, endpoints::EndpointsLayer, policy::RetryPolicy};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let endpoints = EndpointsLayer::ordered(
//!     "http://orders.internal/",
//!     ["http://10.0.0.7:8080/", "http://10.0.0.8:8080/", "http://spare.example.com/orders"],
//! )?;
//! let client = ServiceBuilder::new()
//!     .layer(RetryLayer::new(RetryPolicy::default()).attempt_timeout(Duration::from_secs(2)))
//!     .layer(endpoints)
//!     .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
//!
//! // Goes to http://10.0.0.7:8080/7, and if that fails, to http://10.0.0.8:8080/7.
//! let request = http::Request::get("http://orders.internal/7").body(Full::default())?;
//! let response = client.oneshot(request).await?;
//! # assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! # Where an attempt goes
//!
//! Of the endpoints, the best by these rules, in this order:
//!
//! 1. one that did not ask to be left alone (`Retry-After`, for 300 seconds at most); if all did,
//!    the one whose time is over first;
//! 2. one that this request was sent to less often than to others: none twice before all were tried,
//!    and none twice in a row;
//! 3. one that does not fail;
//! 4. the first of the list, or a draw by weight.
//!
//! Each of them is a preference. A request is never refused for want of an endpoint.
//!
//! # What is remembered of an endpoint
//!
//! It fails if an attempt at it has an error (other than the request's own mistake), runs into the
//! attempt timeout, or is answered with 429, 502, 503 or 504, or with `UNAVAILABLE` by gRPC. Other
//! answers are those of a server that works.
//!
//! It is then avoided for 5 seconds; for twice as long each time it fails anew, 60 seconds at
//! most. When that time is over, one request is sent to look, while others still avoid it. A success
//! ends it, and so do 60 seconds without a failure. That is all that is remembered, so it takes no
//! more memory however much fails. A request that its caller drops, or whose deadline passes, says
//! nothing about an endpoint.
//!
//! # What moves with the request
//!
//! - Scheme and authority are those of the base URI, and its path stands in place of the service's.
//!   A `Host` header that names the service names the endpoint instead; one with another name stays
//!   as it is.
//! - The report says where each attempt went. The tokens that it takes from a
//!   [`RetryBudget`](crate::budget::RetryBudget), or gives, are those of the endpoint it failed or
//!   succeeded at.
//! - What a server says of when to come back holds for it alone: as long as another endpoint can be
//!   asked, the retries above wait for their backoff only, and hold nobody else back. If all ask to
//!   be left alone, the next attempt waits for the first of them.
//!
//! What is decided before an endpoint is chosen is decided about the service: the policy, of
//! [`Mounts`](crate::mounts::Mounts) too, and what an [admission](crate::RetryLayer::admission)
//! says. An [`AdaptiveThrottle`](crate::throttle::AdaptiveThrottle) above counts all endpoints
//! together. To count each by itself, it belongs *below* this layer, as a layer of its own: an attempt
//! that it refuses goes elsewhere.
//!
//! # Credentials
//!
//! Only requests to the service's own name are sent to its endpoints, headers and all, so that what
//! is meant for the service is sent to nobody who is not in the list. A request to another
//! authority, the next hop of a redirect for instance, passes through as it is. An endpoint of a
//! service with `https` must have it, too.
//!
//! # Other layers
//!
//! What was tried is in the [`RequestState`](crate::stack::RequestState) in the request's
//! extensions, which is there from the second attempt on; a balancer below that sees the request
//! can read and extend it. A hedge goes to another endpoint than the request it is for if its layer
//! is told so (`HedgeBuilder::elsewhere`). Which balancers can use it, and which cannot, is in
//! [`guide::places`](crate::guide::places).

mod base;
mod future;
mod layer;
mod memory;
mod pool;
mod service;

pub use self::{future::EndpointsFuture, layer::EndpointsLayer, service::Endpoints};
