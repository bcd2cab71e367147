//! What documents say of a setting, by its kind in the table of settings.

use std::{fmt::Debug, time::Duration};

use http::{HeaderName, Method};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{
    InvalidConfig,
    backoff::{BackoffKeys, cap},
    budget::BudgetKeys,
    hints,
    read::{Place, once},
    value::Value,
};
use crate::{
    budget::RetryBudget,
    policy::{self, ResetHeader, RetryAfterMode},
    reason::GrpcCode,
};

/// A kind of setting.
pub(super) trait Kind {
    /// What a document says.
    type Said: Clone + Debug + PartialEq;
    /// What the builder's setter takes.
    type Set;

    fn read(at: &Place, key: &str, value: Value) -> Result<Self::Said, InvalidConfig>;

    /// Reads a value into its slot.
    fn take(
        slot: &mut Option<Self::Said>,
        at: &Place,
        key: &str,
        value: Value,
    ) -> Result<(), InvalidConfig> {
        once(slot, Self::read(at, key, value)?, at, key)
    }

    /// What to set. Tables can change what was set `before`.
    fn set(
        said: &Self::Said,
        at: &Place,
        key: &str,
        before: Before<'_>,
    ) -> Result<Self::Set, InvalidConfig>;

    /// What `over` says goes first.
    fn merge(said: Self::Said, over: Self::Said) -> Self::Said {
        let _ = said;
        over
    }

    /// Whether it is written as a table, so that it must stand after all plain values.
    fn is_table(said: &Self::Said) -> bool {
        let _ = said;
        false
    }

    fn write<M: SerializeMap>(said: &Self::Said, key: &str, map: &mut M) -> Result<(), M::Error>;
}

/// What tables change.
#[derive(Clone, Copy)]
pub(super) struct Before<'a> {
    pub(super) backoff: &'a policy::Backoff,
    /// That of the top, for a mount.
    pub(super) budget: Option<&'a RetryBudget>,
}

/// Kinds whose values are set as they are said: how each is read, and what is written.
macro_rules! plain {
    ($(
        $kind:ident: $said:ty {
            read($at:ident, $key:ident, $value:ident) => $read:expr,
            write($is:ident) => $written:expr,
        }
    )*) => {$(
        pub(super) enum $kind {}

        impl Kind for $kind {
            type Said = $said;
            type Set = $said;

            fn read($at: &Place, $key: &str, $value: Value) -> Result<$said, InvalidConfig> {
                $read
            }

            fn set(
                said: &$said,
                _: &Place,
                _: &str,
                _: Before<'_>,
            ) -> Result<$said, InvalidConfig> {
                Ok(said.clone())
            }

            fn write<M: SerializeMap>($is: &$said, key: &str, map: &mut M) -> Result<(), M::Error> {
                map.serialize_entry(key, &$written)
            }
        }
    )*};
}

plain! {
    Cap: Duration {
        read(at, key, value) => at.cap(key, &value),
        write(max) => cap(*max),
    }
    Codes: Vec<GrpcCode> {
        read(at, key, value) => codes(at, key, value),
        write(codes) => codes,
    }
    Count: u32 {
        read(at, key, value) => {
            let count = at.count(key, &value, u32::MAX.into())?;
            Ok(u32::try_from(count).unwrap_or(u32::MAX))
        },
        write(count) => count,
    }
    Flag: bool {
        read(at, key, value) => at.flag(key, &value),
        write(on) => on,
    }
    Header: Option<HeaderName> {
        read(at, key, value) => hints::should_retry(at, key, &value),
        write(name) => hints::Named(name.as_ref()),
    }
    MethodSet: policy::Methods {
        read(at, key, value) => methods(at, key, value),
        write(methods) => WrittenMethods(methods),
    }
    Mode: RetryAfterMode {
        read(at, key, value) => at.choice(key, &value, &MODES),
        write(mode) => mode,
    }
    Part: f64 {
        read(at, key, value) => at.part(key, &value),
        write(part) => part,
    }
    Statuses: Vec<u16> {
        read(at, key, value) => statuses(at, key, value),
        write(statuses) => statuses,
    }
}

const MODES: [(&str, RetryAfterMode); 2] = [
    ("clamp", RetryAfterMode::Clamp),
    ("give_up", RetryAfterMode::GiveUp),
];

pub(super) enum Seed {}

impl Kind for Seed {
    type Said = u64;
    type Set = u64;

    fn read(at: &Place, key: &str, value: Value) -> Result<u64, InvalidConfig> {
        match &value {
            Value::Int(seed) => u64::try_from(*seed).ok(),
            Value::Text(seed) => seed.parse().ok(),
            _ => None,
        }
        .ok_or_else(|| at.wrong(key, &value, "a whole number in 0..=18446744073709551615"))
    }

    fn set(said: &u64, _: &Place, _: &str, _: Before<'_>) -> Result<u64, InvalidConfig> {
        Ok(*said)
    }

    fn write<M: SerializeMap>(seed: &u64, key: &str, map: &mut M) -> Result<(), M::Error> {
        match i64::try_from(*seed) {
            Ok(seed) => map.serialize_entry(key, &seed),
            // TOML has no greater number.
            Err(_) => map.serialize_entry(key, &seed.to_string()),
        }
    }
}

pub(super) enum Resets {}

impl Kind for Resets {
    type Said = Vec<ResetHeader>;
    type Set = Vec<ResetHeader>;

    fn read(at: &Place, key: &str, value: Value) -> Result<Self::Said, InvalidConfig> {
        hints::resets(at, key, value)
    }

    fn set(
        said: &Self::Said,
        _: &Place,
        _: &str,
        _: Before<'_>,
    ) -> Result<Self::Set, InvalidConfig> {
        Ok(said.clone())
    }

    fn is_table(_: &Self::Said) -> bool {
        true
    }

    fn write<M: SerializeMap>(said: &Self::Said, key: &str, map: &mut M) -> Result<(), M::Error> {
        let resets: Vec<_> = said.iter().map(hints::Written).collect();
        map.serialize_entry(key, &resets)
    }
}

pub(super) enum Waits {}

impl Kind for Waits {
    type Said = BackoffKeys;
    type Set = policy::Backoff;

    fn read(at: &Place, key: &str, value: Value) -> Result<BackoffKeys, InvalidConfig> {
        let mut slot = None;
        Self::take(&mut slot, at, key, value)?;
        Ok(slot.unwrap_or_default())
    }

    /// The keys of the top, such as `backoff_factor`, may have filled some of it.
    fn take(
        slot: &mut Option<BackoffKeys>,
        at: &Place,
        key: &str,
        value: Value,
    ) -> Result<(), InvalidConfig> {
        let table = at.table(key);
        let keys = slot.get_or_insert_default();
        for (key, value) in at.entries(key, value, "a table")? {
            keys.set(&table, &key, value)?;
        }
        Ok(())
    }

    fn set(
        said: &BackoffKeys,
        at: &Place,
        key: &str,
        before: Before<'_>,
    ) -> Result<policy::Backoff, InvalidConfig> {
        said.apply(&at.table(key), before.backoff)
    }

    fn merge(said: BackoffKeys, over: BackoffKeys) -> BackoffKeys {
        said.overridden_by(over)
    }

    fn is_table(_: &BackoffKeys) -> bool {
        true
    }

    fn write<M: SerializeMap>(said: &BackoffKeys, key: &str, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry(key, said)
    }
}

pub(super) enum Budget {}

impl Kind for Budget {
    type Said = BudgetKeys;
    type Set = Option<RetryBudget>;

    fn read(at: &Place, key: &str, value: Value) -> Result<BudgetKeys, InvalidConfig> {
        BudgetKeys::read(at, key, value)
    }

    fn set(
        said: &BudgetKeys,
        at: &Place,
        key: &str,
        before: Before<'_>,
    ) -> Result<Option<RetryBudget>, InvalidConfig> {
        said.build(&at.table(key), before.budget)
    }

    fn merge(said: BudgetKeys, over: BudgetKeys) -> BudgetKeys {
        said.overridden_by(over)
    }

    fn is_table(said: &BudgetKeys) -> bool {
        *said != BudgetKeys::Off
    }

    fn write<M: SerializeMap>(said: &BudgetKeys, key: &str, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry(key, said)
    }
}

const METHODS: &str = "a list of method names, \"idempotent\", or \"any\" (false, null)";
const CODES: &str = "a list of gRPC status codes such as \"UNAVAILABLE\"";
const STATUSES: &str = "a list of statuses in 100..=999";

fn methods(at: &Place, key: &str, value: Value) -> Result<policy::Methods, InvalidConfig> {
    let any = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::Text(text) => text == "any",
        _ => false,
    };
    if any {
        return Ok(policy::Methods::any());
    }
    if value.as_text() == Some("idempotent") {
        return Ok(policy::Methods::idempotent());
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

fn codes(at: &Place, key: &str, value: Value) -> Result<Vec<GrpcCode>, InvalidConfig> {
    let codes = at.list(key, value, CODES)?;
    codes
        .iter()
        .map(|code| {
            let read = code.as_text().and_then(|name| name.parse().ok());
            read.filter(|code| *code != GrpcCode::Ok)
                .ok_or_else(|| at.wrong(key, code, CODES))
        })
        .collect()
}

/// Methods as they are written.
struct WrittenMethods<'a>(&'a policy::Methods);

impl Serialize for WrittenMethods<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            methods if methods.is_any() => to.serialize_str("any"),
            methods if *methods == policy::Methods::idempotent() => to.serialize_str("idempotent"),
            methods => to.collect_seq(methods.iter().map(Method::as_str)),
        }
    }
}
