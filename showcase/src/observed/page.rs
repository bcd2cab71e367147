//! A page of Prometheus's text format, as far as a dashboard asks about it.

use std::collections::BTreeMap;

/// What a page said at one moment.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// When it was read, in seconds.
    pub at: f64,
    samples: BTreeMap<String, f64>,
}

impl Page {
    /// Reads the page that was there `at` so many seconds.
    pub fn read(at: f64, text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self {
            at,
            samples: lines.filter_map(sample).collect(),
        }
    }

    /// The lines about this crate's metrics that are not those of the page before, without the
    /// buckets of histograms.
    pub fn news(&self, before: &Self) -> Vec<String> {
        let own = self.samples.iter().filter(|(name, _)| {
            name.starts_with("tower_http_retry_") && !name.contains("_bucket{")
        });
        let new = own.filter(|(name, value)| before.samples.get(*name) != Some(value));
        new.map(|(name, value)| format!("{name} {value}")).collect()
    }

    /// The sum over all samples of a metric that have each of these labels, written as
    /// `name="value"`.
    pub fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        self.matching(metric, labels).map(|(_, value)| value).sum()
    }

    /// The values of a label of a metric.
    pub fn values(&self, metric: &str, label: &str) -> Vec<String> {
        let start = format!("{label}=\"");
        let mut all: Vec<_> = self
            .matching(metric, &[])
            .filter_map(|(name, _)| {
                let (_, rest) = name.split_once(&start)?;
                Some(rest.split('"').next()?.to_owned())
            })
            .collect();
        all.dedup();
        all.sort();
        all.dedup();
        all
    }

    fn matching<'a>(
        &'a self,
        metric: &'a str,
        labels: &'a [&str],
    ) -> impl Iterator<Item = (&'a String, f64)> {
        let all = self.samples.iter().filter(move |(name, _)| {
            let (own, rest) = name.split_once('{').unwrap_or((name, ""));
            own == metric && labels.iter().all(|label| rest.contains(label))
        });
        all.map(|(name, value)| (name, *value))
    }

    /// By how much a sum has grown since the page before, each second.
    pub fn rate(&self, before: &Self, metric: &str, labels: &[&str]) -> f64 {
        let grown = self.sum(metric, labels) - before.sum(metric, labels);
        grown / (self.at - before.at)
    }

    /// Prometheus's `histogram_quantile` of what came since the page before; `None` if nothing did.
    pub fn quantile(&self, before: &Self, quantile: f64, metric: &str) -> Option<f64> {
        let name = format!("{metric}_bucket");
        let mut buckets: Vec<(f64, f64)> = self
            .values(&name, "le")
            .iter()
            .map(|le| {
                let label = format!("le=\"{le}\"");
                let bound = le.parse().unwrap_or(f64::INFINITY);
                (bound, self.rate(before, &name, &[&label]))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = buckets.last().map_or(0.0, |last| last.1);
        let rank = quantile * all;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, up_to) in buckets {
            if all > 0.0 && up_to >= rank {
                // In the last bucket all is as long as its lower bound, as far as can be known.
                let width = if bound.is_finite() { bound - low } else { 0.0 };
                return Some(low + width * (rank - below) / (up_to - below).max(f64::MIN_POSITIVE));
            }
            (low, below) = (bound, up_to);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_prometheus_reads_it() {
        let before = Page::read(0.0, "# TYPE a counter\na{x=\"1\",y=\"2\"} 3\nb 0.5\n");
        let text = "a{x=\"1\",y=\"2\"} 5\na{x=\"2\",y=\"2\"} 4\nb 0.5\n\
                    w_bucket{le=\"1\"} 2\nw_bucket{le=\"2\"} 4\nw_bucket{le=\"+Inf\"} 4\n";
        let page = Page::read(2.0, text);
        assert_eq!(before.sum("a", &[]), 3.0);
        assert_eq!(page.sum("a", &["y=\"2\""]), 9.0);
        assert_eq!(page.rate(&before, "a", &["x=\"1\""]), 1.0);
        assert_eq!(page.values("a", "x"), ["1", "2"]);
        assert_eq!(page.quantile(&before, 0.5, "w"), Some(1.0));
        assert_eq!(page.quantile(&before, 0.75, "w"), Some(1.5));
        assert_eq!(page.quantile(&before, 0.5, "v"), None);
    }
}
