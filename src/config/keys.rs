//! The keys of one policy, made from the table of settings.

use serde::ser::SerializeMap;

use super::{
    InvalidConfig,
    backoff::{BackoffKeys, read_base, read_jitter},
    kinds::{self, Before, Kind},
    names,
    read::{Place, once},
    value::Value,
};
use crate::policy::{
    Limit, LimitKind, PerKind, Preset, RetryPolicy, RetryPolicyBuilder, settings_table,
};

const PRESETS: [(&str, Preset); 3] = [
    ("default", Preset::Default),
    ("grpc", Preset::Grpc),
    ("urllib3", Preset::Urllib3),
];

/// What was said, of what a getter returns.
macro_rules! said {
    (Budget, $set:expr) => {
        Some($set.into())
    };
    (Codes, $set:expr) => {
        Some($set.collect())
    };
    (Header, $set:expr) => {
        Some($set.cloned())
    };
    (MethodSet, $set:expr) => {
        Some($set.clone())
    };
    (Resets, $set:expr) => {
        Some($set.to_vec())
    };
    (Seed, $set:expr) => {
        $set
    };
    (Statuses, $set:expr) => {
        Some($set.collect())
    };
    (Waits, $set:expr) => {
        Some($set.into())
    };
    ($kind:ident, $set:expr) => {
        Some($set)
    };
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident: $kind:ident $row:tt)*) => {
        /// What a document says of a policy; what it does not say is the preset's.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub(super) struct PolicyKeys {
            pub(super) preset: Option<Preset>,
            pub(super) limits: PerKind<Option<Limit>>,
            $(pub(super) $name: Option<<kinds::$kind as Kind>::Said>,)*
        }

        /// The keys that have a row in the table of settings.
        pub(super) const NAMES: &[&str] = &[$(stringify!($name)),*];

        impl PolicyKeys {
            fn set_row(
                &mut self,
                at: &Place,
                key: &str,
                value: Value,
            ) -> Result<Option<Value>, InvalidConfig> {
                match key {
                    $(stringify!($name) => {
                        kinds::$kind::take(&mut self.$name, at, key, value)?;
                    })*
                    _ => return Ok(Some(value)),
                }
                Ok(None)
            }

            fn build_rows(
                &self,
                at: &Place,
                before: Before<'_>,
                mut builder: RetryPolicyBuilder,
            ) -> Result<RetryPolicyBuilder, InvalidConfig> {
                $(if let Some(said) = &self.$name {
                    let set = kinds::$kind::set(said, at, stringify!($name), before)?;
                    builder = builder.$name(set);
                })*
                Ok(builder)
            }

            /// What `over` says goes first.
            pub(super) fn overridden_by(self, over: Self) -> Self {
                let mut limits = self.limits;
                for kind in LimitKind::ALL {
                    let limit = limits.get_mut(kind);
                    *limit = over.limits.get(kind).or(*limit);
                }
                Self {
                    preset: over.preset.or(self.preset),
                    limits,
                    $($name: match (self.$name, over.$name) {
                        (Some(said), Some(over)) => Some(kinds::$kind::merge(said, over)),
                        (said, over) => over.or(said),
                    },)*
                }
            }

            /// Writes the entries that are tables, or those that are not.
            fn write_rows<M: SerializeMap>(
                &self,
                tables: bool,
                map: &mut M,
            ) -> Result<(), M::Error> {
                $(if let Some(said) = &self.$name {
                    if kinds::$kind::is_table(said) == tables {
                        kinds::$kind::write(said, stringify!($name), map)?;
                    }
                })*
                Ok(())
            }
        }

        impl From<&RetryPolicy> for PolicyKeys {
            fn from(policy: &RetryPolicy) -> Self {
                Self {
                    preset: Some(policy.preset()),
                    limits: PerKind::new(LimitKind::ALL.map(|kind| Some(policy.limit(kind)))),
                    $($name: said!($kind, policy.$name()),)*
                }
            }
        }
    };
}
settings_table!(keys);

impl PolicyKeys {
    /// Takes in one entry. `Ok(Some)` gives it back: the key is none of these.
    pub(super) fn set(
        &mut self,
        at: &Place,
        key: &str,
        value: Value,
    ) -> Result<Option<Value>, InvalidConfig> {
        if let Some(kind) = LimitKind::ALL.into_iter().find(|kind| kind.as_str() == key) {
            let limit = at.limit(key, &value)?;
            once(self.limits.get_mut(kind), limit, at, key)?;
            return Ok(None);
        }
        match key {
            "preset" => once(&mut self.preset, at.choice(key, &value, &PRESETS)?, at, key)?,
            "backoff_factor" => {
                let base = read_base(at, key, &value)?;
                once(&mut self.backoff().base, base, at, key)?;
            }
            "backoff_max" => once(&mut self.backoff().max, at.cap(key, &value)?, at, key)?,
            "backoff_jitter" => {
                let jitter = read_jitter(at, key, &value)?;
                once(&mut self.backoff().jitter, jitter, at, key)?;
            }
            key => return self.set_row(at, key, value),
        }
        Ok(None)
    }

    /// The keys of the backoff.
    pub(super) fn backoff(&mut self) -> &mut BackoffKeys {
        self.backoff.get_or_insert_default()
    }

    /// The policy; what is not said is that of `inherited`, unless a preset is named.
    pub(super) fn build(
        &self,
        at: &Place,
        inherited: Option<&RetryPolicy>,
    ) -> Result<RetryPolicy, InvalidConfig> {
        let inherited = inherited.filter(|_| self.preset.is_none());
        let base = match (inherited, self.preset) {
            (Some(policy), _) => policy.clone(),
            (None, None | Some(Preset::Default)) => RetryPolicy::default(),
            (None, Some(Preset::Urllib3)) => RetryPolicy::urllib3(),
            (None, Some(Preset::Grpc)) => RetryPolicy::grpc(),
        };
        let mut builder = base.to_builder();
        for kind in LimitKind::ALL {
            if let Some(limit) = self.limits.get(kind) {
                builder = builder.limit(kind, limit);
            }
        }
        let before = Before {
            backoff: base.backoff(),
            budget: inherited.and_then(RetryPolicy::budget),
        };
        self.build_rows(at, before, builder)?
            .build()
            .map_err(|error| InvalidConfig::policy(at.prefix(), &error))
    }

    /// Writes the entries, tables last.
    pub(super) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        if let Some(preset) = &self.preset {
            map.serialize_entry("preset", preset)?;
        }
        for kind in LimitKind::ALL {
            let key = kind.as_str();
            match self.limits.get(kind) {
                Some(Limit::Unlimited) => map.serialize_entry(key, "unlimited")?,
                Some(Limit::AtMost(n)) => map.serialize_entry(key, &n)?,
                Some(Limit::Never) => map.serialize_entry(key, &false)?,
                None => {}
            }
        }
        self.write_rows(false, map)?;
        self.write_rows(true, map)
    }
}

/// The error of a key that a mount's table does not have.
pub(super) fn unknown_in_mount(at: &Place, key: &str) -> InvalidConfig {
    if names::LAYER.contains(&key) {
        return InvalidConfig::unknown(
            at.name(key),
            format!("`{key}` is the layer's, not a policy's; it stands at the top"),
        );
    }
    names::unknown(at, key, names::policy())
}
