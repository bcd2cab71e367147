//! What the body of a response says: [`PeekLayer`].
//!
//! The head of a response is not always the whole truth. S3 answers a copy with 200 and says in the
//! body, minutes later, that it failed; GraphQL puts its errors into a 200; Google's APIs say in the
//! body of a 429 when to come back; and a body can break off after a head that was fine. A
//! [`PeekLayer`] below the retries reads the beginning of such bodies before the response is judged.
//! Use it
//!
//! - where failures stand in bodies: [`PeekLayer::new`] with a judge of your own, or one of the
//!   recipes [`s3_errors`](PeekLayer::s3_errors), [`graphql_errors`](PeekLayer::graphql_errors) and
//!   [`hints`](PeekLayer::hints);
//! - where small bodies are to be whole before anybody sees them, so that one that breaks is asked
//!   for again: [`PeekLayer::collect`]. For large ones there is `ResumeLayer` (feature `resume`).
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_http_retry::{
//!     RetryLayer,
//!     classify::Opinion,
//!     peek::{DEFAULT_LIMIT, PeekLayer},
//!     policy::RetryPolicy,
//! };
//!
//! // A service that says in the body of a 200 that it is busy.
//! let busy = PeekLayer::new(
//!     DEFAULT_LIMIT,
//!     |head| head.status == 200 && !head.headers.contains_key("etag"),
//!     |_, bytes, _| match bytes {
//!         b"busy" => Opinion::Retry("the service is busy".into()),
//!         _ => Opinion::NoOpinion,
//!     },
//! );
//! let stack = ServiceBuilder::new()
//!     .layer(RetryLayer::new(RetryPolicy::default()))
//!     .layer(busy);
//! # let _ = stack;
//! ```
//!
//! # What is read, and when
//!
//! Of a response whose head the predicate wants, so much of the body is read as the limit allows,
//! or all of it. That is part of the attempt: an
//! [`attempt_timeout`](crate::RetryLayer::attempt_timeout) covers it. The judge is asked once, with
//! what was read and whether that is everything. Whatever it says, the caller gets the body frame
//! for frame as it came, trailers too.
//!
//! Never read are the bodies of responses that are no messages of their own: an upgrade (101) and
//! the answer to a CONNECT, of which what follows belongs to another protocol; a server's events
//! (`text/event-stream`), which never end; a part of something (206). Nor those of answers to HEAD,
//! which have none. A response that is not read costs no allocation.
//!
//! A body that breaks off while it is read, or ends before its `Content-Length`, is a read failure
//! of the attempt, and charged to [`read`](crate::policy::RetryPolicyBuilder::read). The server has
//! answered, so it is never taken for a request that was not sent. Where it is not repeated, the
//! caller meets the same end when it reads the body.
//!
//! The bytes are those of the layer below. If a layer that decodes them stands above, they are
//! compressed: put it below.
//!
//! # Not for parts of a request
//!
//! Where an answer says of each part of a request whether it failed, as Elasticsearch's `_bulk`
//! does, repeating all of it would apply the others twice. What is wanted then is another request,
//! with the failed parts only, and that is for whoever knows how to make one.

mod future;
mod judge;
mod layer;
mod recipes;
mod service;

pub use self::{
    future::PeekFuture,
    layer::{DEFAULT_LIMIT, PeekLayer},
    recipes::{JudgeFn, WhenFn},
    service::Peek,
};
