//! Downloads that go on where they broke: [`ResumeLayer`].
//!
//! A retry ends with the head of a response. What comes behind it can break off an hour later, end
//! too early, or stall for ever, and then all of it would have to be asked for anew. A
//! [`ResumeLayer`] above the retries asks for the rest instead, and hands it on without a seam. Use
//! it for downloads that take longer than you want to take twice; for small bodies, that are read
//! at once, `PeekLayer::collect` (feature `peek`) does with less.
//!
//! ```
//! use std::time::Duration;
//!
//! use tower::ServiceBuilder;
//! use tower_http_retry::{RetryLayer, policy::RetryPolicy, resume::ResumeLayer};
//!
//! // One policy, and with it one budget and one count, for both.
//! let policy = RetryPolicy::default();
//! let stack = ServiceBuilder::new()
//!     .layer(
//!         ResumeLayer::new(policy.clone())
//!             .idle_timeout(Duration::from_secs(20))
//!             .deadline(Duration::from_secs(3600)),
//!     )
//!     .layer(RetryLayer::new(policy).attempt_timeout(Duration::from_secs(5)));
//! # let _ = stack;
//! ```
//!
//! # What can go on
//!
//! The same bytes must be there still, and that must be certain. So a body is continued only if
//!
//! - the request is a GET without a body;
//! - the response is a 200, or a 206 of one part with a full `Content-Range`, and has a
//!   `Content-Length` and no `Content-Encoding`. A layer below that decodes bodies takes both away:
//!   put it above;
//! - it has a strong validator (RFC 9110, section 8.8.1): an `ETag` that is not weak, or, where there
//!   is none, a `Last-Modified` that was at least a second old by its `Date`;
//! - it does not say `Accept-Ranges: none`.
//!
//! Never touched are upgrades (101), the answers to CONNECT, and a server's events
//! (`text/event-stream`): they are handed on as they are, without any timeout.
//!
//! The rest is asked for with `Range` and `If-Range`; everything else in the request is as it was,
//! `Accept-Encoding` above all. What is taken:
//!
//! | the answer | what becomes of it |
//! | --- | --- |
//! | 206, the same validator and total, from where it broke | goes on |
//! | 206 that begins earlier | what was handed on before is read over |
//! | 206 that is shorter than asked | goes on, and then from there. At once, if it was of some size |
//! | 206 that is longer than asked | is cut where the first one would have ended |
//! | 206 with the total `*` | goes on |
//! | 206 of several parts, without or with another validator, with another total, without a `Content-Length`, or with a `Content-Range` that is missing, invalid or of other bytes | ends |
//! | 200 under the same validator and of the same length | what was handed on before is read over |
//! | any other 200; 412; 416 | ends: there is something else now |
//! | 5xx, 429 and other failures | a failed attempt like others: the retries below have dealt with it, or the policy is asked |
//!
//! A body that has been handed on in full is complete, however it ends: nothing more is asked for.
//! Trailers are those of the last part.
//!
//! What ends that way ends with the *original* error, that of the body, in a [`ResumeError`], whose
//! [`stop_reason`](ResumeError::stop_reason) says why it could not go on. Never are other bytes
//! handed on than those of the first response.
//!
//! # Counts, waits, budget
//!
//! A body that broke is a `read` failure. The policy is asked as after an attempt, waits are its
//! backoff, and the budget pays. Whatever the retries made of the head is counted with it. When
//! [some progress](ResumeLayer::reset_after) was made, the count starts anew. The retries below
//! send what is asked for, and count together with it ([`RequestState`](crate::stack::RequestState)).
//! If they give up, so does the download: nothing is multiplied. Readiness of the service below is
//! waited for each time; nothing is held during a wait.
//!
//! # Deadlines
//!
//! - The deadline of the retries below is for heads: each continuation has its own.
//! - A deadline that the request brings along ([`RequestDeadline`](crate::RequestDeadline)) or that
//!   layers share ([`RequestState`](crate::stack::RequestState)) is an instant. It does not start anew:
//!   when it has passed, nothing more is sent. It does not cut a body that flows.
//! - [`ResumeLayer::deadline`] is the body's own. It takes the place of these, may be longer, counts
//!   from the start of the request, and ends the body wherever it is.
//!
//! # The report
//!
//! Each break and each continuation is a line in the one [`RetryReport`](crate::RetryReport), which
//! begins with the attempts at the head: [`ResumeBody::report`] while the body lives,
//! [`ResumeError::report`] if it fails, and [`ResumeLayer::on_event`] for both ends, of which each
//! has an event in the log as well. With the feature `telemetry`, `ResumeLayer::metrics` counts all of
//! them. A body that arrives in one piece has no report and costs none.

mod answered;
mod asking;
mod body;
mod error;
mod future;
mod layer;
mod plan;
mod range;
mod service;
mod story;
mod validator;
mod watch;

pub use self::{
    body::ResumeBody,
    error::{ResumeError, ResumeErrorKind},
    future::ResumeFuture,
    layer::ResumeLayer,
    service::Resume,
};
pub use crate::reason::NotResumed;
