//! urllib3's `Retry`.

use http::Method;
use serde::Deserializer;

use super::{Import, Imported, object, read};
use crate::{
    config::{
        InvalidConfig,
        backoff::{Kind, read_base},
        read::Place,
        value::Value,
    },
    policy::{Jitter, Limit, LimitKind, Methods, Preset},
};

/// Imports the keyword arguments of urllib3's `Retry`, as JSON writes Python's values: `None` is
/// `null`, and a set is a list.
///
/// The policy follows the urllib3 preset. An `allowed_methods` that is empty means any method
/// there, and so it does here; `method_whitelist` is the name that urllib3 1 had for it.
///
/// ```
/// use tower_http_retry::{config::import, policy::RetryPolicy};
///
/// let arguments = serde_json::json!({
///     "total": 5,
///     "status_forcelist": [502, 503],
///     "backoff_factor": 0.1,
/// });
/// let imported = import::urllib3(&arguments)?;
/// let same = RetryPolicy::urllib3_builder()
///     .total(5)
///     .status_forcelist([502, 503])
///     .backoff_factor(0.1)
///     .build()?;
/// assert_eq!(imported.policy, same);
/// assert!(imported.untranslated.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// A value that is none of the argument's type, and what the format itself refuses.
pub fn urllib3<'de, D: Deserializer<'de>>(arguments: D) -> Result<Imported, D::Error> {
    read(arguments, import)
}

/// An argument by its name in urllib3 2.
fn plain(key: &str) -> String {
    match key {
        "method_whitelist" => "allowed_methods".to_owned(),
        key => key.to_owned(),
    }
}

fn import(arguments: Value) -> Result<Imported, InvalidConfig> {
    let mut import = Import::default();
    import.policy.preset = Some(Preset::Urllib3);
    let at = Place::top();
    for (key, value) in object("", arguments, plain)? {
        let policy = &mut import.policy;
        if let Some(kind) = LimitKind::ALL.into_iter().find(|kind| kind.as_str() == key) {
            let limit = match value {
                // `True` is 1.
                Value::Bool(true) => Limit::AtMost(1),
                ref value => at.limit(&key, value)?,
            };
            *policy.limits.get_mut(kind) = Some(limit);
            if kind == LimitKind::Redirect && limit.allows_any() && limit != Limit::Unlimited {
                import.lost(
                    key,
                    value,
                    "redirects are followed by another layer, which has a limit of its own; \
                     here it counts those that are listed in `status_forcelist`",
                );
            }
            continue;
        }
        match key.as_str() {
            "allowed_methods" | "method_whitelist" => {
                policy.allowed_methods = Some(methods(&key, value)?)
            }
            "status_forcelist" => {
                let mut statuses = Vec::new();
                let mut lost = Vec::new();
                for status in elements(&key, value)? {
                    match status {
                        Value::Int(code @ 100..=999) => statuses.extend(u16::try_from(code)),
                        Value::Int(_) => lost.push(status),
                        other => {
                            return Err(InvalidConfig::value(key, other, "a list of statuses"));
                        }
                    }
                }
                policy.status_forcelist = Some(statuses);
                for status in lost {
                    import.lost(key.clone(), status, "no response has this status");
                }
            }
            "backoff_factor" => {
                policy.backoff().kind = Some(Kind::Urllib3);
                policy.backoff().base = Some(read_base(&at, &key, &value)?);
            }
            "backoff_max" => policy.backoff().max = Some(at.time(&key, &value)?),
            "backoff_jitter" => {
                let most = at.time(&key, &value)?;
                policy.backoff().jitter = Some(match most.is_zero() {
                    true => Jitter::None,
                    false => Jitter::Additive(most),
                });
            }
            "respect_retry_after_header" => {
                policy.respect_retry_after_header = Some(at.flag(&key, &value)?);
            }
            "retry_after_max" => policy.retry_after_max = Some(at.time(&key, &value)?),
            "raise_on_status" => policy.raise_on_status = Some(at.flag(&key, &value)?),
            "raise_on_redirect" | "remove_headers_on_redirect" => import.lost(
                key,
                value,
                "redirects are followed by another layer, which has its own settings",
            ),
            "history" if matches!(value, Value::Null | Value::List(_)) => {
                if !matches!(&value, Value::List(list) if list.is_empty()) && value != Value::Null {
                    import.lost(key, value, "a policy has no past");
                }
            }
            _ => import.lost(key, value, "urllib3's `Retry` has no such argument"),
        }
    }
    import.finish()
}

/// Python takes what is empty for false, and false means any.
fn methods(key: &str, value: Value) -> Result<Methods, InvalidConfig> {
    let names = match value {
        Value::Null | Value::Bool(false) => return Ok(Methods::any()),
        Value::List(names) if names.is_empty() => return Ok(Methods::any()),
        value => elements(key, value)?,
    };
    let allowed = "a list of method names, or null for any";
    let methods: Result<Vec<Method>, _> = names
        .iter()
        .map(|name| {
            let method = name
                .as_text()
                .map(|name| Method::from_bytes(name.as_bytes()));
            method
                .and_then(Result::ok)
                .ok_or_else(|| InvalidConfig::value(key, name, allowed))
        })
        .collect();
    Ok(methods?.into())
}

fn elements(key: &str, value: Value) -> Result<Vec<Value>, InvalidConfig> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::List(list) => Ok(list),
        other => Err(InvalidConfig::value(key, other, "a list, or null")),
    }
}
