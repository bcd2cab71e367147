//! To OpenTelemetry's API.

use std::sync::{Arc, Weak};

use ::opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter},
};

use super::{
    Metrics,
    cells::{ATTEMPT_BOUNDS, WAIT_BOUNDS},
    collect::{Labels, Sample, SampleValue, collect},
    metrics::Inner,
    table::{IDS, Id, MetricKind},
};

/// The instruments that are written as things happen: OpenTelemetry has none for histograms that
/// were counted elsewhere.
pub(super) struct Histograms {
    waits: Histogram<f64>,
    attempts: Histogram<f64>,
}

impl Histograms {
    fn new(meter: &Meter) -> Self {
        let make = |id: Id, bounds: &[f64]| {
            let info = id.info();
            meter
                .f64_histogram(info.otel_name)
                .with_unit(info.unit)
                .with_description(info.help)
                .with_boundaries(bounds.to_vec())
                .build()
        };
        Self {
            waits: make(Id::Waits, &WAIT_BOUNDS),
            attempts: make(Id::RequestAttempts, &ATTEMPT_BOUNDS),
        }
    }

    pub(super) fn wait(&self, labels: &Labels, seconds: f64) {
        self.waits.record(seconds, &attributes(labels));
    }

    pub(super) fn attempts(&self, labels: &Labels, attempts: f64) {
        self.attempts.record(attempts, &attributes(labels));
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    let attribute = |(name, value): &(&'static str, std::borrow::Cow<'static, str>)| {
        KeyValue::new(*name, value.to_string())
    };
    labels.iter().map(attribute).collect()
}

fn samples(inner: &Weak<Inner>, id: Id) -> Vec<Sample> {
    let mut samples = Vec::new();
    if let Some(inner) = inner.upgrade() {
        collect(&inner, id, &mut samples);
    }
    samples
}

impl Metrics {
    /// Makes instruments of `meter` for all that is counted. Its provider reads them when it
    /// collects; the histograms are written as things happen. A second call has no effect on the
    /// histograms.
    ///
    /// ```
    /// use tower_http_retry::telemetry::Metrics;
    ///
    /// let metrics = Metrics::new();
    /// metrics.register(&opentelemetry::global::meter("tower_http_retry"));
    /// ```
    pub fn register(&self, meter: &Meter) {
        for id in IDS {
            let (id, info) = (*id, id.info());
            // Weak, since the instruments live in it, too.
            let inner = Arc::downgrade(&self.inner);
            match info.kind {
                MetricKind::Counter => {
                    let read =
                        move |observer: &dyn ::opentelemetry::metrics::AsyncInstrument<u64>| {
                            for sample in samples(&inner, id) {
                                if let SampleValue::Counter(count) = sample.value {
                                    observer.observe(count, &attributes(&sample.labels));
                                }
                            }
                        };
                    meter
                        .u64_observable_counter(info.otel_name)
                        .with_unit(info.unit)
                        .with_description(info.help)
                        .with_callback(read)
                        .build();
                }
                MetricKind::Gauge => {
                    let read =
                        move |observer: &dyn ::opentelemetry::metrics::AsyncInstrument<f64>| {
                            for sample in samples(&inner, id) {
                                if let SampleValue::Gauge(value) = sample.value {
                                    observer.observe(value, &attributes(&sample.labels));
                                }
                            }
                        };
                    meter
                        .f64_observable_gauge(info.otel_name)
                        .with_unit(info.unit)
                        .with_description(info.help)
                        .with_callback(read)
                        .build();
                }
                MetricKind::Histogram => {}
            }
        }
        let sinks = &self.inner.sinks;
        let _ = sinks.opentelemetry.get_or_init(|| Histograms::new(meter));
    }
}
