//! A retry that does not meet the connection that just failed: [`ConnectionLayer`].
//!
//! A pool hands the next request a connection that is open, as far as the pool knows. One whose
//! other side has vanished is open, too: an attempt times out on it, and the retry is handed the
//! same one. Over HTTP/2, which has one connection for all, every retry and every other request
//! goes that way, until the operating system gives up, a quarter of an hour later.
//!
//! The layer stands directly above the `legacy` client of `hyper-util`, below the retries, and tells
//! the client's pool which connection to leave:
//!
//! | what happened | the connection |
//! | --- | --- |
//! | the attempt ran into the [`attempt_timeout`](crate::RetryLayer::attempt_timeout) of the retries above, or a layer below timed out | is left |
//! | it broke, closed, or said what is not HTTP; a GOAWAY | is left (a pool often knows it by itself) |
//! | the body of the response broke off | is left |
//! | the answer is 421 (Misdirected Request) | is left |
//! | [`leave_if`](ConnectionLayer::leave_if) says so | is left |
//! | a classifier of the retries above says so, with [`Opinion::LeaveConnection`](crate::classify::Opinion::LeaveConnection) | is left |
//! | the server reset this one stream of HTTP/2, or asks for calm | stays: it serves others |
//! | the request's own mistake; any other answer | stays |
//! | the caller dropped the request; its deadline passed | stays |
//!
//! A connection that is left takes no further request. What is on its way over it, other streams
//! of HTTP/2 for instance, ends as it would have. Another attempt is on another connection: over
//! HTTP/2 a new one, over HTTP/1.1 another idle one of the pool, or a new one.
//!
//! A caller who no longer wants an answer says nothing about the connection, and neither does a
//! deadline, of which a caller may leave as little as it likes: if either counted, the impatience
//! of one would take everybody's connection away. So it takes an attempt timeout for a connection
//! that went silent to be noticed. One that is set by a layer of another crate must stand *below*
//! this layer: above, it cannot be told from a caller.
//!
//! # 421
//!
//! A server that answers 421 does not answer for this host on this connection, and a client may
//! send the request again on another one, whatever its method (RFC 9110, section 15.5.20). Under
//! [`RetryPolicy::default`](crate::policy::RetryPolicy::default) that is done once, where this layer
//! stands below. Without it, 421 is an answer like others: it is repeated only if
//! `status_forcelist` has it.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::ServiceBuilder;
//! use tower_http_retry::{RetryLayer, connection::ConnectionLayer, policy::RetryPolicy};
//!
//! let client = ServiceBuilder::new()
//!     .layer(
//!         RetryLayer::new(RetryPolicy::default())
//!             .attempt_timeout(Duration::from_secs(2))
//!             .deadline(Duration::from_secs(10)),
//!     )
//!     .layer(ConnectionLayer::new())
//!     .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
//! # let _ = client;
//! ```
//!
//! # Other clients
//!
//! The layer learns of the connection from the client, with hyper-util's
//! [`capture_connection`](hyper_util::client::legacy::connect::capture_connection). `reqwest` cannot be told to leave one, nor can `tonic`'s
//! channel: above such a client the layer does nothing, and says so once in the log, as the finding
//! [`connection-unknown`](crate::lint::LintCode::ConnectionUnknown) of [`lint`](crate::lint). What
//! helps there is the keep-alive of HTTP/2 (`http2_keep_alive_interval`), which is worth having in
//! any case: it finds a silent connection without a request that has to time out on it.
//!
//! A request that carries a capture of its own is given that of the layer instead.

mod body;
mod future;
mod layer;
mod leave;
mod service;

pub use self::{
    body::ConnectionBody, future::ConnectionFuture, layer::ConnectionLayer, service::Connection,
};
