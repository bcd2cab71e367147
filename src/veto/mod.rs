//! Tells those in front of a server that its own retries are used up.
//!
//! Retries multiply. Where each of three services tries a request four times, the one behind them
//! gets it 64 times, just when it has most to do. The service next to the one that fails is the
//! one to retry; those further out are better told that it has done so.
//!
//! [`VetoLayer`] belongs around a server's handlers. Where one of them answers with a failure, and
//! has left in the response's extensions what [`RetryLayer`](crate::RetryLayer) said of its own
//! request, the layer reads there whether that was tried as often as it may be, and answers
//! `x-should-retry: false`, or to gRPC `grpc-retry-pushback-ms: -1`. This crate's policies obey both
//! (see [`policy::hints`](crate::policy::hints)), gRPC's clients the second, and some others the
//! first.
//!
//! ```
//! use std::sync::Arc;
//!
//! use http::{Request, Response, StatusCode};
//! use tower::{ServiceBuilder, service_fn};
//! use tower_http_retry::{RetryError, RetryReport, veto::VetoLayer};
//!
//! /// What a client with a `RetryLayer` says.
//! async fn ask_the_service_behind() -> Result<Response<String>, RetryError> {
//!     # Ok(Response::default())
//!     // …
//! }
//!
//! let server = ServiceBuilder::new()
//!     .layer(VetoLayer::new())
//!     .service(service_fn(|_: Request<String>| async {
//!         let mut response = Response::new(String::new());
//!         match ask_the_service_behind().await {
//!             Ok(theirs) if theirs.status().is_success() => {}
//!             // The report is in its extensions; one that is passed on has it anyway.
//!             Ok(theirs) => {
//!                 *response.status_mut() = StatusCode::BAD_GATEWAY;
//!                 if let Some(report) = theirs.extensions().get::<RetryReport>() {
//!                     response.extensions_mut().insert(report.clone());
//!                 }
//!             }
//!             Err(error) => {
//!                 *response.status_mut() = StatusCode::BAD_GATEWAY;
//!                 response.extensions_mut().insert(Arc::new(error));
//!             }
//!         }
//!         Ok::<_, std::convert::Infallible>(response)
//!     }));
//! # let _ = server;
//! ```
//!
//! # What is used up
//!
//! | the [reason](crate::policy::StopReason::name) why no further attempt was made | veto |
//! | --- | --- |
//! | `count_exhausted`, `status_count_exhausted`, `budget_exhausted`, `deadline_too_close`, `deadline_exceeded`, `retry_after_too_long`, `throttled`, `held_too_long`, `too_many_in_flight` | yes: trying once more would not be of use, or is not wanted |
//! | `forbidden_by_server` | yes: the veto of a server behind goes on |
//! | any other | no: it was not retried for reasons of its own, such as its method |
//!
//! A response that is no failure (a status below 500 but 429) is left alone: the handler had
//! another answer. So is one that has the header already.

mod future;
mod layer;
mod rule;
mod service;

pub use self::{future::VetoFuture, layer::VetoLayer, service::Veto};
