//! Coming from another retry library.
//!
//! Each section is a table of what is written there and here, of what then behaves differently,
//! and of how to keep the old behaviour. What the tables say is played against a server by this
//! crate's tests, with at least ten documented uses of each library.
//!
//! Three differences are the same for all:
//!
//! - A request that may have been applied is repeated only if its method is idempotent, it has an
//!   idempotency key or mark, or nothing of it was sent. `allowed_methods` says otherwise.
//! - Retries have a [budget](crate::budget), so that a service that is down does not get a
//!   multiple of its usual load. [`budget(None)`](crate::policy::RetryPolicyBuilder::budget) turns
//!   it off.
//! - Whatever is not retried says why, in the [`RetryReport`](crate::RetryReport) or the
//!   [`RetryError`](crate::RetryError).
//!
//! # From `tower::retry`
//!
//! | there | here |
//! | --- | --- |
//! | `RetryLayer::new(policy)` | [`RetryLayer::new(policy)`](crate::RetryLayer::new) |
//! | `Policy::retry`, which returns `Some(future)` or `None` | [`Session::decide`](crate::policy::Session::decide), which returns a [`Decision`](crate::policy::Decision); for most, [`RetryPolicy`](crate::policy::RetryPolicy) or [`policy_fn`](crate::policy::policy_fn) will do |
//! | `Policy::clone_request` | nothing to write: the head is kept by the layer, the body as [`body`](crate::body) says |
//! | `clone_request` that returns `None` | a [`StopReason`](crate::policy::StopReason), for instance `BodyNotKept` |
//! | `ExponentialBackoffMaker::new(min, max, jitter, rng)` | [`Backoff::exponential(min).max(max)`](crate::policy::Backoff::exponential), with full jitter unless another is set |
//! | `TpsBudget::new(ttl, min_per_sec, percent)` | [`RetryBudget::builder()`](crate::budget::RetryBudget::builder)`.min_per_second(..).ratio(..)`, without a window; tower's own budget fits as well |
//! | the inner error | [`RetryError`](crate::RetryError), whose source is the inner error |
//!
//! ```
//! use std::time::Duration;
//! use tower_http_retry::{
//!     RetryLayer,
//!     budget::RetryBudget,
//!     policy::{Backoff, RetryPolicy},
//! };
//!
//! let policy = RetryPolicy::builder()
//!     .total(3)
//!     .backoff(Backoff::exponential(Duration::from_millis(100)).max(Duration::from_secs(5)))
//!     .budget(RetryBudget::builder().min_per_second(10).ratio(0.2).build()?)
//!     .build()?;
//! let layer = RetryLayer::new(policy);
//! # let _ = layer;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # From reqwest-middleware and reqwest-retry
//!
//! | there | here |
//! | --- | --- |
//! | `ClientBuilder::new(client).with(RetryTransientMiddleware::new_with_policy(policy)).build()` | `RetryClient::build(RetryLayer::new(policy), reqwest::Client::builder())` (feature `reqwest`), which turns the client's own retries off and follows its redirects above these |
//! | `client.post(url).header(..).send()` | the same |
//! | `client.post(url).json(&order).send()` | `client.post(url).with(\|request\| request.json(&order)).send()` |
//! | `client.execute(request)` | the same |
//! | `reqwest_middleware::Error` | [`RetryError`](crate::RetryError): reqwest's own is [`downcast_inner::<reqwest::Error>()`](crate::RetryError::downcast_inner) |
//! | `.with_extension(..)` | `.extension(..)`, for instance [`Idempotent`](crate::policy::Idempotent) |
//! | `ExponentialBackoff::builder().build_with_max_retries(3)` | [`total(3)`](crate::policy::RetryPolicyBuilder::total) |
//! | `.build_with_total_retry_duration(time)` | [`total(Limit::Unlimited)`](crate::policy::Limit::Unlimited) and the layer's [`deadline(time)`](crate::RetryLayer::deadline) |
//! | `.retry_bounds(min, max)` | [`Backoff::exponential(min).max(max)`](crate::policy::Backoff::exponential) |
//! | `.jitter(Jitter::Full)` | the default |
//! | `RetryableStrategy` | a [classifier](crate::RetryLayer::classify) |
//! | `RetryTransientMiddleware` logs at WARN | events at DEBUG for a retry and WARN for giving up; [`on_event`](crate::RetryLayer::on_event) hears of both |
//!
//! Three retries take three lines, and five there, without the imports:
//!
//! ```no_run
//! # #[cfg(feature = "reqwest")] mod snippet {
//! use tower_http_retry::{RetryLayer, policy::RetryPolicy, reqwest::RetryClient};
//!
//! # async fn run(url: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let policy = RetryPolicy::builder().total(3).build()?;
//! let client = RetryClient::build(RetryLayer::new(policy), reqwest::Client::builder())?;
//! let response = client.get(url).send().await?;
//! # let _ = response;
//! # Ok(())
//! # }
//! # }
//! # fn main() {}
//! ```
//!
//! What changes:
//!
//! - **A POST is no longer repeated when it was answered with a 5xx, or its connection broke.**
//!   There every method is. Here the request must be idempotent by its method, by a key
//!   ([`idempotency_keys_with`](crate::RetryLayer::idempotency_keys_with)) or by a mark
//!   ([`Idempotent`](crate::policy::Idempotent)). To keep the old behaviour:
//!   `allowed_methods(Methods::any())`.
//! - `Retry-After` is obeyed. There it is not read. To keep that:
//!   [`respect_retry_after_header(false)`](crate::policy::RetryPolicyBuilder::respect_retry_after_header).
//! - Of the 5xx, 500 and 502 to 504 are retried. There every 5xx is, 501 and 505 included.
//! - A streaming body is recorded and replayed, up to 64 KiB or another limit. There it ends the
//!   retries.
//! - A failure on a redirect's second hop repeats that hop. There it repeats all of them, the first
//!   one's POST included.
//! - The failed response is let go of before the wait. There it is held, with its connection.
//!
//! # From `backoff` or `backon` around a client
//!
//! | there | here |
//! | --- | --- |
//! | `(\|\| client.get(url).send()).retry(ExponentialBuilder::default())` | the layer, once, around the client; each call is then plain |
//! | `ExponentialBuilder::default().with_jitter().with_max_times(3)` | [`Backoff::exponential`](crate::policy::Backoff::exponential), [`total(3)`](crate::policy::RetryPolicyBuilder::total) |
//! | `FibonacciBuilder`, `ConstantBuilder` | [`Backoff::fibonacci`](crate::policy::Backoff::fibonacci), [`Backoff::constant`](crate::policy::Backoff::constant) |
//! | `.when(\|error\| error.is_transient())` | [`classify`](crate::classify) knows the errors of the usual clients; a [classifier](crate::RetryLayer::classify) adds to it |
//! | `.notify(\|error, wait\| ..)` | [`on_event`](crate::RetryLayer::on_event) |
//! | `.adjust(..)` that reads `Retry-After` | read by default |
//! | `backoff::Error::{Permanent, Transient}` | [`Opinion::Forbid`](crate::classify::Opinion::Forbid), [`Opinion::Retry`](crate::classify::Opinion::Retry) |
//! | `max_elapsed_time` | the layer's [`deadline`](crate::RetryLayer::deadline) |
//!
//! A loop around a client sees a response with a bad status as a success unless it calls
//! `error_for_status`; the layer sees the status. A loop whose attempt hangs waits for ever; the
//! layer has an [`attempt_timeout`](crate::RetryLayer::attempt_timeout).
//!
//! # From urllib3 and requests
//!
//! Three silent mistakes come first, since they are why a `Retry` that was mounted did nothing:
//!
//! - *One scheme was mounted.* `session.mount("https://", ..)` says nothing of `http://`. Here a
//!   policy is for every URL, unless it is in [`Mounts`](crate::mounts::Mounts), which name the
//!   nearest mount when a request has none.
//! - *The method was not allowed.* POST is not in `allowed_methods`, there and here. Here the
//!   report says so.
//! - *A connection error was taken for a status.* A `status_forcelist` says nothing of
//!   connections that fail, which `connect` and `read` count.
//!
//! | there | here |
//! | --- | --- |
//! | `Retry(total=5, backoff_factor=0.5, status_forcelist=[502, 503])` | [`RetryPolicy::urllib3_builder()`](crate::policy::RetryPolicy::urllib3_builder)`.total(5).backoff_factor(0.5).status_forcelist([502, 503])` |
//! | `Retry(3)`, `Retry(False)`, `Retry(None)` | [`Limit::AtMost(3)`](crate::policy::Limit), `Limit::Never`, `Limit::Unlimited` |
//! | `allowed_methods=None` | [`Methods::any()`](crate::policy::Methods) |
//! | `allowed_methods=[]` (which means any) | `Methods::any()`; an empty list means none here |
//! | `session.mount(prefix, HTTPAdapter(max_retries=retry))` | [`Mounts::new().mount(prefix, policy)`](crate::mounts::Mounts) |
//! | `MaxRetryError`, `RetryError`, `ResponseError` | [`RetryError`](crate::RetryError), one type; with `raise_on_status(false)` the last response |
//! | `retries.history` | [`RetryReport::attempts`](crate::RetryReport) |
//! | `redirect=5`, `remove_headers_on_redirect` | [`redirect(5)`](crate::policy::RetryPolicyBuilder::redirect), and a layer of its own above: `redirect::RedirectLayer` (feature `redirect`) |
//!
//! The same arguments as a document are read by `import::urllib3` (feature `serde`), which lists
//! what does not translate.
//!
//! ```
//! use tower_http_retry::{mounts::Mounts, policy::RetryPolicy};
//!
//! let retry = RetryPolicy::urllib3_builder()
//!     .total(5)
//!     .backoff_factor(0.5)
//!     .status_forcelist([502, 503, 504])
//!     .build()?;
//! // Both schemes, as two lines of `session.mount` would.
//! let mounts = Mounts::new().mount_all(retry);
//! # let _ = mounts;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # From Polly and .NET
//!
//! | there | here |
//! | --- | --- |
//! | `AddRetry(new HttpRetryStrategyOptions { MaxRetryAttempts = 3 })` | [`total(3)`](crate::policy::RetryPolicyBuilder::total) |
//! | `BackoffType = Exponential`, `Delay`, `MaxDelay`, `UseJitter = true` | [`Backoff::exponential(delay).max(max)`](crate::policy::Backoff::exponential) with [`Jitter::Decorrelated`](crate::policy::Jitter) |
//! | `ShouldRetryAfterHeader = true` | the default |
//! | `DisableForUnsafeHttpMethods()` | the default |
//! | `DisableFor(HttpMethod.Put)` | [`allowed_methods`](crate::policy::RetryPolicyBuilder::allowed_methods) without it |
//! | `ShouldHandle` | [`status_forcelist`](crate::policy::RetryPolicyBuilder::status_forcelist), [`classify`](crate::RetryLayer::classify) |
//! | `DelayGenerator` | [`Backoff::list`](crate::policy::Backoff::list), [`Backoff::from_fn`](crate::policy::Backoff::from_fn), or a classifier's [`RetryIn`](crate::classify::Opinion::RetryIn) |
//! | `MaxRetryAttempts = int.MaxValue` | [`total(Limit::Unlimited)`](crate::policy::Limit::Unlimited) |
//! | `OnRetry` | [`on_event`](crate::RetryLayer::on_event) |
//! | total timeout, retry, circuit breaker, attempt timeout, in this order | [`deadline`](crate::RetryLayer::deadline), the layer, a breaker below it, [`attempt_timeout`](crate::RetryLayer::attempt_timeout) |
