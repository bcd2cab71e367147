//! [`Metrics`]: the counters of all requests, and how they are counted by what.

use std::{
    borrow::Cow,
    fmt,
    num::NonZeroU64,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use http::{Method, StatusCode, Uri};

use super::{
    builder::MetricsBuilder,
    cells::{self, Counters, Ending, Series},
    collect::{Labels, MetricsSnapshot},
    sinks::Sinks,
};
use crate::{
    budget::{RetryBudget, Scope, host_and_port, table::Table},
    reason::Note,
    report::{AttemptOutcome, AttemptRecord, RetryReport},
    stack::Lead,
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
    pub(super) all: Counters,
    pub(super) route: Route,
    pub(super) budgets: Vec<(Box<str>, RetryBudget)>,
    pub(super) throttles: Vec<(Box<str>, AdaptiveThrottle)>,
    #[cfg(feature = "shadow")]
    pub(super) shadows: Vec<(Box<str>, Arc<crate::shadow::Tally>)>,
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

/// Why an attempt is made. Each attempt is counted under one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptKind {
    /// It is the first one of a request.
    First = 0,
    /// The attempt before it failed.
    Retry = 1,
    /// The attempt before it was certainly not processed, and cost neither a count nor a token.
    Unprocessed = 2,
    /// Another one is late.
    Hedge = 3,
    /// A server answered with another URL: it is the first attempt of the next hop.
    Redirect = 4,
    /// A response broke and goes on: it is the first attempt of a continuation.
    Resume = 5,
    /// The attempt before it failed, as for a retry, and this one goes to another server of the same
    /// service.
    Endpoint = 6,
}

impl AttemptKind {
    /// The kind's name in the label `kind`.
    pub const fn as_str(self) -> &'static str {
        cells::KINDS[self as usize]
    }
}

/// Which counters a request counts with: an index, since names are needed only by those who read;
/// and besides what little has to be known of it until it is counted, in the upper bits.
///
/// It is 0 for most requests, which one comparison tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeriesId(u32);

impl SeriesId {
    /// Whether the next attempt goes to another server.
    const ELSEWHERE: u32 = 1 << 31;
    const REDIRECTED: u32 = 1 << 30;
    const RESUMED: u32 = 1 << 29;
    const INDEX: u32 = Self::RESUMED - 1;

    fn index(self) -> u32 {
        self.0 & Self::INDEX
    }

    /// The request is sent for this reason.
    pub(crate) fn led_by(self, lead: Option<Lead>) -> Self {
        Self(match lead {
            None => self.0,
            Some(Lead::Redirect) => self.0 | Self::REDIRECTED,
            Some(Lead::Resume) => self.0 | Self::RESUMED,
        })
    }

    /// The kind of the request's first attempt.
    fn first(self) -> AttemptKind {
        match self.0 & (Self::REDIRECTED | Self::RESUMED) {
            0 => AttemptKind::First,
            Self::RESUMED => AttemptKind::Resume,
            _ => AttemptKind::Redirect,
        }
    }

    /// Its next attempt goes to the same server again, or does not.
    pub(crate) fn goes(self, elsewhere: bool) -> Self {
        match elsewhere {
            false => Self(self.0 & !Self::ELSEWHERE),
            true => Self(self.0 | Self::ELSEWHERE),
        }
    }

    /// The kind of a retry.
    fn retry(self, processed: bool) -> AttemptKind {
        match (processed, self.0 & Self::ELSEWHERE) {
            (false, _) => AttemptKind::Unprocessed,
            (true, 0) => AttemptKind::Retry,
            (true, _) => AttemptKind::Endpoint,
        }
    }
}

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

    /// Counts an attempt to `uri` that a layer of one's own sends on its own account. (This crate's
    /// count their own.)
    pub fn attempt(&self, kind: AttemptKind, uri: &Uri) {
        self.attempted(self.series(uri), kind);
    }

    /// Counts a hedge to `uri` that has ended above the retries or without any: `won` if its answer was the one.
    pub fn hedge_ended(&self, won: bool, uri: &Uri) {
        self.count(self.series(uri), hedge_cell(won));
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
    #[inline(always)]
    pub(crate) fn first_try(&self, series: SeriesId, method: &Method, status: StatusCode) {
        if series != SeriesId(0) || !self.inner.all.count_first_try(method, status) {
            self.count_first_try(series, method, status);
        }
    }

    #[inline(never)]
    fn count_first_try(&self, series: SeriesId, method: &Method, status: StatusCode) {
        let (method, class) = (cells::method_index(method), cells::class_index(status));
        let cell = cells::request_cell(Ending::FirstTry, method, class);
        self.ended(series, cell, true);
    }

    /// A request has ended, whose first attempt was sent or was not.
    fn ended(&self, series: SeriesId, cell: usize, sent: bool) {
        let counters = self.counters(series);
        let first = series.first();
        // What has to be left out is known before that of which it is.
        if !sent || first != AttemptKind::First {
            counters.count(cells::NOT_FIRST);
        }
        if sent && first != AttemptKind::First {
            counters.count(cells::KIND + first as usize);
        }
        counters.count(cell);
    }

    /// An attempt is sent.
    pub(crate) fn attempted(&self, series: SeriesId, kind: AttemptKind) {
        self.count(series, cells::KIND + kind as usize);
    }

    /// A retry is sent: because the request was not `processed`, or failed. It carries so many
    /// bytes of a recorded body.
    pub(crate) fn retried(&self, series: SeriesId, processed: bool, recorded: u64) {
        self.attempted(series, series.retry(processed));
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
        self.count(series, cells::WAITS + cells::wait_bucket(wait));
        self.add(series, cells::WAITED_US, cells::micros(wait));
        let labels = || self.inner.labels(series.index());
        self.inner.sinks.wait(&labels, wait.as_secs_f64());
    }

    /// Counts the hedge of an attempt that has ended, if there was one.
    fn hedged(&self, series: SeriesId, record: &AttemptRecord) {
        for note in record.notes() {
            if let Note::Hedged { won, .. } = note {
                self.attempted(series, AttemptKind::Hedge);
                self.count(series, hedge_cell(*won));
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
        let cell = cells::request_cell(ending, method, class);
        self.ended(series, cell, attempts > 0);
        // The others were counted when their waits began.
        if let Some(last) = report.attempts.last().filter(|last| last.wait.is_none()) {
            self.hedged(series, last);
        }
        if attempts > 1 {
            self.count(series, cells::ATTEMPTS + cells::attempt_bucket(attempts));
            self.add(series, cells::ATTEMPTED, attempts);
            let labels = || self.inner.labels(series.index());
            self.inner.sinks.attempts(&labels, attempts as f64);
        }
        if !report.stop.is_success() {
            self.suppressed(series, report.stop.name());
        }
    }

    /// A request is held back before its first attempt, whatever comes of it.
    pub(crate) fn held(&self, series: SeriesId) {
        self.count(series, cells::HELD);
    }

    /// Nothing was sent, or sent again, for this reason.
    pub(crate) fn suppressed(&self, series: SeriesId, reason: &'static str) {
        self.count(series, cells::SUPPRESSED + cells::reason_index(reason));
    }

    /// Nobody wants the answer any more.
    pub(crate) fn dropped(&self, series: SeriesId, method: &Method, sent: bool) {
        let method = cells::method_index(method);
        let cell = cells::request_cell(Ending::Dropped, method, 0);
        self.ended(series, cell, sent);
    }

    fn counters(&self, series: SeriesId) -> &Counters {
        let own = self.inner.route.series(series.index());
        own.map_or(&self.inner.all, Series::counters)
    }

    fn count(&self, series: SeriesId, cell: usize) {
        self.counters(series).count(cell);
    }

    fn add(&self, series: SeriesId, cell: usize, count: u64) {
        self.counters(series).add(cell, count);
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
                let known = table.place_of(key);
                let known = known.filter(|place| place.value.name.get().is_some());
                match known {
                    Some(place) => Some(place.index),
                    None => enter(table, key, uri, (taken, *most)),
                }
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

/// The place of an authority that has none yet, if it may have one.
#[cold]
fn enter(
    table: &Table<Authority>,
    key: NonZeroU64,
    uri: &Uri,
    (taken, most): (&AtomicUsize, usize),
) -> Option<u32> {
    let free = |taken: usize| (taken < most).then_some(taken + 1);
    taken.fetch_update(Relaxed, Relaxed, free).ok()?;
    let mut is_new = false;
    let place = table.claim(key, |_| None);
    let index = place.map(|place| {
        place.value.name.get_or_init(|| {
            is_new = true;
            name(uri)
        });
        place.index
    });
    if !is_new {
        // Its part of the table is full, or another thread has entered it at the same moment.
        taken.fetch_sub(1, Relaxed);
    }
    index
}

/// Host and port, without userinfo: one name for what has one place in the table, whose key is made
/// of the same.
fn name(uri: &Uri) -> Box<str> {
    let Some(authority) = uri.authority() else {
        return "none".into();
    };
    let (host, port) = host_and_port(authority.as_str().as_bytes());
    let host = String::from_utf8_lossy(host).to_ascii_lowercase();
    let port = port.or_else(|| match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    });
    match port {
        Some(port) => format!("{host}:{port}").into(),
        None => host.into(),
    }
}

impl Inner {
    /// Every set of labels under which something was counted.
    pub(super) fn all_series(&self) -> impl Iterator<Item = (u32, &Counters)> {
        (0..self.route.len()).filter_map(|id| match id {
            0 => Some((0, &self.all)),
            id => Some((id, self.route.series(id)?.used()?)),
        })
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
