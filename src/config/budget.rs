//! The `budget` table.

use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};

use super::{
    InvalidConfig, names,
    read::{Place, once},
    value::Value,
};
use crate::budget::{BudgetKind, RetryBudget, Written};

/// What a document says of the budget.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum BudgetKeys {
    Off,
    Table(BudgetTable),
    /// One that cannot be written: kept as it is.
    Handle(RetryBudget),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BudgetTable {
    kind: Option<BudgetKind>,
    ratio: Option<f64>,
    min_ratio: Option<f64>,
    min_per_second: Option<f64>,
    capacity: Option<f64>,
    costs: [Option<f64>; 4],
    throttle_cost: Option<f64>,
    shared: Option<bool>,
    slots: Option<usize>,
}

const KINDS: [(&str, BudgetKind); 3] = [
    ("ratio", BudgetKind::Ratio),
    ("aws", BudgetKind::Aws),
    ("grpc", BudgetKind::Grpc),
];

const SCOPES: [(&str, bool); 2] = [("authority", false), ("shared", true)];

/// The keys of the `cost` table, in the order of [`Written::KINDS`].
pub(super) const COSTS: [&str; 4] = ["connect", "read", "status", "other"];

impl BudgetKeys {
    pub(super) fn read(at: &Place, key: &str, value: Value) -> Result<Self, InvalidConfig> {
        match value {
            Value::Bool(false) | Value::Null => Ok(Self::Off),
            Value::Table(entries) => {
                let at = at.table(key);
                let mut table = BudgetTable::default();
                for (key, value) in entries {
                    table.set(&at, &key, value)?;
                }
                Ok(Self::Table(table))
            }
            other => {
                let allowed = "a table, or false (null) for none";
                Err(at.wrong(key, &other, allowed))
            }
        }
    }

    /// The budget; `None` for none. A table without a kind changes what is `inherited`.
    pub(super) fn build(
        &self,
        at: &Place,
        inherited: Option<&RetryBudget>,
    ) -> Result<Option<RetryBudget>, InvalidConfig> {
        match self {
            Self::Off => Ok(None),
            Self::Handle(budget) => Ok(Some(budget.clone())),
            Self::Table(table) => {
                let inherited = inherited.and_then(RetryBudget::written);
                let budget = table.written(inherited).build();
                let budget = budget.map_err(|error| InvalidConfig::policy(at.prefix(), &error));
                budget.map(Some)
            }
        }
    }

    pub(super) fn overridden_by(self, over: Self) -> Self {
        match (self, over) {
            (Self::Table(table), Self::Table(over)) if over.kind.is_none() => {
                Self::Table(table.overridden_by(over))
            }
            (_, over) => over,
        }
    }
}

impl BudgetTable {
    pub(super) fn set(&mut self, at: &Place, key: &str, value: Value) -> Result<(), InvalidConfig> {
        match key {
            "kind" => once(&mut self.kind, at.choice(key, &value, &KINDS)?, at, key),
            "ratio" => once(&mut self.ratio, at.number(key, &value)?, at, key),
            "min_ratio" => once(&mut self.min_ratio, at.number(key, &value)?, at, key),
            "min_per_second" => once(&mut self.min_per_second, at.number(key, &value)?, at, key),
            "capacity" => once(&mut self.capacity, at.number(key, &value)?, at, key),
            "throttle_cost" => once(&mut self.throttle_cost, at.number(key, &value)?, at, key),
            "scope" => once(&mut self.shared, at.choice(key, &value, &SCOPES)?, at, key),
            "slots" => {
                let slots = at.count(key, &value, 1 << 20)?;
                let slots = usize::try_from(slots).unwrap_or(usize::MAX);
                once(&mut self.slots, slots, at, key)
            }
            "cost" => match value {
                Value::Table(entries) => {
                    let at = at.table(key);
                    for (kind, value) in entries {
                        self.set_cost(&at, &kind, &value)?;
                    }
                    Ok(())
                }
                // One for all kinds.
                value => {
                    let cost = at.number(key, &value)?;
                    let mut all = self.costs.iter_mut();
                    all.try_for_each(|slot| once(slot, cost, at, key))
                }
            },
            unknown => Err(names::unknown(at, unknown, names::BUDGET)),
        }
    }

    pub(super) fn set_cost(
        &mut self,
        at: &Place,
        kind: &str,
        value: &Value,
    ) -> Result<(), InvalidConfig> {
        let Some(index) = COSTS.iter().position(|known| *known == kind) else {
            return Err(names::unknown(at, kind, COSTS));
        };
        once(&mut self.costs[index], at.number(kind, value)?, at, kind)
    }

    fn written(&self, inherited: Option<Written>) -> Written {
        let preset = match (self.kind, inherited) {
            (None, Some(inherited)) => inherited,
            (kind, _) => Written::of_kind(kind.unwrap_or(BudgetKind::Ratio)),
        };
        let mut costs = preset.costs;
        for (cost, set) in costs.iter_mut().zip(self.costs) {
            *cost = set.unwrap_or(*cost);
        }
        Written {
            kind: preset.kind,
            ratio: self.ratio.unwrap_or(preset.ratio),
            min_ratio: self.min_ratio.unwrap_or(preset.min_ratio),
            min_per_second: self.min_per_second.unwrap_or(preset.min_per_second),
            capacity: self.capacity.or(preset.capacity),
            costs,
            throttle_cost: self.throttle_cost.or(preset.throttle_cost),
            shared: self.shared.unwrap_or(preset.shared),
            slots: self.slots.or(preset.slots),
        }
    }

    fn overridden_by(self, over: Self) -> Self {
        let mut costs = self.costs;
        for (cost, over) in costs.iter_mut().zip(over.costs) {
            *cost = over.or(*cost);
        }
        Self {
            kind: self.kind,
            ratio: over.ratio.or(self.ratio),
            min_ratio: over.min_ratio.or(self.min_ratio),
            min_per_second: over.min_per_second.or(self.min_per_second),
            capacity: over.capacity.or(self.capacity),
            costs,
            throttle_cost: over.throttle_cost.or(self.throttle_cost),
            shared: over.shared.or(self.shared),
            slots: over.slots.or(self.slots),
        }
    }
}

impl From<Option<&RetryBudget>> for BudgetKeys {
    fn from(budget: Option<&RetryBudget>) -> Self {
        let Some(budget) = budget else {
            return Self::Off;
        };
        match budget.written() {
            Some(written) => written.into(),
            None => Self::Handle(budget.clone()),
        }
    }
}

impl From<Written> for BudgetKeys {
    fn from(written: Written) -> Self {
        Self::Table(BudgetTable {
            kind: Some(written.kind),
            ratio: Some(written.ratio),
            min_ratio: Some(written.min_ratio),
            min_per_second: Some(written.min_per_second),
            capacity: written.capacity,
            costs: written.costs.map(Some),
            throttle_cost: written.throttle_cost,
            shared: Some(written.shared),
            slots: written.slots,
        })
    }
}

impl Serialize for BudgetKeys {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => to.serialize_bool(false),
            Self::Table(table) => table.serialize(to),
            Self::Handle(_) => Err(S::Error::custom(
                "`budget` cannot be written: its scope is a function, or it is another library's",
            )),
        }
    }
}

impl Serialize for BudgetTable {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        let name = |kind| KINDS.iter().find(|(_, known)| *known == kind);
        if let Some((name, _)) = self.kind.and_then(name) {
            map.serialize_entry("kind", name)?;
        }
        for (key, number) in [
            ("ratio", self.ratio),
            ("min_ratio", self.min_ratio),
            ("min_per_second", self.min_per_second),
            ("capacity", self.capacity),
            ("throttle_cost", self.throttle_cost),
        ] {
            if let Some(number) = number {
                map.serialize_entry(key, &number)?;
            }
        }
        let name = |shared| SCOPES.iter().find(|(_, known)| *known == shared);
        if let Some((name, _)) = self.shared.and_then(name) {
            map.serialize_entry("scope", name)?;
        }
        if let Some(slots) = self.slots {
            map.serialize_entry("slots", &slots)?;
        }
        if self.costs.iter().any(Option::is_some) {
            map.serialize_entry("cost", &Costs(self.costs))?;
        }
        map.end()
    }
}

struct Costs([Option<f64>; 4]);

impl Serialize for Costs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (kind, cost) in COSTS.iter().zip(self.0) {
            if let Some(cost) = cost {
                map.serialize_entry(kind, &cost)?;
            }
        }
        map.end()
    }
}
