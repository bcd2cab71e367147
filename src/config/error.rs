//! What is wrong with a configuration.

use std::{error::Error, fmt};

use crate::{mounts::InvalidMount, policy::InvalidPolicy};

/// A key or value that no configuration has.
///
/// Names the key, and the value with what is allowed, or the key that was probably meant.
///
/// ```
/// use tower_http_retry::config::RetryConfig;
///
/// let error = |name, value| RetryConfig::from_vars("RETRY_", [(name, value)]).unwrap_err();
/// assert_eq!(
///     error("RETRY_TOTAL", "five").to_string(),
///     "`RETRY_TOTAL` is \"five\": must be a whole number of retries, false (never) or \
///      \"unlimited\" (null)",
/// );
/// assert_eq!(
///     error("RETRY_BACKOF_MAX", "5s").to_string(),
///     "`RETRY_BACKOF_MAX` is unknown: did you mean `RETRY_BACKOFF_MAX`?",
/// );
/// assert_eq!(
///     error("RETRY_METHOD_WHITELIST", "GET").to_string(),
///     "`RETRY_METHOD_WHITELIST` is unknown: urllib3 2 calls it `RETRY_ALLOWED_METHODS`",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidConfig {
    /// With the tables it is in.
    key: String,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// There is no such key.
    Unknown { hint: String },
    /// The value is not allowed.
    Value { value: String, allowed: String },
    /// The key does not go with another one, or is given twice.
    Conflict(String),
}

impl InvalidConfig {
    pub(super) fn value(
        key: impl Into<String>,
        value: impl fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        Self {
            key: key.into(),
            problem: Problem::Value {
                value: value.to_string(),
                allowed: allowed.into(),
            },
        }
    }

    pub(super) fn unknown(key: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            problem: Problem::Unknown { hint: hint.into() },
        }
    }

    pub(super) fn conflict(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            problem: Problem::Conflict(why.into()),
        }
    }

    /// What a builder refused, in the table `place`.
    pub(super) fn policy(place: &str, error: &InvalidPolicy) -> Self {
        let key = format!("{place}{}", error.field());
        Self::value(key, error.value(), error.allowed())
    }

    pub(super) fn mount(error: &InvalidMount) -> Self {
        let problem = format_args!("{:?} ({})", error.prefix(), error.problem());
        Self::value("mounts", problem, error.allowed())
    }

    /// The key, with the tables that it is in: `mounts."https://a.test".total`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value, if that is what is wrong.
    pub fn given(&self) -> Option<&str> {
        match &self.problem {
            Problem::Value { value, .. } => Some(value),
            Problem::Unknown { .. } | Problem::Conflict(_) => None,
        }
    }

    /// What is allowed instead, if the value is what is wrong.
    pub fn allowed(&self) -> Option<&str> {
        match &self.problem {
            Problem::Value { allowed, .. } => Some(allowed),
            Problem::Unknown { .. } | Problem::Conflict(_) => None,
        }
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.problem {
            Problem::Unknown { hint } => write!(f, "`{key}` is unknown: {hint}"),
            Problem::Value { value, allowed } => {
                write!(f, "`{key}` is {value}: must be {allowed}")
            }
            Problem::Conflict(why) => write!(f, "`{key}` {why}"),
        }
    }
}

impl Error for InvalidConfig {}
