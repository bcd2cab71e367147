//! How gRPC calls end: [`GrpcLayer`].
//!
//! A gRPC server says in `grpc-status` whether a call failed, and the HTTP status is 200 all the
//! same. Where it stands depends on how far the call came:
//!
//! | the response | where `grpc-status` stands | who sees it |
//! | --- | --- | --- |
//! | has a head and nothing else ("trailers-only") | in the head | [`RetryLayer`](crate::RetryLayer) alone |
//! | has a head and trailers | in the trailers | `RetryLayer` with a [`GrpcLayer`] below it |
//! | has a message, and its trailers right behind it | in the trailers | the same |
//! | streams messages | in trailers that come much later | the caller alone: the call is committed |
//!
//! Of a response of the content type `application/grpc`, in any encoding, a [`GrpcLayer`] reads the
//! head, and if that has no status, the first frame of the body, and the second one if it is there
//! already. It holds nothing else back, and the caller gets every frame as it came. A call that
//! failed is told to the layers above as a [`LayerOutcome`](crate::stack::LayerOutcome); of one
//! that succeeded, or goes on, nothing is told and nothing is allocated.
//!
//! The rules for what is repeated are those of the policy:
//! [`RetryPolicy::grpc`](crate::policy::RetryPolicy::grpc) has gRPC's own.
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_http_retry::{RetryLayer, grpc::GrpcLayer, policy::RetryPolicy};
//!
//! let stack = ServiceBuilder::new()
//!     .layer(
//!         RetryLayer::new(RetryPolicy::grpc())
//!             .deadline(Duration::from_secs(10))
//!             .grpc_headers(),
//!     )
//!     .layer(GrpcLayer::new());
//! # let _ = stack;
//! ```
//!
//! # Around tonic's channel
//!
//! The `grpc` showcase has a client of tonic's with its type written down in full, in
//! `showcase/src/grpc/client.rs`. A channel takes no body but tonic's own, so what is recorded is
//! made one again: `.replay_bodies_as(64 * 1024, tonic::body::Body::new)`.
//!
//! A [`RetryError`](crate::RetryError) is UNKNOWN to tonic unless its source says more. To have
//! DEADLINE_EXCEEDED where it is the deadline that ended the call, put a `map_err` above the retries
//! that makes a `tonic::Status` of an error whose [kind](crate::RetryError::kind) is
//! [`DeadlineExceeded`](crate::RetryErrorKind::DeadlineExceeded); tonic hands it to the caller as
//! it is.
//!
//! # When a call is committed
//!
//! [A6] lets a client repeat a call only as long as no response head has arrived, which leaves
//! trailers-only responses. Some servers, Akka's for instance, send a head before each failure.
//! What came as a head and trailers without any message is repeated here as well: the caller has
//! seen none of it. [`commit_on_head`](GrpcLayer::commit_on_head) has A6's rule.
//!
//! A message commits the call, whether or not the caller has seen it yet: what fails behind it is
//! told, and never repeated.
//!
//! A body that breaks before its first message is a failure as well, of which the layers above
//! are told. If the server has reset its stream, the call has the code that gRPC gives to that:
//! CANCEL is CANCELLED. Where it is not repeated, the caller meets the same error when it reads the body.
//!
//! [A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md

mod future;
mod layer;
mod outcome;
mod reset;
mod service;
mod status;

pub use self::{future::GrpcFuture, layer::GrpcLayer, service::Grpc};
pub use crate::reason::{GrpcCode, UnknownGrpcCode};
