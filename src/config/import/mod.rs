//! Makes policies of other systems' settings, and says exactly what does not translate.
//!
//! | function | settings |
//! | --- | --- |
//! | [`urllib3`] | the keyword arguments of urllib3's `Retry` |
//! | [`grpc`] | a gRPC service config: `retryPolicy` and `retryThrottling` ([gRFC A6]) |
//! | [`envoy`] | Envoy's `RetryPolicy`, alone or in a route |
//! | [`aws`], [`aws_vars`] | the AWS SDKs' `max_attempts` and `retry_mode` |
//!
//! Each takes a document of any format of serde's that describes itself, for instance a
//! reference to a `serde_json::Value`. A key that means something there and nothing here is in
//! [`Imported::untranslated`]; a value that the other system would refuse, too, is an error, and
//! so is a setting that is given twice, for instance under both of its names.
//!
//! ```
//! use tower_http_retry::{config::import, policy::Limit};
//!
//! let document: serde_json::Value = serde_json::from_str(
//!     r#"{
//!         "retry_on": "gateway-error,retriable-headers",
//!         "num_retries": 3,
//!         "per_try_timeout": "0.25s"
//!     }"#,
//! )?;
//! let imported = import::envoy(&document)?;
//! assert_eq!(imported.policy.total(), Limit::AtMost(3));
//! assert_eq!(
//!     imported.untranslated[0].to_string(),
//!     "`retry_on` = \"retriable-headers\": response headers are not looked at; a classifier \
//!      can do that",
//! );
//! // The time limit is the layer's: `RetryLayer::configure(&imported.config)`.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md

mod aws;
mod envoy;
mod grpc;
mod urllib3;

pub use self::{
    aws::{aws, aws_vars},
    envoy::envoy,
    grpc::{GrpcMethods, grpc},
    urllib3::urllib3,
};

use std::{borrow::Cow, collections::HashSet, fmt, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

use super::{
    InvalidConfig, RetryConfig,
    keys::PolicyKeys,
    layer::LayerKeys,
    read::{Place, duration},
    value::Value,
};
use crate::policy::RetryPolicy;

/// What became of another system's settings.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Imported {
    /// The policy.
    pub policy: RetryPolicy,
    /// The same as a document, with the settings of the layer: time limits, for instance.
    pub config: RetryConfig,
    /// What the policy does not do.
    pub untranslated: Vec<Untranslated>,
}

/// A setting that has no equivalent here, or not a whole one.
///
/// `Display` is a line: ``` `key` = value: why ```.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Untranslated {
    /// The key, with those of the objects that it is in.
    pub key: String,
    /// Its value, or the part of it that this is about.
    pub value: String,
    /// What is different.
    pub why: Cow<'static, str>,
}

impl fmt::Display for Untranslated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` = {}: {}", self.key, self.value, self.why)
    }
}

/// An import at work.
#[derive(Default)]
struct Import {
    policy: PolicyKeys,
    layer: LayerKeys,
    untranslated: Vec<Untranslated>,
}

impl Import {
    fn lost(
        &mut self,
        key: impl Into<String>,
        value: impl fmt::Display,
        why: impl Into<Cow<'static, str>>,
    ) {
        self.untranslated.push(Untranslated {
            key: key.into(),
            value: value.to_string(),
            why: why.into(),
        });
    }

    fn finish(self) -> Result<Imported, InvalidConfig> {
        Ok(Imported {
            policy: self.policy.build(&Place::top(), None)?,
            config: RetryConfig {
                policy: self.policy,
                layer: self.layer,
                ..RetryConfig::default()
            },
            untranslated: self.untranslated,
        })
    }
}

/// Reads a document and imports it.
fn read<'de, D: Deserializer<'de>, T>(
    document: D,
    import: fn(Value) -> Result<T, InvalidConfig>,
) -> Result<T, D::Error> {
    import(Value::deserialize(document)?).map_err(D::Error::custom)
}

/// The entries of the object at `key`, of which no two are the same to `spelled`: one of them
/// would be lost, and nobody would hear of it.
fn object(
    key: &str,
    value: Value,
    spelled: fn(&str) -> String,
) -> Result<Vec<(String, Value)>, InvalidConfig> {
    let entries = match value {
        Value::Table(entries) => entries,
        other => return Err(InvalidConfig::value(name(key), other, "an object")),
    };
    let mut seen = HashSet::new();
    for (entry, _) in &entries {
        if !seen.insert(spelled(entry)) {
            let dot = if key.is_empty() { "" } else { "." };
            let why = "is given twice, or under two names";
            return Err(InvalidConfig::conflict(format!("{key}{dot}{entry}"), why));
        }
    }
    Ok(entries)
}

fn name(key: &str) -> &str {
    if key.is_empty() { "document" } else { key }
}

fn list(key: &str, value: Value) -> Result<Vec<Value>, InvalidConfig> {
    match value {
        Value::List(list) => Ok(list),
        other => Err(InvalidConfig::value(key, other, "a list")),
    }
}

fn count(key: &str, value: &Value, least: u32) -> Result<u32, InvalidConfig> {
    let count = match value {
        Value::Int(count) => u32::try_from(*count).ok(),
        // As some write it.
        Value::Float(count) if count.fract() == 0.0 && (0.0..=1e9).contains(count) => {
            Some(*count as u32)
        }
        _ => None,
    };
    count.filter(|count| *count >= least).ok_or_else(|| {
        InvalidConfig::value(key, value, format!("a whole number of at least {least}"))
    })
}

/// A duration in the JSON form of protocol buffers, `"0.25s"`, or another one that is known here.
fn time(key: &str, value: &Value) -> Result<Duration, InvalidConfig> {
    duration(value)
        .filter(|_| value.as_text().is_some())
        .ok_or_else(|| InvalidConfig::value(key, value, "a duration such as \"0.25s\""))
}

/// A name in snake case: protocol buffers have two spellings in JSON.
fn snake(key: &str) -> String {
    let mut text = String::new();
    for c in key.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}
