//! Budgets of tower's in place of this crate's, and the other way round.

use std::{fmt, sync::Arc};

use tower::retry::budget::Budget;

use super::{
    Costs, Inner, Limits, Mode, Refused, RetryBudget, Rules, Scope, Slot, Store, Withdrawal,
};
use crate::reason::FailureKind;

pub(super) struct Foreign(Arc<dyn Budget + Send + Sync>);

impl Foreign {
    pub(super) fn deposit(&self) {
        self.0.deposit();
    }

    pub(super) fn withdraw(&self) -> Result<Withdrawal, Refused> {
        if self.0.withdraw() {
            // Nothing that could be given back: the trait has no way to.
            Ok(Withdrawal { index: 0, units: 0 })
        } else {
            Err(Refused::default())
        }
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Foreign")
    }
}

impl RetryBudget {
    /// Uses a budget of tower's for all requests.
    ///
    /// It keeps its own rules and its own clock: each retry is one withdrawal whatever the
    /// failure, a retry that is cancelled is not given back, and its balance is not known.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tower::retry::budget::TpsBudget;
    /// use tower_http_retry::budget::RetryBudget;
    ///
    /// let budget = RetryBudget::from_tower(Arc::new(TpsBudget::default()));
    /// # assert_eq!(budget.capacity(), None);
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
    pub fn from_tower(budget: Arc<dyn Budget + Send + Sync>) -> Self {
        let rules = Rules {
            limits: Limits {
                capacity: 0,
                rate: 0,
            },
            deposit: 0,
            min_deposit: 0,
            costs: Costs {
                connect: 0,
                read: 0,
                status: 0,
                other: 0,
                throttled: None,
            },
            mode: Mode::Plain,
        };
        Inner::new(rules, Scope::Shared, Store::Foreign(Foreign(budget)))
    }
}

/// Reads tokio's clock. Knows no request: with another scope than [`Scope::Shared`] it uses the
/// bucket of requests that have no key, and a retry costs what [`FailureKind::Other`] does.
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
impl Budget for RetryBudget {
    fn deposit(&self) {
        RetryBudget::deposit(self, Slot::default());
    }

    fn withdraw(&self) -> bool {
        let now = tokio::time::Instant::now().into_std();
        RetryBudget::withdraw(self, Slot::default(), FailureKind::Other, false, now).is_ok()
    }
}
