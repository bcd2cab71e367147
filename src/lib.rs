//! A Tower layer that retries HTTP requests when that is safe and useful, and never fails
//! silently.
//!
//! [`RetryLayer`] wraps any [`tower::Service`] of HTTP requests. After each failed attempt it
//! decides by the rules of a [`Policy`](policy::Policy), usually a [`RetryPolicy`](policy::RetryPolicy),
//! whether to send the request again; and whenever it does not, a
//! [`StopReason`](policy::StopReason) says which knob decided.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_http_retry::{RetryLayer, RetryReport, policy::RetryPolicy};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let client = ServiceBuilder::new()
//!     .layer(
//!         RetryLayer::new(RetryPolicy::default())
//!             .attempt_timeout(Duration::from_secs(5))
//!             .deadline(Duration::from_secs(20)),
//!     )
//!     .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
//!
//! let request = Request::get("http://example.com/").body(Full::default())?;
//! match client.oneshot(request).await {
//!     Ok(response) => match response.extensions().get::<RetryReport>() {
//!         Some(report) => println!("{report}"),
//!         None => println!("{} at once", response.status()),
//!     },
//!     Err(error) => println!("{error}\n{}", error.report()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Differences from `tower::retry`
//!
//! - It knows HTTP: statuses, methods, `Retry-After`, and which errors mean that a request was
//!   never sent. `tower::retry` leaves all of that to a policy the user writes.
//! - It says why. When `tower::retry`'s policy cannot clone a request, it is not asked again, and
//!   nobody hears of it.
//! - Bodies need not be `Clone`, and one that is `Clone` is not taken for whole: see [`body`].
//! - The request is not cloned before it is known that a retry will be wanted, and a response is
//!   let go of before the wait, not after it.
//! - A failing `poll_ready` before a retry does not hide the failure that the retry was for.
//! - The error type is [`RetryError`], whatever the inner service's is; the inner error is its
//!   `source()`.
//!
//! # The names of the first hour
//!
//! | | |
//! | --- | --- |
//! | the layer | [`RetryLayer`] |
//! | when a request is sent again | [`RetryPolicy`](policy::RetryPolicy) and its [builder](policy::RetryPolicyBuilder), [`Backoff`](policy::Backoff), [`Jitter`](policy::Jitter), [`Limit`](policy::Limit), [`Methods`](policy::Methods) |
//! | what all requests may spend together | [`RetryBudget`](budget::RetryBudget) |
//! | what one request says for itself, in its extensions | [`Idempotent`](policy::Idempotent), [`RetryDisabled`](policy::RetryDisabled), [`RequestDeadline`] |
//! | what a classifier of one's own says | [`Opinion`](classify::Opinion) |
//! | what happened | [`RetryReport`], [`AttemptRecord`], [`RetryError`] and its [kind](RetryErrorKind), [`StopReason`](policy::StopReason), [`RetryEvent`] |
//!
//! # Where to look
//!
//! | question | module |
//! | --- | --- |
//! | when is a request sent again? | [`policy`] |
//! | which of a server's hints are obeyed, and how? | [`policy::hints`] |
//! | which policy has which URL? | [`mounts::Mounts`] |
//! | how does a policy come from a file, the environment, or another system? | `config::RetryConfig`, `config::import` (feature `serde`) |
//! | what counts as which failure? | [`classify`] |
//! | how is a body sent a second time? | [`body`] |
//! | how are all requests together kept from a storm? | [`budget`] |
//! | what else holds requests back, or refuses them? | [`throttle`], [`shared_hints`], [`stack::Admission`] |
//! | what does a body say that its head does not? | `peek::PeekLayer` (feature `peek`) |
//! | how does a download go on that broke? | `resume::ResumeLayer` (feature `resume`) |
//! | how do the layers of one stack talk? | [`stack`] |
//! | what was tried, and why did it stop? | [`RetryReport`], [`RetryError`], [`RetryEvent`] |
//! | would this request be retried, and why not? | [`dry_run`] |
//! | what is wrong with this policy? | [`lint`] |
//! | what would another policy have done? | [`RetryReport::replay`] |
//! | which layer goes above, which below? | [`guide::ordering`] |
//! | what is written here in place of another library's words? | [`guide::migrating`] |
//! | when does a retry have to go elsewhere? | [`guide::places`] |
//! | which policy fits GitHub, Stripe, S3? | [`guide::recipes`] |
//! | which mistakes have others made? | [`guide::anti_patterns`] |
//! | how are retries tested? | [`guide::testing`] |
//!
//! # Feature flags
//!
//! | feature | default | what it does |
//! | --- | --- | --- |
//! | `hyper` | yes | recognises the errors of hyper and of hyper-util's client |
//! | `h2` | yes | recognises HTTP/2 refusals inside of them |
//! | `tower` | yes | recognises tower's timeouts and load shedding |
//! | `tonic` | no | recognises the errors of tonic's channel; needs Rust 1.88, as tonic does |
//! | `tower-http` | no | recognises tower-http's body timeouts |
//! | `headers` | no | tells the server how often, why and until when: [`RetryLayer::deadline_header`], [`RetryLayer::attempt_header`] and others, [`RetryDepth`] |
//! | `lint` | no | what is wrong with a policy or a layer, as a list: [`lint`]; without it the log says so |
//! | `layers` | no | how layers of one stack talk, for those who write one: [`stack`] |
//! | `dry-run` | no | what would become of a request, and would have under another policy: [`dry_run`] |
//! | `mounts` | no | policies by URL prefix: [`mounts::Mounts`] |
//! | `shared-hints` | no | requests wait until the time that another one was told: [`shared_hints`] |
//! | `throttle` | no | what an overloaded server would most likely turn down is not sent: [`throttle`] |
//! | `connection` | no | leaves a connection that failed: `connection` |
//! | `endpoints` | no | several servers for one service: `endpoints` |
//! | `hedge` | no | sends what is late a second time: `hedge` |
//! | `peek` | no | looks into bodies: `peek` |
//! | `redirect` | no | follows redirects in one accounting: `redirect` |
//! | `resume` | no | goes on with broken downloads: `resume` |
//! | `shadow` | no | asks a second policy about the same requests, and counts where it disagrees: `shadow` |
//! | `telemetry` | no | counters of all requests, and spans of attempts: `telemetry` |
//! | `metrics` | no | takes the counters to the `metrics` facade |
//! | `opentelemetry` | no | takes the counters to OpenTelemetry |
//! | `veto` | no | for servers, whose own retries are used up: `veto` |
//! | `grpc` | no | the rules of gRPC: `RetryPolicy::grpc`, `policy::GrpcPolicies`; reads how its calls end, for the retries above: `grpc::GrpcLayer` |
//! | `reqwest` | no | reqwest's client with retries, its own requests in and its own responses out: `reqwest::RetryClient`; brings `redirect` along |
//! | `rustls` | no | recognises the errors of rustls by their type, not by their message |
//! | `idna` | no | [mounts](mounts::Mounts) of hosts whose names are not ASCII |
//! | `ratelimit` | no | reads the hints in `RateLimit`; see [`policy::hints`] |
//! | `reload` | no | policies that are exchanged while a service runs: `policy::Reloadable` |
//! | `serde` | no | `Serialize` and `Deserialize` for [`RetryReport`] and [dry runs](dry_run); policies as documents and from the environment: `config::RetryConfig` |
//! | `uuid` | no | idempotency keys that are UUIDs: `RetryLayer::idempotency_keys` |
//!
//! # Logs
//!
//! All `tracing` events have the target [`TARGET`]. A retry and a recovery are DEBUG, giving up is
//! WARN; each event has the fields `method`, `url` (without userinfo and query) and the outcome.
//! What [`lint`] finds in a layer is WARN, too, once when its first service is made.
//!
//! [`tower::Service`]: tower_service::Service
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod body;
pub mod budget;
pub mod classify;
#[cfg(feature = "serde")]
pub mod config;
#[cfg(feature = "connection")]
pub mod connection;
#[cfg(feature = "dry-run")]
pub mod dry_run;
#[cfg(feature = "endpoints")]
pub mod endpoints;
#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "hedge")]
pub mod hedge;
#[cfg(feature = "peek")]
pub mod peek;
#[cfg(feature = "redirect")]
pub mod redirect;
#[cfg(feature = "resume")]
pub mod resume;
#[cfg(feature = "shadow")]
pub mod shadow;
#[cfg(feature = "telemetry")]
pub mod telemetry;
#[cfg(feature = "veto")]
pub mod veto;
// Text only: nothing to compile but its examples.
#[cfg(doc)]
pub mod guide;
#[cfg(feature = "lint")]
pub mod lint;
// What a layer logs of itself needs no name.
#[cfg(not(feature = "lint"))]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod lint;
#[cfg(feature = "mounts")]
pub mod mounts;
pub mod policy;
pub mod reason;

#[cfg(any(feature = "shared-hints", feature = "throttle"))]
mod admitted;
#[cfg(test)]
mod arrows;
#[cfg_attr(not(feature = "headers"), allow(dead_code, unreachable_pub))]
mod deadline_header;
// Of rooms that are behind features.
#[allow(dead_code)]
mod dice;
mod error;
mod header_names;
mod human;
mod observe;
#[cfg_attr(not(feature = "headers"), allow(dead_code, unreachable_pub))]
mod own_header;
mod report;
#[cfg(feature = "reqwest")]
pub mod reqwest;
mod retry;
#[cfg(feature = "serde")]
mod serde_http;
#[cfg(feature = "shared-hints")]
pub mod shared_hints;
mod snapshot;
#[cfg(feature = "layers")]
pub mod stack;
// The attempt loop listens to such layers in any case.
#[cfg(not(feature = "layers"))]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod stack;
mod text;
#[cfg(feature = "throttle")]
pub mod throttle;
mod trial;

#[cfg(any(feature = "shared-hints", feature = "throttle"))]
pub use self::admitted::{Admitted, AdmittedFuture};
pub use self::{
    classify::NeverSent,
    error::{RetryError, RetryErrorKind},
    observe::{RetryEvent, TARGET},
    reason::Evidence,
    report::{AttemptOutcome, AttemptRecord, HintRecord, RetryReport, WaitRecord},
    retry::{DrainLimit, RequestDeadline, ResponseFuture, Retry, RetryContext, RetryLayer},
    stack::attempt::{AttemptInfo, PreviousOutcome},
};
#[cfg(feature = "headers")]
pub use self::{deadline_header::DeadlineHeader, own_header::OwnHeader, retry::RetryDepth};

/// A boxed error of any type, as Tower services use them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The README's snippets, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
