//! The keys of one policy.

use std::time::Duration;

use http::{HeaderName, Method};
use serde::ser::SerializeMap;

use super::{
    InvalidConfig,
    backoff::{BackoffKeys, cap, read_base, read_jitter},
    budget::BudgetKeys,
    hints, names,
    read::{Place, once},
    value::Value,
};
use crate::policy::{
    CountKind, Limit, Methods, Preset, ResetHeader, RetryAfterMode, RetryPolicy,
    RetryPolicyBuilder, hints::Hints, limit::StatusSet, retry_policy::Settings,
};

/// What a document says of a policy; what it does not say is the preset's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PolicyKeys {
    pub(super) preset: Option<Preset>,
    /// In the order of [`CountKind::ALL`].
    pub(super) limits: [Option<Limit>; 6],
    pub(super) unprocessed: Option<u32>,
    pub(super) methods: Option<Methods>,
    pub(super) statuses: Option<Vec<u16>>,
    pub(super) backoff: BackoffKeys,
    pub(super) respect_retry_after: Option<bool>,
    pub(super) retry_after_max: Option<Duration>,
    pub(super) retry_after_mode: Option<RetryAfterMode>,
    pub(super) retry_after_jitter: Option<f64>,
    pub(super) resets: Option<Vec<ResetHeader>>,
    /// `Some(None)` for no such header.
    #[allow(clippy::option_option, reason = "said or not, and named or not")]
    pub(super) should_retry: Option<Option<HeaderName>>,
    pub(super) raise_on_status: Option<bool>,
    pub(super) budget: Option<BudgetKeys>,
    pub(super) seed: Option<u64>,
}

const PRESETS: [(&str, Preset); 2] = [("default", Preset::Default), ("urllib3", Preset::Urllib3)];

const MODES: [(&str, RetryAfterMode); 2] = [
    ("clamp", RetryAfterMode::Clamp),
    ("give_up", RetryAfterMode::GiveUp),
];

const METHODS: &str = "a list of method names, \"idempotent\", or \"any\" (false, null)";
const STATUSES: &str = "a list of statuses in 100..=999";

impl PolicyKeys {
    /// Takes in one entry. `Ok(Some)` gives it back: the key is none of these.
    pub(super) fn set(
        &mut self,
        at: &Place,
        key: &str,
        value: Value,
    ) -> Result<Option<Value>, InvalidConfig> {
        if let Some(index) = CountKind::ALL.iter().position(|kind| kind.as_str() == key) {
            once(&mut self.limits[index], at.limit(key, &value)?, at, key)?;
            return Ok(None);
        }
        match key {
            "preset" => once(&mut self.preset, at.choice(key, &value, &PRESETS)?, at, key)?,
            "unprocessed" => {
                let count = at.count(key, &value, u32::MAX.into())?;
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                once(&mut self.unprocessed, count, at, key)?;
            }
            "allowed_methods" => once(&mut self.methods, methods(at, key, value)?, at, key)?,
            "status_forcelist" => once(&mut self.statuses, statuses(at, key, value)?, at, key)?,
            "backoff_factor" => {
                let base = read_base(at, key, &value)?;
                once(&mut self.backoff.base, base, at, key)?;
            }
            "backoff_max" => once(&mut self.backoff.max, at.cap(key, &value)?, at, key)?,
            "backoff_jitter" => {
                let jitter = read_jitter(at, key, &value)?;
                once(&mut self.backoff.jitter, jitter, at, key)?;
            }
            "backoff" => {
                let table = at.table(key);
                for (key, value) in at.entries(key, value, "a table")? {
                    self.backoff.set(&table, &key, value)?;
                }
            }
            "respect_retry_after_header" => {
                once(
                    &mut self.respect_retry_after,
                    at.flag(key, &value)?,
                    at,
                    key,
                )?;
            }
            "retry_after_max" => once(&mut self.retry_after_max, at.cap(key, &value)?, at, key)?,
            "retry_after_mode" => {
                let mode = at.choice(key, &value, &MODES)?;
                once(&mut self.retry_after_mode, mode, at, key)?;
            }
            "retry_after_jitter" => {
                let part = at.part(key, &value)?;
                once(&mut self.retry_after_jitter, part, at, key)?;
            }
            "reset_headers" => once(&mut self.resets, hints::resets(at, key, value)?, at, key)?,
            "should_retry_header" => {
                let name = hints::should_retry(at, key, &value)?;
                once(&mut self.should_retry, name, at, key)?;
            }
            "raise_on_status" => once(&mut self.raise_on_status, at.flag(key, &value)?, at, key)?,
            "budget" => {
                let budget = BudgetKeys::read(at, key, value)?;
                once(&mut self.budget, budget, at, key)?;
            }
            "seed" => once(&mut self.seed, seed(at, key, &value)?, at, key)?,
            _ => return Ok(Some(value)),
        }
        Ok(None)
    }

    /// The policy; what is not said is that of `inherited`, unless a preset is named.
    pub(super) fn build(
        &self,
        at: &Place,
        inherited: Option<&RetryPolicy>,
    ) -> Result<RetryPolicy, InvalidConfig> {
        let inherited = inherited.filter(|_| self.preset.is_none());
        let mut settings = match (inherited, self.preset) {
            (Some(policy), _) => policy.inner.settings.clone(),
            (None, None | Some(Preset::Default)) => Settings::default_preset(),
            (None, Some(Preset::Urllib3)) => Settings::urllib3_preset(),
        };
        for (kind, limit) in CountKind::ALL.into_iter().zip(self.limits) {
            if let Some(limit) = limit {
                *settings.limits.get_mut(kind) = limit;
            }
        }
        if let Some(statuses) = &self.statuses {
            settings.statuses = StatusSet::new();
            for status in statuses {
                // Read by `statuses`, so all are in range.
                settings.statuses.insert(*status);
            }
        }
        settings.unprocessed = self.unprocessed.unwrap_or(settings.unprocessed);
        settings.methods = self.methods.clone().unwrap_or(settings.methods);
        settings.backoff = self
            .backoff
            .apply(&at.table("backoff"), &settings.backoff)?;
        settings.respect_retry_after = self
            .respect_retry_after
            .unwrap_or(settings.respect_retry_after);
        settings.retry_after_max = self.retry_after_max.unwrap_or(settings.retry_after_max);
        settings.retry_after_mode = self.retry_after_mode.unwrap_or(settings.retry_after_mode);
        settings.retry_after_jitter = self
            .retry_after_jitter
            .unwrap_or(settings.retry_after_jitter);
        if let Some(resets) = &self.resets {
            settings.hints.resets = resets.as_slice().into();
        }
        if let Some(name) = &self.should_retry {
            settings.hints.should_retry.clone_from(name);
        }
        settings.raise_on_status = self.raise_on_status.unwrap_or(settings.raise_on_status);
        settings.seed = self.seed.or(settings.seed);
        if let Some(budget) = &self.budget {
            let inherited = inherited.and_then(RetryPolicy::budget);
            settings.budget = budget.build(&at.table("budget"), inherited)?;
        }
        RetryPolicyBuilder::from_settings(settings)
            .build()
            .map_err(|error| InvalidConfig::policy(at.prefix(), &error))
    }

    /// What `over` says goes first.
    pub(super) fn overridden_by(self, over: Self) -> Self {
        let mut limits = self.limits;
        for (limit, over) in limits.iter_mut().zip(over.limits) {
            *limit = over.or(*limit);
        }
        Self {
            preset: over.preset.or(self.preset),
            limits,
            unprocessed: over.unprocessed.or(self.unprocessed),
            methods: over.methods.or(self.methods),
            statuses: over.statuses.or(self.statuses),
            backoff: self.backoff.overridden_by(over.backoff),
            respect_retry_after: over.respect_retry_after.or(self.respect_retry_after),
            retry_after_max: over.retry_after_max.or(self.retry_after_max),
            retry_after_mode: over.retry_after_mode.or(self.retry_after_mode),
            retry_after_jitter: over.retry_after_jitter.or(self.retry_after_jitter),
            resets: over.resets.or(self.resets),
            should_retry: over.should_retry.or(self.should_retry),
            raise_on_status: over.raise_on_status.or(self.raise_on_status),
            budget: match (self.budget, over.budget) {
                (Some(budget), Some(over)) => Some(budget.overridden_by(over)),
                (budget, over) => over.or(budget),
            },
            seed: over.seed.or(self.seed),
        }
    }

    /// Writes the entries, tables last.
    pub(super) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        if let Some(preset) = &self.preset {
            map.serialize_entry("preset", preset)?;
        }
        for (kind, limit) in CountKind::ALL.into_iter().zip(self.limits) {
            let key = kind.as_str();
            match limit {
                Some(Limit::Unlimited) => map.serialize_entry(key, "unlimited")?,
                Some(Limit::AtMost(n)) => map.serialize_entry(key, &n)?,
                Some(Limit::Never) => map.serialize_entry(key, &false)?,
                None => {}
            }
        }
        if let Some(unprocessed) = self.unprocessed {
            map.serialize_entry("unprocessed", &unprocessed)?;
        }
        match &self.methods {
            Some(methods) if methods.is_any() => map.serialize_entry("allowed_methods", "any")?,
            Some(methods) if methods.is_idempotent() => {
                map.serialize_entry("allowed_methods", "idempotent")?;
            }
            Some(methods) => {
                let names: Vec<_> = methods.iter().map(Method::as_str).collect();
                map.serialize_entry("allowed_methods", &names)?;
            }
            None => {}
        }
        if let Some(statuses) = &self.statuses {
            map.serialize_entry("status_forcelist", statuses)?;
        }
        if let Some(respect) = self.respect_retry_after {
            map.serialize_entry("respect_retry_after_header", &respect)?;
        }
        if let Some(max) = self.retry_after_max {
            map.serialize_entry("retry_after_max", &cap(max))?;
        }
        if let Some(mode) = &self.retry_after_mode {
            map.serialize_entry("retry_after_mode", mode)?;
        }
        if let Some(part) = self.retry_after_jitter {
            map.serialize_entry("retry_after_jitter", &part)?;
        }
        match &self.should_retry {
            Some(Some(name)) => map.serialize_entry("should_retry_header", name.as_str())?,
            Some(None) => map.serialize_entry("should_retry_header", &false)?,
            None => {}
        }
        if let Some(raise) = self.raise_on_status {
            map.serialize_entry("raise_on_status", &raise)?;
        }
        match self.seed {
            // TOML has no greater number.
            Some(seed) if i64::try_from(seed).is_ok() => map.serialize_entry("seed", &seed)?,
            Some(seed) => map.serialize_entry("seed", &seed.to_string())?,
            None => {}
        }
        if self.budget == Some(BudgetKeys::Off) {
            map.serialize_entry("budget", &false)?;
        }
        if let Some(resets) = &self.resets {
            let resets: Vec<_> = resets.iter().map(hints::Written).collect();
            map.serialize_entry("reset_headers", &resets)?;
        }
        if self.backoff != BackoffKeys::default() {
            map.serialize_entry("backoff", &self.backoff)?;
        }
        match &self.budget {
            None | Some(BudgetKeys::Off) => Ok(()),
            Some(budget) => map.serialize_entry("budget", budget),
        }
    }
}

impl From<&RetryPolicy> for PolicyKeys {
    fn from(policy: &RetryPolicy) -> Self {
        // Every field by its name: a new setting must not be left out.
        let Settings {
            preset,
            limits,
            unprocessed,
            methods,
            statuses,
            backoff,
            respect_retry_after,
            retry_after_max,
            retry_after_mode,
            retry_after_jitter,
            hints: Hints {
                should_retry,
                resets,
            },
            raise_on_status,
            seed,
            budget,
        } = &policy.inner.settings;
        Self {
            preset: Some(*preset),
            limits: CountKind::ALL.map(|kind| Some(limits.get(kind))),
            unprocessed: Some(*unprocessed),
            methods: Some(methods.clone()),
            statuses: Some(statuses.iter().collect()),
            backoff: backoff.into(),
            respect_retry_after: Some(*respect_retry_after),
            retry_after_max: Some(*retry_after_max),
            retry_after_mode: Some(*retry_after_mode),
            retry_after_jitter: Some(*retry_after_jitter),
            resets: Some(resets.to_vec()),
            should_retry: Some(should_retry.clone()),
            raise_on_status: Some(*raise_on_status),
            budget: Some(budget.as_ref().into()),
            seed: *seed,
        }
    }
}

fn methods(at: &Place, key: &str, value: Value) -> Result<Methods, InvalidConfig> {
    let any = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::Text(text) => text == "any",
        _ => false,
    };
    if any {
        return Ok(Methods::any());
    }
    if value.as_text() == Some("idempotent") {
        return Ok(Methods::idempotent());
    }
    let names = at.list(key, value, METHODS)?;
    let methods: Result<Vec<Method>, _> = names
        .iter()
        .map(|name| {
            let method = name
                .as_text()
                .map(|name| Method::from_bytes(name.as_bytes()));
            method
                .and_then(Result::ok)
                .ok_or_else(|| at.wrong(key, name, METHODS))
        })
        .collect();
    Ok(methods?.into())
}

fn statuses(at: &Place, key: &str, value: Value) -> Result<Vec<u16>, InvalidConfig> {
    let statuses = at.list(key, value, STATUSES)?;
    statuses
        .iter()
        .map(|status| match status {
            Value::Int(status @ 100..=999) => u16::try_from(*status).ok(),
            _ => None,
        })
        .zip(&statuses)
        .map(|(read, status)| read.ok_or_else(|| at.wrong(key, status, STATUSES)))
        .collect()
}

fn seed(at: &Place, key: &str, value: &Value) -> Result<u64, InvalidConfig> {
    match value {
        Value::Int(seed) => u64::try_from(*seed).ok(),
        Value::Text(seed) => seed.parse().ok(),
        _ => None,
    }
    .ok_or_else(|| at.wrong(key, value, "a whole number in 0..=18446744073709551615"))
}

/// The error of a key that a mount's table does not have.
pub(super) fn unknown_in_mount(at: &Place, key: &str) -> InvalidConfig {
    if names::LAYER.contains(&key) {
        return InvalidConfig::unknown(
            at.name(key),
            format!("`{key}` is the layer's, not a policy's; it stands at the top"),
        );
    }
    names::unknown(at, key, names::POLICY)
}
