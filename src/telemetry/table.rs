//! What there is to count: [`METRICS`].

use super::cells::{ATTEMPT_BOUNDS, WAIT_BOUNDS};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A number that only grows.
    Counter,
    /// A number of this moment.
    Gauge,
    /// How many values there were up to each bound, and their sum.
    Histogram,
}

impl MetricKind {
    /// The kind's name, as Prometheus has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One row of [`METRICS`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct MetricInfo {
    /// The name, as Prometheus has it.
    pub name: &'static str,
    /// The name in OpenTelemetry, of which its Prometheus exporters make the other.
    pub otel_name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// What it is counted in, in the notation of [UCUM](https://ucum.org/ucum).
    pub unit: &'static str,
    /// The upper bounds of a histogram's buckets, for exporters that have to be told.
    pub bounds: &'static [f64],
    /// The labels that it always has.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Those of the histogram of this name.
const fn bounds(name: &str) -> &'static [f64] {
    match name.as_bytes() {
        b"tower_http_retry_wait_seconds" => &WAIT_BOUNDS,
        b"tower_http_retry_request_attempts" => &ATTEMPT_BOUNDS,
        _ => &[],
    }
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal, $otel:literal, $unit:literal, $labels:expr, $help:literal;)*) => {
        /// The metrics by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Id { $($id),* }

        /// All metrics, in the order of [the table](super#what-is-counted).
        pub const METRICS: &[MetricInfo] = &[$(MetricInfo {
            name: concat!("tower_http_retry_", $name),
            otel_name: concat!("tower_http_retry.", $otel),
            kind: MetricKind::$kind,
            unit: $unit,
            bounds: bounds(concat!("tower_http_retry_", $name)),
            labels: &$labels,
            help: $help,
        }),*];

        pub(super) const IDS: &[Id] = &[$(Id::$id),*];
    };
}

metrics! {
    Requests Counter "requests_total", "requests", "{request}", ["outcome", "method", "status"],
        "requests that have ended, by how";
    Attempts Counter "attempts_total", "attempts", "{attempt}", ["kind"],
        "attempts that were sent, by why";
    Suppressed Counter "suppressed_total", "suppressed", "{request}", ["reason"],
        "requests that failed and were not sent again, by the reason";
    Waits Histogram "wait_seconds", "wait", "s", [],
        "planned waits before attempts";
    RequestAttempts Histogram "request_attempts", "request_attempts", "{attempt}", [],
        "attempts of each request that took more than one";
    Held Counter "held_total", "held", "{request}", [],
        "requests that were held back before their first attempt";
    Hedges Counter "hedges_total", "hedges", "{attempt}", ["result"],
        "hedges that ended, by whether theirs was the answer";
    Replayed Counter "replayed_bytes_total", "replayed", "By", [],
        "bytes of recorded bodies that were kept for a retry that was sent";
    Resumed Counter "resumed_bytes_total", "resumed", "By", [],
        "bytes of downloads that came after they broke";
    BudgetRetries Counter "budget_retries_total", "budget.retries", "{attempt}", ["budget", "answer"],
        "retries that a budget was asked for, by what it said";
    BudgetBalance Gauge "budget_balance_ratio", "budget.balance", "1", ["budget"],
        "what is left in a budget's emptiest bucket, of a full one";
    ThrottleRefused Counter "throttle_refused_total", "throttle.refused", "{request}", ["throttle"],
        "requests that an adaptive throttle refused";
    ThrottleProbability Gauge "throttle_probability_ratio", "throttle.probability", "1", ["throttle"],
        "the highest probability with which an adaptive throttle refuses a request";
    ShadowCompared Counter "shadow_compared_total", "shadow.compared", "{decision}", ["shadow"],
        "decisions of a policy that a candidate was asked about, too";
    ShadowDisagreements Counter "shadow_disagreements_total", "shadow.disagreements", "{decision}", ["shadow", "kind"],
        "those that it would have taken otherwise, by how";
}

impl Id {
    pub(super) fn info(self) -> &'static MetricInfo {
        &METRICS[self as usize]
    }
}
