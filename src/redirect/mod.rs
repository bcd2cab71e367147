//! Follows redirects, in one accounting with the retries: [`RedirectLayer`].
//!
//! It belongs above the retries, so that each hop is a request of its own: it has its own URL for
//! mounts, budgets and hints, and a connection that fails on the second hop says nothing of the
//! first. What the hops have in common they share all the same: one deadline, one count of `total`
//! and `redirect`, one report.
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_http_retry::{RetryLayer, policy::RetryPolicy, redirect::RedirectLayer};
//!
//! let policy = RetryPolicy::default();
//! let stack = ServiceBuilder::new()
//!     .layer(RedirectLayer::new(&policy))
//!     .layer(RetryLayer::new(policy));
//! # let _ = stack;
//! ```
//!
//! # What is followed, and how
//!
//! | status | the next request, as [RFC 9110, section 15.4] and browsers have it | under `urllib3()` |
//! | --- | --- | --- |
//! | 301, 302 | a POST becomes a GET, every other method stays | every method stays |
//! | 303 | a HEAD stays, every other method becomes a GET | every method becomes a GET |
//! | 307, 308 | method and body stay | method and body stay |
//! | any without a `Location`, 300, 304, 305 | is returned | is returned |
//!
//! A request that loses its body loses the headers about it, too (`Content-*`, the digests,
//! `Last-Modified`, `Transfer-Encoding`, `Trailer`, `Expect`), and its idempotency key and mark, which
//! were the other request's. A CONNECT, which asks for a tunnel, is never sent elsewhere.
//!
//! At another origin (scheme, host or port) it loses `Authorization`, `Cookie` and
//! `Proxy-Authorization`, what [`remove_headers_on_redirect`] names, and every extension that is
//! not this crate's; on later hops they stay away, even back at the first origin. User information
//! in a `Location` is not sent. `https` never leads to `http`, unless under `urllib3()`.
//!
//! # What ends it
//!
//! The policy's `redirect` and `total`, of which each hop takes one, as each retry does of `total`;
//! twenty hops; the deadline; a `Location` that cannot be read; `https` that leads to `http`; a
//! body that is to be sent again and was not kept; a URL that this request was sent to before with
//! the same method, unless a response on the way set a cookie or asked to wait. The redirect is then
//! the response, and its [`RetryReport`](crate::RetryReport) says why; with [`raise_on_redirect`]
//! it is an error of the kind [`Redirect`](crate::RetryErrorKind::Redirect).
//!
//! A `Retry-After` of a redirect is waited for (RFC 9110, section 10.2.3), under the same rules as
//! that of a failure: `respect_retry_after_header`, `retry_after_max` and its mode. Meanwhile
//! neither the response nor the inner service is held. A hop takes nothing from the budget: the
//! server asked for it.
//!
//! # Differences from urllib3
//!
//! Under [`RetryPolicy::urllib3`](crate::policy::RetryPolicy::urllib3) the hops are those that
//! urllib3 2.8 makes, checked against vectors made by the real one. It deviates in this only:
//!
//! - Failures before a redirect are remembered, as by a pool; a `PoolManager` forgets them, with
//!   `retries` for one request at each hop, with its own at all but the first.
//! - `Retry-After` is obeyed, as a bare pool does; `PoolManager` does not read it.
//! - There are never more than twenty hops.
//!
//! [RFC 9110, section 15.4]: https://www.rfc-editor.org/rfc/rfc9110.html#section-15.4
//! [`remove_headers_on_redirect`]: RedirectLayer::remove_headers_on_redirect
//! [`raise_on_redirect`]: RedirectLayer::raise_on_redirect

mod future;
mod head;
mod layer;
mod location;
mod rules;
mod service;
mod trail;

pub use self::{future::RedirectFuture, layer::RedirectLayer, service::Redirect};
