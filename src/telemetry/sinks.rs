//! Where values go that cannot be told from counters later: to the histograms of other systems.

use super::collect::Labels;

#[derive(Default)]
pub(super) struct Sinks {
    /// Whether somebody has asked for them.
    #[cfg(feature = "metrics")]
    pub(super) facade: std::sync::atomic::AtomicBool,
    #[cfg(feature = "opentelemetry")]
    pub(super) opentelemetry: std::sync::OnceLock<super::opentelemetry::Histograms>,
}

impl Sinks {
    /// A wait of so many seconds.
    pub(super) fn wait(&self, labels: &dyn Fn() -> Labels, seconds: f64) {
        #[cfg(feature = "metrics")]
        super::facade::record(self, super::table::Id::Waits, labels, seconds);
        #[cfg(feature = "opentelemetry")]
        if let Some(histograms) = self.opentelemetry.get() {
            histograms.wait(&labels(), seconds);
        }
        let _ = (labels, seconds);
    }

    /// A request that took so many attempts.
    pub(super) fn attempts(&self, labels: &dyn Fn() -> Labels, attempts: f64) {
        #[cfg(feature = "metrics")]
        super::facade::record(self, super::table::Id::RequestAttempts, labels, attempts);
        #[cfg(feature = "opentelemetry")]
        if let Some(histograms) = self.opentelemetry.get() {
            histograms.attempts(&labels(), attempts);
        }
        let _ = (labels, attempts);
    }
}
