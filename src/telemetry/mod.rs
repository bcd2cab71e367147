//! What happened to all requests: counters and spans.
//!
//! A [report](crate::RetryReport) explains one request. [`Metrics`] count all of them, for those
//! who want to see whether a service recovers, what the retries cost it, and why some are not made.
//!
//! ```
//! use tower_http_retry::{RetryLayer, policy::RetryPolicy, telemetry::Metrics};
//!
//! let metrics = Metrics::builder().service("orders").build();
//! let layer = RetryLayer::new(RetryPolicy::default()).metrics(metrics.clone());
//! # let _ = layer;
//! ```
//!
//! # What is counted
//!
//! | metric | kind | labels | what it says |
//! | --- | --- | --- | --- |
//! | `tower_http_retry_requests_total` | counter | `outcome`, `method`, `status` | requests that have ended, by how |
//! | `tower_http_retry_attempts_total` | counter | `kind` | attempts that were sent, by why |
//! | `tower_http_retry_suppressed_total` | counter | `reason` | requests that failed and were not sent again, by the reason |
//! | `tower_http_retry_wait_seconds` | histogram |  | planned waits before attempts |
//! | `tower_http_retry_request_attempts` | histogram |  | attempts of each request that took more than one |
//! | `tower_http_retry_held_total` | counter |  | requests that were held back before their first attempt |
//! | `tower_http_retry_hedges_total` | counter | `result` | hedges that ended, by whether theirs was the answer |
//! | `tower_http_retry_replayed_bytes_total` | counter |  | bytes of recorded bodies that were kept for a retry that was sent |
//! | `tower_http_retry_resumed_bytes_total` | counter |  | bytes of downloads that came after they broke |
//! | `tower_http_retry_budget_retries_total` | counter | `budget`, `answer` | retries that a budget was asked for, by what it said |
//! | `tower_http_retry_budget_balance_ratio` | gauge | `budget` | what is left in a budget's emptiest bucket, of a full one |
//! | `tower_http_retry_throttle_refused_total` | counter | `throttle` | requests that an adaptive throttle refused |
//! | `tower_http_retry_throttle_probability_ratio` | gauge | `throttle` | the highest probability with which an adaptive throttle refuses a request |
//! | `tower_http_retry_shadow_compared_total` | counter | `shadow` | decisions of a policy that a candidate was asked about, too |
//! | `tower_http_retry_shadow_disagreements_total` | counter | `shadow`, `kind` | those that it would have taken otherwise, by how |
//!
//! - `outcome` is `first_try`, `recovered`, `failed_without_retry`, `failed_after_retries`, or
//!   `dropped` if nobody waited for the end.
//! - `status` is the class of the last status, such as `5xx`, or `none`; `method` is a method of
//!   RFC 9110, `PATCH`, or `_OTHER`.
//! - `kind` is an [`AttemptKind`], and each attempt has one of them; `reason` is a [`StopReason`](crate::policy::StopReason::name)'s
//!   name; that of a shadow is the
//!   name of a `DisagreementKind`; `result` is `won` or `lost`; `answer` is `granted`, `refused` or `given_back`.
//! - [`RetryLayer`](crate::RetryLayer) counts what layers below it do as well: they tell it of hedges,
//!   and of attempts that go to another server. To it, each hop of a redirect and each continuation of
//!   a download is a request of its own; the layers above tell it why it is sent, and its first
//!   attempt is of the kind `redirect` or `resume`. Only `ResumeLayer` has something of its own to
//!   count, the bytes: it is given the metrics, too.
//! - All have the label `service` if it was [named](MetricsBuilder::service), and `mount` or
//!   `server_address` where requests are counted [by mount](MetricsBuilder::by_mount) or [by
//!   authority](MetricsBuilder::by_authority).
//!
//! The names are those of Prometheus. OpenTelemetry's are in [`METRICS`]; its Prometheus exporters
//! make these of them.
//!
//! # Where it goes
//!
//! | to | how |
//! | --- | --- |
//! | tests, and systems of one's own | [`Metrics::snapshot`] |
//! | the `metrics` facade, and so Prometheus | `Metrics::publish` (feature `metrics`) |
//! | OpenTelemetry | `Metrics::register` (feature `opentelemetry`) |
//!
//! Other exporters' formats are their libraries' affair. `examples/dashboard` of the repository has
//! a dashboard for Grafana and alerts for Prometheus.
//!
//! # What it costs
//!
//! A request that succeeds at once adds 1 to one counter of its thread's shard: no lock, no
//! allocation, no clock; 29 instructions (`cargo bench -p benches --features seen --bench counted`
//! holds it at 30). [By mount](MetricsBuilder::by_mount) and [by
//! authority](MetricsBuilder::by_authority) it is looked up first which one that is. Everything
//! else is counted where something failed, or was asked for. Reading walks through all counters.
//!
//! # Spans
//!
//! [`AttemptSpanLayer`], below the retries, makes a span of each attempt.

mod builder;
mod cells;
mod collect;
#[cfg(feature = "metrics")]
mod facade;
mod metrics;
#[cfg(feature = "opentelemetry")]
mod opentelemetry;
mod sinks;
mod spans;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use self::metrics::SeriesId;
pub use self::{
    builder::MetricsBuilder,
    collect::{MetricsSnapshot, Sample, SampleValue},
    metrics::{AttemptKind, Metrics},
    spans::{AttemptSpan, AttemptSpanFuture, AttemptSpanLayer},
    table::{METRICS, MetricInfo, MetricKind},
};
