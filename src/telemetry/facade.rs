//! To the `metrics` facade.

use std::sync::atomic::Ordering::Relaxed;

use ::metrics::{Label, SharedString, Unit};

use super::{
    METRICS, Metrics,
    collect::{Labels, SampleValue},
    sinks::Sinks,
    table::{Id, MetricKind},
};

fn own(labels: Labels) -> Vec<Label> {
    let label = |(name, value)| Label::new(SharedString::const_str(name), value);
    labels.into_iter().map(label).collect()
}

/// Records a value in a histogram, if anything was published before.
pub(super) fn record(sinks: &Sinks, id: Id, labels: &dyn Fn() -> Labels, value: f64) {
    if sinks.facade.load(Relaxed) {
        ::metrics::histogram!(id.info().name, own(labels())).record(value);
    }
}

impl Metrics {
    /// Writes what was counted so far to the recorder of the `metrics` facade. To be called before
    /// its exporter is read, or every few seconds.
    ///
    /// The histograms go there as things happen, from the first call on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_http_retry::telemetry::Metrics;
    ///
    /// /// To be spawned.
    /// async fn publish(metrics: Metrics) {
    ///     loop {
    ///         metrics.publish();
    ///         tokio::time::sleep(Duration::from_secs(5)).await;
    ///     }
    /// }
    /// ```
    pub fn publish(&self) {
        if !self.inner.sinks.facade.swap(true, Relaxed) {
            describe();
        }
        for sample in self.snapshot().into_samples() {
            let name = sample.info.name;
            match sample.value {
                SampleValue::Counter(count) => {
                    ::metrics::counter!(name, own(sample.labels)).absolute(count);
                }
                SampleValue::Gauge(value) => {
                    ::metrics::gauge!(name, own(sample.labels)).set(value);
                }
                // It was recorded when it happened.
                SampleValue::Histogram { .. } => {}
            }
        }
    }
}

fn describe() {
    for info in METRICS {
        let unit = match info.unit {
            "s" => Unit::Seconds,
            "By" => Unit::Bytes,
            _ => Unit::Count,
        };
        match info.kind {
            MetricKind::Counter => ::metrics::describe_counter!(info.name, unit, info.help),
            MetricKind::Gauge => ::metrics::describe_gauge!(info.name, unit, info.help),
            MetricKind::Histogram => ::metrics::describe_histogram!(info.name, unit, info.help),
        }
    }
}
