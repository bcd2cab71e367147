//! A budget as a configuration writes it.

use super::{Mode, RetryBudget, RetryBudgetBuilder, Scope, Store, tokens};
use crate::reason::{FailureKind, InvalidPolicy};

/// All settings of a budget.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    pub(crate) kind: BudgetKind,
    pub(crate) ratio: f64,
    pub(crate) min_ratio: f64,
    pub(crate) min_per_second: f64,
    /// `None` for what follows from the others.
    pub(crate) capacity: Option<f64>,
    /// In the order of [`Written::KINDS`].
    pub(crate) costs: [f64; 4],
    pub(crate) throttle_cost: Option<f64>,
    /// One bucket for all requests, not one for each authority.
    pub(crate) shared: bool,
    /// `None` for the default.
    pub(crate) slots: Option<usize>,
}

/// What a success earns, and how a retry is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BudgetKind {
    Ratio,
    Aws,
    Grpc,
}

impl Written {
    pub(crate) const KINDS: [FailureKind; 4] = [
        FailureKind::Connect,
        FailureKind::Read,
        FailureKind::Status,
        FailureKind::Other,
    ];

    /// The settings that a kind begins with; those of gRPC are the example of gRFC A6.
    pub(crate) fn of_kind(kind: BudgetKind) -> Self {
        let builder = match kind {
            BudgetKind::Ratio => RetryBudgetBuilder::new(),
            BudgetKind::Aws => RetryBudgetBuilder::aws(),
            BudgetKind::Grpc => RetryBudgetBuilder::grpc(10, 0.1),
        };
        builder.written(kind)
    }

    pub(crate) fn build(&self) -> Result<RetryBudget, InvalidPolicy> {
        let builder = match self.kind {
            BudgetKind::Ratio => RetryBudget::builder(),
            BudgetKind::Aws => RetryBudgetBuilder::aws(),
            BudgetKind::Grpc => RetryBudgetBuilder::grpc(1, self.ratio),
        };
        let mut builder = match self.kind {
            BudgetKind::Ratio | BudgetKind::Aws => builder.ratio(self.ratio),
            // Cut to its decimals already.
            BudgetKind::Grpc => builder,
        };
        builder = builder
            .min_ratio(self.min_ratio)
            .min_per_second(self.min_per_second);
        for (kind, cost) in Self::KINDS.into_iter().zip(self.costs) {
            builder = builder.cost(kind, cost);
        }
        if let Some(capacity) = self.capacity {
            builder = builder.capacity(capacity);
        }
        if let Some(cost) = self.throttle_cost {
            builder = builder.throttle_cost(cost);
        }
        if let Some(slots) = self.slots {
            builder = builder.slots(slots);
        }
        if self.shared {
            builder = builder.scope(Scope::Shared);
        }
        builder.build()
    }
}

impl RetryBudget {
    /// The settings, of which an equal budget can be made; `None` if there are some that cannot
    /// be written: a key that is a function, or all of another library's.
    pub(crate) fn written(&self) -> Option<Written> {
        let inner = &*self.inner;
        let slots = match &inner.store {
            Store::One(_) => None,
            Store::Many(table) => Some(table.len()),
            #[cfg(feature = "tower")]
            Store::Foreign(_) => return None,
        };
        let shared = match inner.scope {
            Scope::Shared => true,
            Scope::PerAuthority => false,
            Scope::Key(_) => return None,
        };
        let rules = &inner.rules;
        Some(Written {
            kind: match rules.mode {
                Mode::Plain => BudgetKind::Ratio,
                Mode::GivesBack => BudgetKind::Aws,
                Mode::Threshold(_) => BudgetKind::Grpc,
            },
            ratio: tokens(rules.deposit),
            min_ratio: tokens(rules.min_deposit),
            min_per_second: tokens(rules.limits.rate),
            capacity: Some(tokens(rules.limits.capacity)),
            costs: Self::costs(rules),
            throttle_cost: rules.costs.throttled.map(tokens),
            shared,
            slots,
        })
    }

    fn costs(rules: &super::Rules) -> [f64; 4] {
        Written::KINDS.map(|kind| tokens(rules.costs.of(kind, false)))
    }
}
