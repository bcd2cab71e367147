//! Policies as documents: TOML, JSON, YAML, and variables of the environment.
//!
//! Made of what any user of the crate has, the builder's setters and the policy's getters, but for
//! two forms in which numbers were set and which no getter returns: a backoff's base and a budget.

mod backoff;
mod budget;
mod document;
mod env;
mod error;
mod hints;
pub mod import;
mod keys;
mod kinds;
mod layer;
mod names;
mod read;
#[cfg(feature = "shadow")]
mod shadow;
mod time;
mod value;

pub use self::error::InvalidConfig;
pub(crate) use self::layer::LayerKeys;

use indexmap::{IndexMap, map::Entry};

use self::{keys::PolicyKeys, read::Place, value::Value};
use crate::{
    mounts::Mounts,
    policy::{RetryPolicy, settings_table},
};

/// The rows of the table in the documentation.
macro_rules! rows {
    ($(
        $(#[$doc:meta])*
        $name:ident: $kind:ident {
            presets: $presets:tt,
            get: $get:literal,
            key: $key:literal,
            why: $why:literal,
        }
    )*) => {
        concat!($("| `", stringify!($name), "` | ", $key, " |\n"),*)
    };
}

/// A policy, or policies by URL prefix, as a document: with urllib3's own keys, and ours.
///
/// Any format of serde's that describes itself will do: TOML, JSON, YAML.
///
/// ```
/// use tower_http_retry::{RetryLayer, config::RetryConfig, policy::Limit};
///
/// let config: RetryConfig = toml::from_str(
///     r#"
///     total = 5
///     read = false
///     status_forcelist = [429, 503]
///     backoff_factor = 0.5
///     attempt_timeout = "5s"
///
///     [mounts."https://api.example.com/"]
///     total = 2
///     allowed_methods = ["GET", "POST"]
///     "#,
/// )?;
/// let mounts = config.to_mounts()?;
/// let api = mounts.get(&http::Uri::from_static("https://api.example.com/v1")).unwrap();
/// assert_eq!(api.policy().total(), Limit::AtMost(2));
/// assert!(api.policy().status_forcelist().eq([429, 503]));
///
/// let layer = RetryLayer::new(mounts).configure(&config);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Keys of a policy
///
/// | key | value |
/// | --- | --- |
/// | `preset` | `"default"`, `"grpc"` or `"urllib3"`: where the others' values come from |
/// | `total`, `connect`, `read`, `redirect`, `status`, `other` | a number of retries, `false` for never, `"unlimited"` (`null`) |
/// | `backoff_factor`, `backoff_max`, `backoff_jitter` | a duration; the same as `base`, `max` and `jitter` of `backoff` |
#[doc = settings_table!(rows)]
///
/// A duration is a number of seconds, or a text such as `"250ms"`, `"1.5s"` or `"1m 30s"` (units
/// `d`, `h`, `m`, `s`, `ms`, `us`, `ns`).
///
/// The table `backoff` has `kind` (`"urllib3"`, `"exponential"`, `"linear"`, `"fibonacci"`,
/// `"constant"`, `"list"` or `"none"`), `base`, `throttle_base`, `max`, `jitter` (`"none"`,
/// `"full"`, `"equal"`, `"decorrelated"`, `"around 0.2"`, or the most that is added), `multiplier`
/// for an exponential one and `waits` for a list. Without a kind it changes the backoff of the preset, with one it is a new one.
///
/// The table `budget` has `kind` (`"ratio"`; `"aws"` or `"grpc"` for the rules of
/// [`RetryBudget::aws`](crate::budget::RetryBudget::aws) and
/// [`RetryBudget::grpc`](crate::budget::RetryBudget::grpc)), `ratio`, `min_ratio`,
/// `min_per_second`, `capacity`, `cost` (one for all, or a table by `connect`, `read`, `status`, `other`),
/// `throttle_cost`, `scope` (`"authority"` or `"shared"`) and `slots`: the setters of
/// [`RetryBudgetBuilder`](crate::budget::RetryBudgetBuilder).
///
/// # Keys of the top only
///
/// | key | value |
/// | --- | --- |
/// | `mounts` | a table: for each URL prefix the table of its policy; see [`Mounts`] |
/// | `candidate` | a table: a policy that is only asked, with the feature `shadow`; `to_shadow` |
/// | `fallback` | `false`: the policy of the top is not for URLs without a mount |
/// | `attempt_timeout`, `deadline`, `min_attempt` | a duration |
/// | `drain_limit`, `replay_limit` | a number of bytes |
/// | `attempt_header` | the name of a header |
/// | `max_retries_in_flight` | a number above 0 |
/// | `share_hints` | `true` or `false` |
/// | `pace_below` | a number above 0, up to 1: shared hints [spread requests](crate::shared_hints::SharedHints#before-a-limit-is-hit), too, unless `share_hints = false`; feature `ratelimit` |
///
/// The last six rows are the layer's: see [`RetryLayer::configure`](crate::RetryLayer::configure).
///
/// # Mounts
///
/// What a mount's table does not say is as at the top, whose budget it shares then; but a mount
/// that names a `preset` begins with that one. The policy of the top is the fallback. The same holds
/// for a `candidate`, but for the budget: it earns and spends a copy.
///
/// # Errors
///
/// A key that is unknown is an error that names the nearest one, as is a value that is not
/// allowed, a key that is given twice, and two prefixes that are one mount.
///
/// # Written
///
/// `RetryConfig::from(&policy)` says everything, and a policy that is built from it is equal.
/// What cannot be written, a backoff that is a function, a budget whose scope is one or that is
/// another library's, is kept as it is, and serializing it is an error. Only JSON's floats may differ in their last
/// digit when they are read again, unless serde_json's `float_roundtrip` is on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RetryConfig {
    policy: PolicyKeys,
    layer: LayerKeys,
    fallback: Option<bool>,
    /// In the order of the document.
    mounts: IndexMap<String, PolicyKeys>,
    /// The policy that is only asked.
    candidate: Option<PolicyKeys>,
}

impl RetryConfig {
    /// The policy.
    ///
    /// # Errors
    ///
    /// A value that does not go with another one; mounts, which are not for a single policy: see
    /// [`to_mounts`](Self::to_mounts); and a candidate, which is to be asked.
    pub fn build(&self) -> Result<RetryPolicy, InvalidConfig> {
        if !self.mounts.is_empty() {
            let why = "makes more than one policy; `to_mounts` builds them";
            return Err(InvalidConfig::conflict("mounts", why));
        }
        self.is_obeyed()?;
        self.policy.build(&Place::top(), None)
    }

    /// Nothing may be silently left out.
    fn is_obeyed(&self) -> Result<(), InvalidConfig> {
        match &self.candidate {
            None => Ok(()),
            Some(_) => {
                let why = "is a policy that is only asked; `to_shadow` builds it";
                Err(InvalidConfig::conflict("candidate", why))
            }
        }
    }

    /// The policies by URL prefix. Without any mount there is only the fallback.
    ///
    /// # Errors
    ///
    /// A value that does not go with another one, a prefix that is none, two prefixes that are one
    /// mount, and a candidate, which is to be asked.
    pub fn to_mounts(&self) -> Result<Mounts<RetryPolicy>, InvalidConfig> {
        self.is_obeyed()?;
        let top = self.policy.build(&Place::top(), None)?;
        let mut mounts = Mounts::new();
        for (prefix, keys) in &self.mounts {
            let at = Place::mount(prefix);
            let policy = keys.build(&at, Some(&top))?;
            let before = mounts.len();
            mounts = mounts
                .mount(prefix, policy)
                .map_err(|error| InvalidConfig::mount(&error))?;
            if mounts.len() == before {
                let why = "is the same mount as another one";
                return Err(InvalidConfig::conflict(
                    at.prefix().trim_end_matches('.'),
                    why,
                ));
            }
        }
        Ok(match self.fallback {
            Some(false) => mounts,
            None | Some(true) => mounts.fallback(top),
        })
    }

    /// This configuration with what `over` says in place of its own, for instance a file's with
    /// that of the environment. Tables of mounts, and of a candidate, are merged as well.
    ///
    /// ```
    /// use tower_http_retry::{config::RetryConfig, policy::Limit};
    ///
    /// let file: RetryConfig = toml::from_str("total = 5\nread = 2")?;
    /// let env = RetryConfig::from_vars("RETRY_", [("RETRY_TOTAL", "3")])?;
    /// let policy = file.overridden_by(env).build()?;
    /// assert_eq!(policy.total(), Limit::AtMost(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn overridden_by(mut self, over: Self) -> Self {
        for (prefix, keys) in over.mounts {
            let known = self.mounts.entry(prefix).or_default();
            *known = std::mem::take(known).overridden_by(keys);
        }
        let candidate = match (self.candidate, over.candidate) {
            (Some(own), Some(over)) => Some(own.overridden_by(over)),
            (own, over) => over.or(own),
        };
        Self {
            policy: self.policy.overridden_by(over.policy),
            layer: self.layer.overridden_by(over.layer),
            fallback: over.fallback.or(self.fallback),
            mounts: self.mounts,
            candidate,
        }
    }

    /// `replay_limit`: the bytes of a request body that are kept, for
    /// [`RetryLayer::replay_bodies`](crate::RetryLayer::replay_bodies).
    pub fn replay_limit(&self) -> Option<u64> {
        self.layer.replay_limit
    }

    pub(crate) fn layer(&self) -> &LayerKeys {
        &self.layer
    }

    /// Takes in an entry of the top, whose key is known.
    fn set(&mut self, at: &Place, key: &str, value: Value) -> Result<(), InvalidConfig> {
        if key == "fallback" {
            return read::once(&mut self.fallback, at.flag(key, &value)?, at, key);
        }
        let Some(value) = self.policy.set(at, key, value)? else {
            return Ok(());
        };
        match self.layer.set(at, key, value)? {
            Some(_) => Err(names::unknown(at, key, names::top())),
            None => Ok(()),
        }
    }

    fn add_mount(&mut self, prefix: String, keys: PolicyKeys) -> Result<(), InvalidConfig> {
        match self.mounts.entry(prefix) {
            Entry::Vacant(place) => {
                place.insert(keys);
                Ok(())
            }
            Entry::Occupied(known) => {
                let at = Place::mount(known.key());
                let table = at.prefix().trim_end_matches('.');
                Err(InvalidConfig::conflict(table, "is given twice"))
            }
        }
    }
}

impl From<&RetryPolicy> for RetryConfig {
    fn from(policy: &RetryPolicy) -> Self {
        Self {
            policy: policy.into(),
            ..Self::default()
        }
    }
}

impl From<&Mounts<RetryPolicy>> for RetryConfig {
    fn from(mounts: &Mounts<RetryPolicy>) -> Self {
        let fallback = mounts.fallback_policy();
        Self {
            policy: fallback.map(PolicyKeys::from).unwrap_or_default(),
            layer: LayerKeys::default(),
            fallback: Some(fallback.is_some()),
            mounts: mounts
                .iter()
                .map(|mount| (mount.prefix().to_owned(), mount.policy().into()))
                .collect(),
            candidate: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_are_known_are_those_that_are_read() {
        let at = Place::top();
        for key in names::policy() {
            let unread = PolicyKeys::default().set(&at, key, Value::Null);
            assert!(!matches!(unread, Ok(Some(_))), "{key}");
        }
        for key in names::LAYER {
            let unread = LayerKeys::default().set(&at, key, Value::Null);
            assert!(!matches!(unread, Ok(Some(_))), "{key}");
        }
        let unread = PolicyKeys::default().set(&at, "deadline", Value::Null);
        assert_eq!(unread, Ok(Some(Value::Null)));
    }

    /// Those of the table of settings are documented by their rows.
    #[test]
    fn every_other_key_is_documented() {
        let docs = include_str!("mod.rs");
        for key in names::top().chain(names::BACKOFF).chain(names::BUDGET) {
            let is_row = keys::NAMES.contains(&key);
            assert!(is_row || docs.contains(&format!("`{key}`")), "{key}");
        }
    }
}
