//! Policies for the APIs that most programs call.
//!
//! Each recipe is a document that can be copied, and where a document cannot say it, a classifier.
//! Both are files of this crate, and a test plays the API's answers to them. They are used like
//! this (feature `serde`):
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "serde")] {
//! # std::env::set_current_dir("src/guide/recipes")?;
//! use tower_http_retry::{RetryLayer, classify::{Exchange, Opinion}, config::RetryConfig};
//!
//! # fn github(_: &Exchange<'_>) -> Opinion { Opinion::NoOpinion }
//! let config: RetryConfig = toml::from_str(&std::fs::read_to_string("github.toml")?)?;
//! let layer = RetryLayer::new(config.build()?).classify_exchange(github);
//! # let _ = layer;
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # GitHub
//!
//! GitHub answers 403 or 429 to what is over its limits. The primary limit, of requests an hour,
//! names the time of its end in `x-ratelimit-reset`; the secondary ones, of too many at once, say
//! `Retry-After`. [GitHub's rules] ask for a minute where neither is there, and for fewer requests
//! at a time, not only later ones: share the hints
//! ([`SharedHints`](crate::shared_hints::SharedHints)).
//!
//! ```toml
#![doc = include_str!("github.toml")]
//! ```
//!
//! ```
#![doc = include_str!("github.rs")]
//! ```
//!
//! # OpenAI, Anthropic, and APIs like theirs
//!
//! Their own clients make two retries, wait for half a second and then twice as long each time,
//! and obey `retry-after-ms`, `Retry-After` and `x-should-retry`. They repeat every POST. Here one
//! is repeated if it was turned down; give it an idempotency key where the API knows one
//! ([`idempotency_keys_with`](crate::RetryLayer::idempotency_keys_with)), and it is repeated after
//! a broken connection, too. An `attempt_timeout` has to be longer than the longest answer takes
//! until its head, which without streaming is the whole of it.
//!
//! ```toml
#![doc = include_str!("llm.toml")]
//! ```
//!
//! ```
#![doc = include_str!("llm.rs")]
//! ```
//!
//! # Stripe
//!
//! Stripe keeps the first answer to an idempotency key and gives it again, so that with a key
//! ([`idempotency_keys_with`](crate::RetryLayer::idempotency_keys_with)) every POST may be
//! repeated. `Stripe-Should-Retry: false` forbids it; `true` is no reason by itself. A 409 without
//! a key is a conflict that another try does not solve: see
//! [`Idempotent`](crate::policy::Idempotent).
//!
//! ```toml
#![doc = include_str!("stripe.toml")]
//! ```
//!
//! # Kubernetes
//!
//! A full API server answers 429 with `Retry-After`, to every verb and before it looks at the
//! request. kube's own retries are to be switched off (`config.default_retry = false`), or they
//! multiply with these.
//!
//! ```toml
#![doc = include_str!("kubernetes.toml")]
//! ```
//!
//! ```
#![doc = include_str!("kubernetes.rs")]
//! ```
//!
//! # S3
//!
//! `SlowDown` is a 503, and one bucket's trouble. Copying and completing an upload can answer 200
//! and say in the body that it failed: `peek::PeekLayer` (feature `peek`) looks into it.
//!
//! ```toml
#![doc = include_str!("s3.toml")]
//! ```
//!
//! # Docker Hub
//!
//! ```toml
#![doc = include_str!("docker_hub.toml")]
//! ```
//!
//! # Discord
//!
//! Discord has limits for each route and one for all of them. Requests that are turned down too
//! often cost the client its access, so a limit is waited for by its own words.
//!
//! ```toml
#![doc = include_str!("discord.toml")]
//! ```
//!
//! ```
#![doc = include_str!("discord.rs")]
//! ```
//!
//! # gRPC
//!
//! A policy for gRPC is a preset of its own, and a service config is read as it is, timeouts
//! included: see [`policy`](crate::policy).
//!
//! Below the retries belongs a `grpc::GrpcLayer` (feature `grpc`), or failures that come in trailers
//! are taken for successes: nothing is repeated, and nothing reported. The report of a failure that
//! was seen without it has a note about that
//! ([`Note::GrpcHeadOnly`](crate::policy::Note::GrpcHeadOnly)).
//!
#![cfg_attr(feature = "grpc", doc = "```")]
#![cfg_attr(not(feature = "grpc"), doc = "```ignore")]
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
//! # Webhooks to anybody's server
//!
//! What is delivered has to be known by a number of its own, for it may arrive twice. Hosts are
//! chosen by others: each has a budget of its own, as many as `slots` at most, and none of them
//! decides how long the sender waits.
//!
//! ```toml
#![doc = include_str!("webhooks.toml")]
//! ```
//!
//! [GitHub's rules]: https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
