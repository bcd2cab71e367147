//! [`MetricsBuilder`].

use std::{
    fmt,
    sync::{Arc, atomic::AtomicUsize},
};

use super::{
    Metrics,
    cells::{Counters, Series},
    metrics::{Inner, Route},
    sinks::Sinks,
};
use crate::{
    budget::{RetryBudget, table::Table},
    mounts::Mounts,
    throttle::AdaptiveThrottle,
};

/// Builds [`Metrics`].
///
/// ```
/// use tower_http_retry::{
///     RetryLayer,
///     budget::RetryBudget,
///     policy::RetryPolicy,
///     telemetry::Metrics,
/// };
///
/// let budget = RetryBudget::default();
/// let metrics = Metrics::builder()
///     .service("orders")
///     .by_authority(20)
///     .budget("default", &budget)
///     .build();
/// let policy = RetryPolicy::builder().budget(budget).build()?;
/// let layer = RetryLayer::new(policy).metrics(metrics.clone());
/// # let _ = layer;
/// # Ok::<_, tower_http_retry::policy::InvalidPolicy>(())
/// ```
#[must_use]
pub struct MetricsBuilder {
    service: Option<Box<str>>,
    route: Route,
    budgets: Vec<(Box<str>, RetryBudget)>,
    throttles: Vec<(Box<str>, AdaptiveThrottle)>,
    #[cfg(feature = "shadow")]
    shadows: Vec<(Box<str>, Arc<crate::shadow::Tally>)>,
}

/// So many places for each name, so that few of them meet in one set of the table.
const SPARSE: usize = 4;

impl MetricsBuilder {
    pub(super) fn new() -> Self {
        Self {
            service: None,
            route: Route::All,
            budgets: Vec::new(),
            throttles: Vec::new(),
            #[cfg(feature = "shadow")]
            shadows: Vec::new(),
        }
    }

    /// The label `service` of everything that is counted: the name of what these requests go to.
    pub fn service(mut self, name: &str) -> Self {
        self.service = Some(name.into());
        self
    }

    /// Counts the requests of each mount apart, in the label `mount`: its prefix, or `none`. In
    /// place of [`by_authority`](Self::by_authority).
    pub fn by_mount<P: 'static>(mut self, mounts: &Mounts<P>) -> Self {
        let all = mounts.iter().map(|mount| mount.prefix().into());
        self.route = Route::ByMount {
            mounts: all.map(|name| (name, Series::default())).collect(),
            find: Box::new(mounts.finder()),
        };
        self
    }

    /// Counts the requests to each host and port apart, in the label `server_address` (such as
    /// `example.com:443`): `most` of them at most, and any further one under `_OTHER`. In place of [`by_mount`](Self::by_mount).
    ///
    /// Each takes some kilobytes for each processor, here and where the metrics go to.
    pub fn by_authority(mut self, most: usize) -> Self {
        self.route = Route::ByAuthority {
            table: Table::new(most.saturating_mul(SPARSE).clamp(1, 1 << 16)),
            taken: AtomicUsize::new(0),
            most,
        };
        self
    }

    /// Shows how `budget` stands, under this name in the label `budget`.
    pub fn budget(mut self, name: &str, budget: &RetryBudget) -> Self {
        self.budgets.push((name.into(), budget.clone()));
        self
    }

    /// Shows how `throttle` stands, under this name in the label `throttle`.
    pub fn throttle(mut self, name: &str, throttle: &AdaptiveThrottle) -> Self {
        self.throttles.push((name.into(), throttle.clone()));
        self
    }

    /// Shows what `shadow` and its clones have found, under this name in the label `shadow`.
    #[cfg(feature = "shadow")]
    pub fn shadow<L>(mut self, name: &str, shadow: &crate::shadow::Shadow<L>) -> Self {
        self.shadows.push((name.into(), shadow.tally()));
        self
    }

    /// The metrics.
    pub fn build(self) -> Metrics {
        let Self {
            service,
            route,
            budgets,
            throttles,
            #[cfg(feature = "shadow")]
            shadows,
        } = self;
        Metrics {
            inner: Arc::new(Inner {
                service,
                all: Counters::default(),
                route,
                budgets,
                throttles,
                #[cfg(feature = "shadow")]
                shadows,
                sinks: Sinks::default(),
            }),
        }
    }
}

impl fmt::Debug for MetricsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsBuilder")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
