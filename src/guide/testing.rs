//! Testing your retries.
//!
//! # With a mock and a paused clock
//!
//! `tower_test::mock` takes the server's place, and tokio's clock, once paused, jumps over every
//! wait: the test is exact, and takes no time.
//!
//! ```
//! use std::time::Duration;
//!
//! use http::{Request, Response};
//! use tokio::time::Instant;
//! use tower_http_retry::{RetryLayer, RetryReport, policy::RetryPolicy};
//! use tower_test::mock;
//!
//! type Body = http_body_util::Empty<bytes::Bytes>;
//!
//! # fn main() { a_busy_server_is_asked_again_after_the_time_it_named() }
//! // In a test: `#[tokio::test(start_paused = true)]`.
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn a_busy_server_is_asked_again_after_the_time_it_named() {
//!     let layer = RetryLayer::new(RetryPolicy::default());
//!     let (mut client, mut server) = mock::spawn_layer::<Request<Body>, Response<Body>, _>(layer);
//!     assert!(client.poll_ready().is_ready());
//!     let call = tokio::spawn(client.call(Request::new(Body::new())));
//!
//!     let (_, reply) = server.next_request().await.unwrap();
//!     let busy = Response::builder().status(503).header("retry-after", "7");
//!     reply.send_response(busy.body(Body::new()).unwrap());
//!
//!     let replied = Instant::now();
//!     let (_, reply) = server.next_request().await.unwrap();
//!     let waited = replied.elapsed();
//!     assert!(waited >= Duration::from_secs(7), "never earlier than asked");
//!     assert!(waited < Duration::from_millis(7_701), "and up to a tenth later");
//!     reply.send_response(Response::new(Body::new()));
//!
//!     let response = call.await.unwrap().unwrap();
//!     let report = response.extensions().get::<RetryReport>().unwrap();
//!     assert_eq!(report.attempt_count(), 2);
//! }
//! ```
//!
//! - `reply.send_error(std::io::Error::from(std::io::ErrorKind::ConnectionReset))` plays a failure
//!   without a response; [`classify()`](crate::classify::classify) sees it as it sees the real one.
//! - `reply.send_error(NeverSent::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)))`
//!   plays a failed connection. Without [`NeverSent`](crate::NeverSent) it is a read failure:
//!   an errno does not say that a connection was being made, and a connection that was there for
//!   long returns `ECONNREFUSED`, too. A connector of one's own says it in the same way.
//! - `server.allow(0)` makes the mock unready, and `server.send_error(..)` makes its `poll_ready`
//!   fail: for stacks with limits and buffers below.
//! - A paused clock and real sockets do not mix: while nothing but a socket is waited for, the
//!   clock jumps to the next timeout. Use a mock, or an unpaused clock and a policy with short waits.
//!
//! # Jitter, dates and the budget
//!
//! A test that compares a wait needs one that is known: a
//! [`constant`](crate::policy::Backoff::constant) backoff and
//! [`retry_after_jitter(0.0)`](crate::policy::RetryPolicyBuilder::retry_after_jitter), or a
//! [`seed`](crate::policy::RetryPolicyBuilder::seed), under which the n-th request of a policy
//! always draws the same numbers.
//!
//! A paused clock does not pause the wall clock, which a date in `Retry-After` is compared with
//! unless the response has a `Date`.
//! [`wall_clock`](crate::RetryLayer::wall_clock) sets it:
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use tower_http_retry::{RetryLayer, policy::RetryPolicy};
//!
//! // Sun, 06 Nov 1994 08:49:37 GMT
//! let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
//! let layer = RetryLayer::new(RetryPolicy::default()).wall_clock(move || now);
//! # let _ = layer;
//! ```
//!
//! The default policy has a budget, which its clones share: one client's test that is to see
//! hundreds of retries sets [`budget(None)`](crate::policy::RetryPolicyBuilder::budget), and tests
//! that share a policy share its budget.
//!
//! # A policy without a runtime
//!
//! What is decided, and why, is a matter of values: a [`Session`](crate::policy::Session) is asked
//! about an [`Attempt`](crate::policy::Attempt), and no layer, clock or runtime is there.
//!
//! ```
//! use http::{HeaderMap, Request, StatusCode};
//! use tower_http_retry::{
//!     classify::{Cause, Failure, Outcome, Sent},
//!     policy::{Attempt, Decision, Policy, RequestHead, RetryPolicy, Session, StopReason},
//! };
//!
//! let policy = RetryPolicy::default();
//! let order = Request::post("https://shop.test/orders").body(())?;
//! let mut session = policy.session(&RequestHead::of(&order));
//!
//! // Nothing was sent: a POST, too, is sent again.
//! let failure = Failure::new(Cause::ConnectionRefused, Sent::Never);
//! let refused = Outcome::Error { failure, error: None };
//! let decision = session.decide(&Attempt::new(1, order.method(), refused));
//! assert!(matches!(decision, Decision::Retry(_)));
//!
//! // The server has seen it: now it is not.
//! let headers = HeaderMap::new();
//! let busy = Outcome::Response { status: StatusCode::BAD_GATEWAY, headers: &headers };
//! let Decision::Stop(stop) = session.decide(&Attempt::new(2, order.method(), busy)) else {
//!     panic!("must stop");
//! };
//! assert!(matches!(stop.reason, StopReason::MethodNotAllowed { .. }));
//! # Ok::<(), http::Error>(())
//! ```
//!
//! # What to assert
//!
//! The [`StopReason`](crate::policy::StopReason), not only the status: a request that failed for
//! another reason than the test is about looks the same from outside. It is in
//! [`RetryReport::stop`](crate::RetryReport::stop) and
//! [`RetryError::stop_reason`](crate::RetryError::stop_reason), and
//! [`on_event`](crate::RetryLayer::on_event) hears of it wherever the response goes.
