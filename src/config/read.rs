//! Reads single values, and says what is allowed where one is something else.

use std::time::Duration;

use super::{InvalidConfig, time, value::Value};
use crate::policy::Limit;

/// Where keys are: a table of a document, or the environment.
#[derive(Clone, Debug)]
pub(super) struct Place {
    prefix: String,
    is_environment: bool,
}

impl Place {
    /// The top of a document.
    pub(super) fn top() -> Self {
        Self {
            prefix: String::new(),
            is_environment: false,
        }
    }

    /// Variables whose names begin with `prefix`.
    pub(super) fn environment(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            is_environment: true,
        }
    }

    /// The table of a mount.
    pub(super) fn mount(prefix: &str) -> Self {
        Self {
            prefix: format!("mounts.{prefix:?}."),
            is_environment: false,
        }
    }

    /// The table of the policy that is only asked.
    #[cfg(feature = "shadow")]
    pub(super) fn candidate() -> Self {
        Self {
            prefix: "candidate.".to_owned(),
            is_environment: false,
        }
    }

    /// The table `name` in this place.
    pub(super) fn table(&self, name: &str) -> Self {
        let dot = if self.is_environment { '_' } else { '.' };
        Self {
            prefix: format!("{}{dot}", self.name(name)),
            is_environment: self.is_environment,
        }
    }

    /// A key's whole name.
    pub(super) fn name(&self, key: &str) -> String {
        if self.is_environment {
            format!("{}{}", self.prefix, key.to_uppercase())
        } else {
            format!("{}{key}", self.prefix)
        }
    }

    /// A key's name within this place.
    pub(super) fn short_name(&self, key: &str) -> String {
        if self.is_environment {
            self.name(key)
        } else {
            key.to_owned()
        }
    }

    /// What the names of this place's keys begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn wrong(&self, key: &str, value: &Value, allowed: &str) -> InvalidConfig {
        InvalidConfig::value(self.name(key), value, allowed)
    }

    pub(super) fn limit(&self, key: &str, value: &Value) -> Result<Limit, InvalidConfig> {
        let limit = match value {
            Value::Null => Some(Limit::Unlimited),
            Value::Bool(false) => Some(Limit::Never),
            Value::Int(n) => i64::try_from(*n).ok().map(Limit::AtMost),
            Value::Text(text) if text == "unlimited" => Some(Limit::Unlimited),
            Value::Text(text) if text == "never" => Some(Limit::Never),
            _ => None,
        };
        limit.ok_or_else(|| {
            let allowed = "a whole number of retries, false (never) or \"unlimited\" (null)";
            self.wrong(key, value, allowed)
        })
    }

    pub(super) fn flag(&self, key: &str, value: &Value) -> Result<bool, InvalidConfig> {
        match value {
            Value::Bool(on) => Ok(*on),
            _ => Err(self.wrong(key, value, "true or false")),
        }
    }

    /// A whole number in `0..=max`.
    pub(super) fn count(&self, key: &str, value: &Value, max: u64) -> Result<u64, InvalidConfig> {
        match value {
            Value::Int(n) => u64::try_from(*n).ok().filter(|n| *n <= max),
            _ => None,
        }
        .ok_or_else(|| self.wrong(key, value, &format!("a whole number in 0..={max}")))
    }

    pub(super) fn number(&self, key: &str, value: &Value) -> Result<f64, InvalidConfig> {
        let number = value.as_f64().filter(|n| n.is_finite() && *n >= 0.0);
        number.ok_or_else(|| self.wrong(key, value, "a finite number that is not negative"))
    }

    /// A part of something.
    pub(super) fn part(&self, key: &str, value: &Value) -> Result<f64, InvalidConfig> {
        let part = value.as_f64().filter(|part| (0.0..=1.0).contains(part));
        part.ok_or_else(|| self.wrong(key, value, "a number in 0..=1"))
    }

    /// A duration: seconds, or text with units.
    pub(super) fn time(&self, key: &str, value: &Value) -> Result<Duration, InvalidConfig> {
        duration(value).ok_or_else(|| {
            self.wrong(
                key,
                value,
                "a number of seconds that is not negative, or a text such as \"1m 30s\" or \
                 \"250ms\"",
            )
        })
    }

    /// A duration, or no end.
    pub(super) fn cap(&self, key: &str, value: &Value) -> Result<Duration, InvalidConfig> {
        let unlimited = match value {
            Value::Null => true,
            Value::Text(text) => text == "unlimited",
            Value::Float(float) => *float == f64::INFINITY,
            _ => false,
        };
        if unlimited {
            return Ok(Duration::MAX);
        }
        duration(value).ok_or_else(|| {
            self.wrong(
                key,
                value,
                "a number of seconds that is not negative, a text such as \"1m 30s\" or \
                 \"250ms\", or \"unlimited\" (null)",
            )
        })
    }

    /// One of some names.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        value: &Value,
        names: &[(&str, T)],
    ) -> Result<T, InvalidConfig> {
        let chosen = names.iter().find(|(name, _)| value.as_text() == Some(name));
        match chosen {
            Some((_, chosen)) => Ok(*chosen),
            None => Err(self.wrong(key, value, &one_of(names.iter().map(|(name, _)| *name)))),
        }
    }

    /// The elements of a list. The environment has commas between them.
    pub(super) fn list(
        &self,
        key: &str,
        value: Value,
        allowed: &str,
    ) -> Result<Vec<Value>, InvalidConfig> {
        match value {
            Value::List(list) => Ok(list),
            Value::Text(text) if self.is_environment => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(Value::of_text)
                .collect()),
            Value::Int(_) | Value::Float(_) if self.is_environment => Ok(vec![value]),
            other => Err(self.wrong(key, &other, allowed)),
        }
    }

    /// The entries of a table.
    pub(super) fn entries(
        &self,
        key: &str,
        value: Value,
        allowed: &str,
    ) -> Result<Vec<(String, Value)>, InvalidConfig> {
        match value {
            Value::Table(entries) => Ok(entries),
            other => Err(self.wrong(key, &other, allowed)),
        }
    }
}

/// Stores what was read, unless there is something already.
pub(super) fn once<T>(
    slot: &mut Option<T>,
    read: T,
    place: &Place,
    key: &str,
) -> Result<(), InvalidConfig> {
    if slot.is_some() {
        let why = "is given twice, or under two names";
        return Err(InvalidConfig::conflict(place.name(key), why));
    }
    *slot = Some(read);
    Ok(())
}

pub(super) fn duration(value: &Value) -> Option<Duration> {
    match value {
        Value::Int(secs) => u64::try_from(*secs).ok().map(Duration::from_secs),
        Value::Float(secs) => Duration::try_from_secs_f64(*secs).ok(),
        Value::Text(text) => time::parse(text),
        _ => None,
    }
}

/// `"a", "b" or "c"`.
pub(super) fn one_of<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = names.len();
    let mut text = String::new();
    for (at, name) in names.enumerate() {
        text += match at {
            0 => "",
            at if at + 1 == count => " or ",
            _ => ", ",
        };
        text += &format!("{name:?}");
    }
    text
}
