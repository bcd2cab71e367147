//! Reads the counters: [`MetricsSnapshot`].

use std::borrow::Cow;

use tokio::time::Instant;

use super::{
    cells::{self, Counters},
    metrics::Inner,
    table::{IDS, Id, METRICS, MetricInfo},
};

/// Those that only one metric has.
type OwnLabels = [(&'static str, &'static str)];

/// The labels of a sample: names and values.
pub(super) type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// What was counted up to one moment; see [`Metrics::snapshot`](super::Metrics::snapshot).
///
/// Counters that are 0 and histograms without a value have no sample.
#[derive(Clone, Debug)]
pub struct MetricsSnapshot {
    samples: Vec<Sample>,
}

/// One metric with one set of labels.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// Which metric.
    pub info: &'static MetricInfo,
    /// Its labels: those of all, then its own.
    pub labels: Vec<(&'static str, Cow<'static, str>)>,
    /// Its value.
    pub value: SampleValue,
}

/// The value of a [`Sample`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SampleValue {
    /// So many.
    Counter(u64),
    /// So much, at this moment.
    Gauge(f64),
    /// So many values in each bucket.
    #[non_exhaustive]
    Histogram {
        /// The highest value of each bucket but the last, which has no bound.
        bounds: &'static [f64],
        /// How many values there are in each bucket alone.
        counts: Vec<u64>,
        /// Their sum.
        sum: f64,
    },
}

impl MetricsSnapshot {
    pub(super) fn of(inner: &Inner) -> Self {
        let mut samples = Vec::new();
        for id in IDS {
            collect(inner, *id, &mut samples);
        }
        Self { samples }
    }

    /// All samples, in the order of [`METRICS`].
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    #[cfg(feature = "metrics")]
    pub(super) fn into_samples(self) -> Vec<Sample> {
        self.samples
    }

    /// The sum of a counter, or the number of values in a histogram, over all samples with these
    /// labels. `None` if no metric has this name, or it is a gauge.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let info = METRICS.iter().find(|info| info.name == name)?;
        if info.kind == super::MetricKind::Gauge {
            return None;
        }
        let all = self.matching(name, labels);
        let counts = all.map(|sample| match &sample.value {
            SampleValue::Counter(count) => *count,
            SampleValue::Histogram { counts, .. } => counts.iter().sum(),
            SampleValue::Gauge(_) => 0,
        });
        Some(counts.fold(0, u64::saturating_add))
    }

    /// The highest value of a gauge over all samples with these labels, if there is any.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let all = self.matching(name, labels);
        let values = all.filter_map(|sample| match sample.value {
            SampleValue::Gauge(value) => Some(value),
            SampleValue::Counter(_) | SampleValue::Histogram { .. } => None,
        });
        values.max_by(f64::total_cmp)
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let has = |sample: &Sample, (name, value): &(&str, &str)| {
            let mut own = sample.labels.iter();
            own.any(|(own, is)| own == name && is == value)
        };
        self.samples.iter().filter(move |sample| {
            sample.info.name == name && labels.iter().all(|label| has(sample, label))
        })
    }
}

/// The samples of one metric.
pub(super) fn collect(inner: &Inner, id: Id, into: &mut Vec<Sample>) {
    match id {
        Id::BudgetRetries | Id::BudgetBalance => return collect_budgets(inner, id, into),
        Id::ThrottleRefused | Id::ThrottleProbability => {
            return collect_throttles(inner, id, into);
        }
        Id::ShadowCompared | Id::ShadowDisagreements => {
            #[cfg(feature = "shadow")]
            collect_shadows(inner, id, into);
            return;
        }
        _ => {}
    }
    for (number, series) in inner.all_series() {
        let mut add = |own: &OwnLabels, value| {
            let mut labels = inner.labels(number);
            labels.extend(
                own.iter()
                    .map(|(name, value)| (*name, Cow::Borrowed(*value))),
            );
            into.push(Sample {
                info: id.info(),
                labels,
                value,
            });
        };
        collect_series(series, id, &mut add);
    }
}

fn collect_series(series: &Counters, id: Id, add: &mut dyn FnMut(&OwnLabels, SampleValue)) {
    let mut counter = |own: &OwnLabels, count: u64| {
        if count > 0 {
            add(own, SampleValue::Counter(count));
        }
    };
    match id {
        Id::Requests => {
            for (cell, outcome, method, class) in requests() {
                let own = [("outcome", outcome), ("method", method), ("status", class)];
                counter(&own, series.get(cell));
            }
        }
        Id::Attempts => {
            for (index, kind) in cells::KINDS.iter().enumerate() {
                let count = match index {
                    0 => series.firsts(),
                    index => series.get(cells::KIND + index),
                };
                counter(&[("kind", kind)], count);
            }
        }
        Id::Suppressed => {
            for index in 0..cells::REASONS {
                let count = series.get(cells::SUPPRESSED + index);
                counter(&[("reason", cells::reason_name(index))], count);
            }
        }
        Id::Waits => {
            let sum = series.get(cells::WAITED_US) as f64 / 1e6;
            if let Some(waits) = histogram(series, cells::WAITS, &cells::WAIT_BOUNDS, sum) {
                add(&[], waits);
            }
        }
        Id::RequestAttempts => {
            let sum = series.get(cells::ATTEMPTED) as f64;
            let bounds = &cells::ATTEMPT_BOUNDS;
            if let Some(attempts) = histogram(series, cells::ATTEMPTS, bounds, sum) {
                add(&[], attempts);
            }
        }
        Id::Held => counter(&[], series.get(cells::HELD)),
        Id::Hedges => {
            counter(&[("result", "won")], series.get(cells::HEDGES_WON));
            counter(&[("result", "lost")], series.get(cells::HEDGES_LOST));
        }
        Id::Replayed => counter(&[], series.get(cells::REPLAYED)),
        Id::Resumed => counter(&[], series.get(cells::RESUMED)),
        Id::BudgetRetries
        | Id::BudgetBalance
        | Id::ThrottleRefused
        | Id::ThrottleProbability
        | Id::ShadowCompared
        | Id::ShadowDisagreements => {}
    }
}

/// The counters of requests and their labels.
fn requests() -> impl Iterator<Item = (usize, &'static str, &'static str, &'static str)> {
    let methods = cells::METHODS.len();
    let classes = cells::CLASSES.len();
    (0..cells::KIND - cells::REQUESTS).map(move |index| {
        let outcome = cells::OUTCOMES[index / classes / methods];
        let method = cells::METHODS[index / classes % methods];
        (
            cells::REQUESTS + index,
            outcome,
            method,
            cells::CLASSES[index % classes],
        )
    })
}

/// `None` without a value.
fn histogram(
    series: &Counters,
    first: usize,
    bounds: &'static [f64],
    sum: f64,
) -> Option<SampleValue> {
    let counts = (0..=bounds.len()).map(|at| series.get(first + at));
    let counts: Vec<u64> = counts.collect();
    counts
        .iter()
        .any(|count| *count > 0)
        .then_some(SampleValue::Histogram {
            bounds,
            counts,
            sum,
        })
}

fn collect_budgets(inner: &Inner, id: Id, into: &mut Vec<Sample>) {
    let now = Instant::now().into_std();
    for (name, budget) in &inner.budgets {
        let mut add = |answer: Option<&'static str>, value| {
            let mut labels = inner.service_label();
            labels.push(("budget", name.to_string().into()));
            labels.extend(answer.map(|answer| ("answer", answer.into())));
            into.push(Sample {
                info: id.info(),
                labels,
                value,
            });
        };
        if id == Id::BudgetBalance {
            if let Some(fullness) = budget.lowest_fullness(now) {
                add(None, SampleValue::Gauge(fullness));
            }
            continue;
        }
        let stats = budget.stats(now);
        for (answer, count) in [
            ("granted", stats.granted),
            ("refused", stats.refused),
            ("given_back", stats.refunded),
        ] {
            add(Some(answer), SampleValue::Counter(count));
        }
    }
}

fn collect_throttles(inner: &Inner, id: Id, into: &mut Vec<Sample>) {
    let now = Instant::now().into_std();
    for (name, throttle) in &inner.throttles {
        let mut labels = inner.service_label();
        labels.push(("throttle", name.to_string().into()));
        let value = match id {
            Id::ThrottleProbability => SampleValue::Gauge(throttle.highest_probability(now)),
            _ => SampleValue::Counter(throttle.stats(now).rejected),
        };
        into.push(Sample {
            info: id.info(),
            labels,
            value,
        });
    }
}

#[cfg(feature = "shadow")]
fn collect_shadows(inner: &Inner, id: Id, into: &mut Vec<Sample>) {
    use crate::shadow::DisagreementKind;

    for (name, tally) in &inner.shadows {
        let stats = tally.stats();
        let mut add = |kind: Option<&'static str>, count| {
            let mut labels = inner.service_label();
            labels.push(("shadow", name.to_string().into()));
            labels.extend(kind.map(|kind| ("kind", kind.into())));
            into.push(Sample {
                info: id.info(),
                labels,
                value: SampleValue::Counter(count),
            });
        };
        if id == Id::ShadowCompared {
            add(None, stats.compared);
            continue;
        }
        for kind in DisagreementKind::ALL {
            add(Some(kind.name()), stats.of(kind));
        }
    }
}
