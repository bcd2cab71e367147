//! Sends an attempt that is late a second time, and takes the first good answer.
//!
//! Of a hundred requests one takes a hundred times as long as the others: a full queue, a pause of
//! the garbage collector, a lost packet. A second request to the same service most likely does
//! not. [`HedgeLayer`] sends it when the first one takes longer than nearly all of those before
//! it, and drops the one that is not needed (Dean and Barroso, "The Tail at Scale", 2013).
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::ServiceBuilder;
//! use tower_http_retry::{RetryLayer, hedge::HedgeLayer, policy::RetryPolicy};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let policy = RetryPolicy::default();
//! let client = ServiceBuilder::new()
//!     .layer(RetryLayer::new(policy.clone()).deadline(Duration::from_secs(20)))
//!     .layer(HedgeLayer::new(&policy))
//!     .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
//! # use tower::ServiceExt;
//! # let request = http::Request::get("http://example.com/").body(Full::default())?;
//! # assert_eq!(client.oneshot(request).await?.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! # Which requests
//!
//! Those that the policy would repeat although they may have been applied: methods that it allows,
//! requests marked [`Idempotent`](crate::policy::Idempotent) or with an idempotency key. One with
//! [`RetryDisabled`](crate::policy::RetryDisabled), or under a policy that never repeats anything,
//! is never hedged; one that brought a [`RetryPolicy`](crate::policy::RetryPolicy) along goes by
//! that, and one that brought another policy is not hedged, since nothing is known of it.
//!
//! The body has to be in two places at once: one that is cloned, or opened anew, can be. A recorded
//! body can once all of it was read ([`HedgeLayer::recorded_bodies`]).
//!
//! # When
//!
//! One setting, [`max_extra_load`](HedgeBuilder::max_extra_load), *x*: a request is late when it
//! takes longer than all but the part *x* of the requests to the same authority, from their own
//! starts to the heads of their responses. A millisecond at least; before there are 50 of them,
//! nothing is hedged.
//!
//! - An answer counts with its time. A request that lost against its hedge, or whose time was over
//!   (the retries' attempt timeout or deadline, a timeout below), counts with the time that it took
//!   at least, if it was late: otherwise the estimate could only sink. One that its caller drops
//!   counts for nothing.
//! - A failure that came sooner does not count: it says nothing of how long an answer takes.
//! - The time of a hedge never counts.
//! - What is older than about a minute (10 seconds for a busy service) counts less and less, and
//!   then no more.
//!
//! # How often
//!
//! A hedge is an extra load, most of all when a service slows down as a whole, and every request is
//! late. So each takes from two budgets: one of the layer's own, in which each request earns *x*
//! of a hedge, and the retries' [budget](crate::budget). If either has nothing left, or the server
//! asked for a pause (`Retry-After`), the request goes on alone. There is one hedge for an attempt
//! at most.
//!
//! # Which answer
//!
//! The first that is no failure: the other request is dropped then. If the first one fails while its
//! hedge is under way, the hedge is waited for, and the other way round; if both fail, a response
//! counts before an error, and the first request before its hedge, and the retries above decide as
//! always. If a request fails before its hedge is due, there is none.
//!
//! Nothing ties the body of the answer to this layer. Over HTTP/1.1, dropping a request costs its
//! connection.
//!
//! The report of the retries says that an attempt was hedged, and which answer it was
//! ([`Note::Hedged`](crate::policy::Note::Hedged)); its
//! [`effects`](crate::RetryReport::effects) count the other one. A request that was hedged and
//! failed proves nothing by the error of one of the two. A hedge itself has a [`HedgeInfo`] in its
//! extensions and, if [asked for](HedgeBuilder::header), a header.
//!
//! # What it costs
//!
//! A request that may not be hedged: a look at its method. One that is answered at its first poll:
//! a snapshot of its head, and no allocation. One that is waited for has a timer.
//!
//! # Differences from `tower::hedge`
//!
//! There, errors win and do not count, so the estimate only sinks; nothing bounds the extra load;
//! both copies must be ready before either is sent; and the service is not `Clone`.

mod estimate;
mod future;
mod layer;
mod outcome;
mod race;
mod service;
mod shared;
mod stats;

pub use self::{
    future::HedgeFuture,
    layer::{HedgeBuilder, HedgeLayer},
    service::Hedge,
    stats::HedgeStats,
};

use std::time::Duration;

/// In the extensions of a request that is a hedge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgeInfo {
    /// How long after the first request it is sent.
    pub after: Duration,
}
