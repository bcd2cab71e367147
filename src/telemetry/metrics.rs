//! [`Metrics`]: the counters of all requests, and how they are counted by what.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use http::{Method, StatusCode, Uri};

use super::{
    builder::MetricsBuilder,
    cells::{self, Ending, Series},
    collect::{Labels, MetricsSnapshot},
    sinks::Sinks,
};
use crate::{
    budget::{RetryBudget, Scope, table::Table},
    reason::Note,
    report::{AttemptOutcome, AttemptRecord, RetryReport},
    throttle::AdaptiveThrottle,
};

/// Counts what happens to all requests of a layer; see [the module](super).
///
/// # Clone
///
/// Clones count together: one for the layer, one for whoever reads.
///
/// ```
/// use tower_http_retry::{RetryLayer, policy::RetryPolicy, telemetry::Metrics};
///
/// let metrics = Metrics::new();
/// let layer = RetryLayer::new(RetryPolicy::default()).metrics(metrics.clone());
/// # let _ = layer;
/// // … and after some requests:
/// let now = metrics.snapshot();
/// let recovered = now.count("tower_http_retry_requests_total", &[("outcome", "recovered")]);
/// assert_eq!(recovered, Some(0));
/// ```
#[derive(Clone)]
pub struct Metrics {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) service: Option<Box<str>>,
    /// Of all requests, or of those that have no series of their own.
    pub(super) all: Series,
    pub(super) route: Route,
    pub(super) budgets: Vec<(Box<str>, RetryBudget)>,
    pub(super) throttles: Vec<(Box<str>, AdaptiveThrottle)>,
    pub(super) sinks: Sinks,
}

type FindMount = Box<dyn Fn(&Uri) -> Option<usize> + Send + Sync>;

/// Which requests are counted together.
pub(super) enum Route {
    All,
    ByMount {
        find: FindMount,
        mounts: Box<[(Box<str>, Series)]>,
    },
    ByAuthority {
        table: Table<Authority>,
        taken: AtomicUsize,
        most: usize,
    },
}

#[derive(Debug, Default)]
pub(super) struct Authority {
    pub(super) name: OnceLock<Box<str>>,
    pub(super) series: Series,
}

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptKind {
    /// It is the first one.
    First = 0,
    /// An attempt before it failed.
    Retry = 1,
    /// An attempt before it was certainly not processed.
    Unprocessed = 2,
    /// Another one is late.
    Hedge = 3,
    /// A server answered with another URL.
    Redirect = 4,
    /// A response broke and goes on.
    Resume = 5,
    /// Another server of the same service failed.
    Endpoint = 6,
}

impl AttemptKind {
    /// The kind's name in the label `kind`.
    pub const fn as_str(self) -> &'static str {
        cells::KINDS[self as usize]
    }
}

/// Which counters a request counts with: an index, since names are needed only by those who read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeriesId(u32);

impl Metrics {
    /// Counts all requests together.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// For names, labels, and what else is to be shown.
    pub fn builder() -> MetricsBuilder {
        MetricsBuilder::new()
    }

    /// All counters as they are now. What is counted meanwhile may be in it or not.
    pub fn snapshot(&self) -> MetricsSnapshot {
        MetricsSnapshot::of(&self.inner)
    }

    /// Counts an attempt to `uri` that a layer other than [`RetryLayer`](crate::RetryLayer) sends
    /// on its own account. (The layer counts its own.)
    pub fn attempt(&self, kind: AttemptKind, uri: &Uri) {
        self.add(self.series(uri), cells::KIND + kind as usize, 1);
    }

    /// Counts a hedge to `uri` that has ended above the retries or without any: `won` if its answer was the one.
    pub fn hedge_ended(&self, won: bool, uri: &Uri) {
        self.add(self.series(uri), hedge_cell(won), 1);
    }

    /// Counts bytes of a download from `uri` that came after it broke.
    pub fn resumed(&self, bytes: u64, uri: &Uri) {
        self.add(self.series(uri), cells::RESUMED, bytes);
    }

    /// The counters of requests to `uri`.
    #[inline]
    pub(crate) fn series(&self, uri: &Uri) -> SeriesId {
        match &self.inner.route {
            Route::All => SeriesId(0),
            route => route.find(uri),
        }
    }

    /// A request succeeded at once.
    #[inline]
    pub(crate) fn first_try(&self, series: SeriesId, method: &Method, status: StatusCode) {
        let cell = cells::request_cell(
            Ending::FirstTry,
            cells::method_index(method),
            cells::class_index(status),
        );
        self.add(series, cell, 1);
    }

    /// A retry is sent, which carries so many bytes of a recorded body.
    pub(crate) fn retried(&self, series: SeriesId, kind: AttemptKind, recorded: u64) {
        self.add(series, cells::KIND + kind as usize, 1);
        if recorded > 0 {
            self.add(series, cells::REPLAYED, recorded);
        }
    }

    /// An attempt failed, and the next one is waited for.
    pub(crate) fn retrying(&self, series: SeriesId, record: &AttemptRecord) {
        self.hedged(series, record);
        let Some(wait) = record.wait.as_ref().map(|wait| wait.planned) else {
            return;
        };
        self.add(series, cells::WAITS + cells::wait_bucket(wait), 1);
        self.add(series, cells::WAITED_US, cells::micros(wait));
        let labels = || self.inner.labels(series.0);
        self.inner.sinks.wait(&labels, wait.as_secs_f64());
    }

    /// Counts the hedge of an attempt that has ended, if there was one.
    fn hedged(&self, series: SeriesId, record: &AttemptRecord) {
        for note in record.notes() {
            if let Note::Hedged { won, .. } = note {
                self.add(series, cells::KIND + AttemptKind::Hedge as usize, 1);
                self.add(series, hedge_cell(*won), 1);
            }
        }
    }

    /// A request has ended, but not simply with success.
    pub(crate) fn finished(&self, series: SeriesId, report: &RetryReport) {
        let attempts = u64::try_from(report.attempt_count()).unwrap_or(u64::MAX);
        let ending = match (report.stop.is_success(), attempts) {
            (true, 0 | 1) => Ending::FirstTry,
            (true, _) => Ending::Recovered,
            (false, 0 | 1) => Ending::FailedWithoutRetry,
            (false, _) => Ending::FailedAfterRetries,
        };
        let class = match report.attempts.last().map(|last| &last.outcome) {
            Some(AttemptOutcome::Response(status)) => cells::class_index(*status),
            Some(AttemptOutcome::Failed { .. }) | None => 0,
        };
        let method = cells::method_index(&report.method);
        self.add(series, cells::request_cell(ending, method, class), 1);
        // The others were counted when their waits began.
        if let Some(last) = report.attempts.last().filter(|last| last.wait.is_none()) {
            self.hedged(series, last);
        }
        if attempts == 0 {
            // The first attempts are the requests, but for those that were never sent.
            self.add(series, cells::UNSENT, 1);
        }
        if attempts > 1 {
            self.add(series, cells::ATTEMPTS + cells::attempt_bucket(attempts), 1);
            self.add(series, cells::ATTEMPTED, attempts);
            let labels = || self.inner.labels(series.0);
            self.inner.sinks.attempts(&labels, attempts as f64);
        }
        if !report.held.is_zero() {
            self.add(series, cells::HELD, 1);
        }
        if !report.stop.is_success() {
            self.suppressed(series, report.stop.name());
        }
    }

    /// Nothing was sent, or sent again, for this reason.
    pub(crate) fn suppressed(&self, series: SeriesId, reason: &'static str) {
        self.add(series, cells::SUPPRESSED + cells::reason_index(reason), 1);
    }

    /// Nobody wants the answer any more.
    pub(crate) fn dropped(&self, series: SeriesId, method: &Method, sent: bool) {
        let method = cells::method_index(method);
        self.add(series, cells::request_cell(Ending::Dropped, method, 0), 1);
        if !sent {
            self.add(series, cells::UNSENT, 1);
        }
    }

    #[inline]
    fn add(&self, series: SeriesId, cell: usize, count: u64) {
        let series = match series {
            SeriesId(0) => &self.inner.all,
            SeriesId(index) => self.inner.route.series(index).unwrap_or(&self.inner.all),
        };
        series.add(cell, count);
    }
}

fn hedge_cell(won: bool) -> usize {
    match won {
        true => cells::HEDGES_WON,
        false => cells::HEDGES_LOST,
    }
}

impl Route {
    #[inline(never)]
    fn find(&self, uri: &Uri) -> SeriesId {
        let index = match self {
            Self::All => None,
            Self::ByMount { find, .. } => find(uri).and_then(|number| u32::try_from(number).ok()),
            Self::ByAuthority { table, taken, most } => {
                let key = Scope::PerAuthority.slot(uri).0;
                if table.find(key).is_none() {
                    let free = |taken: usize| (taken < *most).then_some(taken + 1);
                    if taken.fetch_update(Relaxed, Relaxed, free).is_err() {
                        return SeriesId(0);
                    }
                }
                table.claim(key, |_| None).map(|place| {
                    place.value.name.get_or_init(|| name(uri));
                    place.index
                })
            }
        };
        SeriesId(index.map_or(0, |index| index.saturating_add(1)))
    }

    fn series(&self, id: u32) -> Option<&Series> {
        let index = id.checked_sub(1)?;
        match self {
            Self::All => None,
            Self::ByMount { mounts, .. } => Some(&mounts.get(index as usize)?.1),
            Self::ByAuthority { table, .. } => Some(&table.get(index)?.series),
        }
    }

    fn name(&self, id: u32) -> Option<&str> {
        let index = id.checked_sub(1)?;
        match self {
            Self::All => None,
            Self::ByMount { mounts, .. } => Some(&mounts.get(index as usize)?.0),
            Self::ByAuthority { table, .. } => table.get(index)?.name.get().map(|name| &**name),
        }
    }

    /// How many ids there are.
    fn len(&self) -> u32 {
        let own = match self {
            Self::All => 0,
            Self::ByMount { mounts, .. } => mounts.len(),
            Self::ByAuthority { table, .. } => table.len(),
        };
        u32::try_from(own).map_or(u32::MAX, |own| own.saturating_add(1))
    }
}

/// Host and port, without userinfo.
fn name(uri: &Uri) -> Box<str> {
    let host = uri.host().unwrap_or("").to_ascii_lowercase();
    match uri.port_u16() {
        Some(port) => format!("{host}:{port}").into(),
        None => host.into(),
    }
}

impl Inner {
    /// Every set of labels under which something was counted.
    pub(super) fn all_series(&self) -> impl Iterator<Item = (u32, &Series)> {
        (0..self.route.len())
            .filter_map(|id| match id {
                0 => Some((0, &self.all)),
                id => Some((id, self.route.series(id)?)),
            })
            .filter(|(_, series)| series.is_used())
    }

    /// The label that everything has.
    pub(super) fn service_label(&self) -> Labels {
        let label = |name: &str| ("service", Cow::Owned(name.to_owned()));
        self.service.as_deref().map(label).into_iter().collect()
    }

    /// The labels of a series.
    pub(super) fn labels(&self, id: u32) -> Labels {
        let mut labels = self.service_label();
        let own = self.route.name(id).map(|name| Cow::Owned(name.to_owned()));
        match &self.route {
            Route::All => {}
            Route::ByMount { .. } => labels.push(("mount", own.unwrap_or("none".into()))),
            Route::ByAuthority { .. } => {
                labels.push(("server_address", own.unwrap_or("_OTHER".into())));
            }
        }
        labels
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("service", &self.inner.service)
            .finish_non_exhaustive()
    }
}
