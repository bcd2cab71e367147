//! Reads and writes documents: each entry is judged where it stands, so that a format that knows
//! lines and columns can name them.

use std::fmt;

use indexmap::IndexMap;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
    ser::SerializeMap,
};

use super::{
    RetryConfig,
    keys::{PolicyKeys, unknown_in_mount},
    names,
    read::Place,
    value::Value,
};

impl<'de> Deserialize<'de> for RetryConfig {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Top)
    }
}

struct Top;

impl<'de> Visitor<'de> for Top {
    type Value = RetryConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the table of a retry configuration")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<RetryConfig, A::Error> {
        let mut config = RetryConfig::default();
        let at = Place::top();
        while let Some(key) = from.next_key_seed(Key {
            of: Of::Top,
            at: &at,
        })? {
            if key == "mounts" {
                from.next_value_seed(MountTables(&mut config))?;
                continue;
            }
            #[cfg(feature = "shadow")]
            if key == "candidate" {
                let at = Place::candidate();
                let keys = from.next_value_seed(PolicyTable(&at))?;
                if config.candidate.replace(keys).is_some() {
                    return Err(A::Error::custom(super::InvalidConfig::conflict(
                        "candidate",
                        "is given twice",
                    )));
                }
                continue;
            }
            let set = |value| config.set(&at, &key, value);
            from.next_value_seed(Entry(set))?;
        }
        Ok(config)
    }
}

/// The table that a key is in.
#[derive(Clone, Copy)]
enum Of {
    Top,
    Mount,
}

/// A key that is known.
struct Key<'a> {
    of: Of,
    at: &'a Place,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        let key = String::deserialize(from)?;
        let known = match self.of {
            Of::Top => names::top().any(|known| known == key),
            Of::Mount => names::policy().any(|known| known == key),
        };
        if known {
            return Ok(key);
        }
        Err(D::Error::custom(match self.of {
            Of::Top => names::unknown(self.at, &key, names::top()),
            Of::Mount => unknown_in_mount(self.at, &key),
        }))
    }
}

/// A value, and what takes it in.
struct Entry<F>(F);

impl<'de, F> DeserializeSeed<'de> for Entry<F>
where
    F: FnOnce(Value) -> Result<(), super::InvalidConfig>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let value = Value::deserialize(from)?;
        (self.0)(value).map_err(D::Error::custom)
    }
}

/// The table of all mounts.
struct MountTables<'a>(&'a mut RetryConfig);

impl<'de> DeserializeSeed<'de> for MountTables<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MountTables<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`mounts` to be a table of URL prefixes, each with the table of its policy")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        while let Some(prefix) = from.next_key::<String>()? {
            let keys = from.next_value_seed(PolicyTable(&Place::mount(&prefix)))?;
            self.0.add_mount(prefix, keys).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// The table of a policy that is not the top's.
struct PolicyTable<'a>(&'a Place);

impl<'de> DeserializeSeed<'de> for PolicyTable<'_> {
    type Value = PolicyKeys;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<PolicyKeys, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PolicyTable<'_> {
    type Value = PolicyKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.0.prefix().trim_end_matches('.');
        write!(f, "`{table}` to be the table of a policy")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<PolicyKeys, A::Error> {
        let mut keys = PolicyKeys::default();
        let at = self.0;
        while let Some(key) = from.next_key_seed(Key { of: Of::Mount, at })? {
            let set = |value| keys.set(at, &key, value).map(drop);
            from.next_value_seed(Entry(set))?;
        }
        Ok(keys)
    }
}

impl Serialize for RetryConfig {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        self.layer.write(&mut map)?;
        if let Some(fallback) = self.fallback {
            map.serialize_entry("fallback", &fallback)?;
        }
        self.policy.write(&mut map)?;
        if !self.mounts.is_empty() {
            map.serialize_entry("mounts", &Mounted(&self.mounts))?;
        }
        if let Some(candidate) = &self.candidate {
            map.serialize_entry("candidate", &Table(candidate))?;
        }
        map.end()
    }
}

struct Mounted<'a>(&'a IndexMap<String, PolicyKeys>);

impl Serialize for Mounted<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(prefix, keys)| (prefix, Table(keys))))
    }
}

struct Table<'a>(&'a PolicyKeys);

impl Serialize for Table<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        self.0.write(&mut map)?;
        map.end()
    }
}
