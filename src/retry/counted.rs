//! Counts what happens to a request, where the layer was given metrics. Without the feature
//! `telemetry` nothing is left of it.

use http::{Method, Request, StatusCode, Uri};

use super::LayerSettings;
use crate::report::{AttemptRecord, RetryReport};
#[cfg(feature = "telemetry")]
use crate::{stack::RequestState, telemetry::SeriesId};

/// Which counters a request counts with.
#[derive(Clone, Copy, Default)]
pub(super) struct Counted {
    #[cfg(feature = "telemetry")]
    series: SeriesId,
}

#[cfg(feature = "telemetry")]
impl Counted {
    /// A request to `uri` starts, which brings nothing along.
    #[inline(always)]
    pub(super) fn start(settings: &LayerSettings, uri: &Uri) -> Self {
        match &settings.metrics {
            Some(metrics) => Self {
                series: metrics.series(uri),
            },
            None => Self::default(),
        }
    }

    /// A request starts.
    pub(super) fn start_of<B>(settings: &LayerSettings, request: &Request<B>) -> Self {
        let Self { series } = Self::start(settings, request.uri());
        let state = match settings.metrics {
            Some(_) => RequestState::of(request.extensions()),
            None => None,
        };
        Self {
            series: series.led_by(state.and_then(RequestState::take_lead)),
        }
    }

    /// It is held back before its first attempt.
    pub(super) fn held(self, settings: &LayerSettings) {
        if let Some(metrics) = &settings.metrics {
            metrics.held(self.series);
        }
    }

    /// It succeeded at once.
    #[inline(always)]
    pub(super) fn succeeded(self, settings: &LayerSettings, method: &Method, status: StatusCode) {
        if let Some(metrics) = &settings.metrics {
            metrics.first_try(self.series, method, status);
        }
    }

    /// The attempt after one that failed goes to another server or does not.
    pub(super) fn goes(&mut self, elsewhere: impl FnOnce() -> bool) {
        self.series = self.series.goes(elsewhere());
    }

    /// An attempt failed, and the next one is waited for.
    pub(super) fn retrying(self, settings: &LayerSettings, record: &AttemptRecord) {
        if let Some(metrics) = &settings.metrics {
            metrics.retrying(self.series, record);
        }
    }

    /// A retry is sent: because the request was not `processed`, or failed. It carries so many
    /// bytes of a recorded body.
    pub(super) fn retried(
        self,
        settings: &LayerSettings,
        processed: bool,
        recorded: impl FnOnce() -> u64,
    ) {
        if let Some(metrics) = &settings.metrics {
            metrics.retried(self.series, processed, recorded());
        }
    }

    /// It has ended, with a report.
    pub(super) fn finished(self, settings: &LayerSettings, report: &RetryReport) {
        if let Some(metrics) = &settings.metrics {
            metrics.finished(self.series, report);
        }
    }

    /// Nobody wants its answer any more.
    pub(super) fn dropped(self, settings: &LayerSettings, method: &Method, sent: bool) {
        if let Some(metrics) = &settings.metrics {
            metrics.dropped(self.series, method, sent);
        }
    }

    /// The service is not ready for a request.
    pub(super) fn not_ready(settings: &LayerSettings, report: &RetryReport) {
        if let Some(metrics) = &settings.metrics {
            metrics.suppressed(SeriesId::default(), report.stop.name());
        }
    }
}

#[cfg(not(feature = "telemetry"))]
impl Counted {
    #[inline(always)]
    pub(super) fn start(_: &LayerSettings, _: &Uri) -> Self {
        Self::default()
    }

    #[inline(always)]
    pub(super) fn start_of<B>(_: &LayerSettings, _: &Request<B>) -> Self {
        Self::default()
    }

    #[inline(always)]
    pub(super) fn held(self, _: &LayerSettings) {}

    #[inline(always)]
    pub(super) fn succeeded(self, _: &LayerSettings, _: &Method, _: StatusCode) {}

    #[inline(always)]
    pub(super) fn goes(&mut self, _: impl FnOnce() -> bool) {}

    #[inline(always)]
    pub(super) fn retrying(self, _: &LayerSettings, _: &AttemptRecord) {}

    #[inline(always)]
    pub(super) fn retried(self, _: &LayerSettings, _: bool, _: impl FnOnce() -> u64) {}

    #[inline(always)]
    pub(super) fn finished(self, _: &LayerSettings, _: &RetryReport) {}

    #[inline(always)]
    pub(super) fn dropped(self, _: &LayerSettings, _: &Method, _: bool) {}

    #[inline(always)]
    pub(super) fn not_ready(_: &LayerSettings, _: &RetryReport) {}
}
