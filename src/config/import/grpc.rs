//! gRPC's service config.

use std::time::Duration;

use http::Method;
use serde::Deserializer;

use super::{Import, Imported, count, list, object, read, time};
use crate::{
    budget::{BudgetKind, RetryBudget, Written},
    config::{InvalidConfig, backoff::Kind, value::Value},
    policy::{Base, InvalidPolicy, Jitter, Limit, LimitKind, Methods, PerKind},
};

/// The policy for some methods of a gRPC service config.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GrpcMethods {
    /// The paths of the methods, for [`Mounts`](crate::mounts::Mounts) below an origin:
    /// `/package.Service/Method` for one, `/package.Service/` for a service, `/` for all others.
    pub paths: Vec<String>,
    /// Their policy.
    pub imported: Imported,
}

/// Imports a gRPC service config: a policy for each `methodConfig`, and for all of them one
/// budget of `retryThrottling`. A bare `retryPolicy` will do as well.
///
/// What a method config without `retryPolicy` retries is only what was never processed, as in
/// gRPC. `maxAttempts` above 5 is 5, as there, and `timeout` is the layer's deadline.
///
/// A policy sees HTTP, not gRPC: of `retryableStatusCodes` it retries the HTTP statuses and
/// failures that gRPC maps to these codes ("HTTP to gRPC Status Code Mapping"), and not the codes
/// in `grpc-status`, for which a classifier is needed. Each code is reported.
///
/// `grpc-retry-pushback-ms` is obeyed, as in gRPC, and so is `Retry-After`; both up to the default
/// preset's `retry_after_max`.
///
/// ```
/// use tower_http_retry::{config::import, mounts::Mounts, policy::RetryPolicy};
///
/// let document = serde_json::json!({
///     "methodConfig": [{
///         "name": [{ "service": "helloworld.Greeter" }],
///         "timeout": "2s",
///         "retryPolicy": {
///             "maxAttempts": 4,
///             "initialBackoff": "0.1s",
///             "maxBackoff": "1s",
///             "backoffMultiplier": 2,
///             "retryableStatusCodes": ["UNAVAILABLE"]
///         }
///     }],
///     "retryThrottling": { "maxTokens": 10, "tokenRatio": 0.1 }
/// });
/// let mut mounts = Mounts::new();
/// for methods in import::grpc(&document)? {
///     for path in &methods.paths {
///         let prefix = format!("https://greeter.example.com{path}");
///         mounts = mounts.mount(&prefix, methods.imported.policy.clone())?;
///     }
/// }
/// let uri = "https://greeter.example.com/helloworld.Greeter/SayHello".parse()?;
/// assert!(mounts.get(&uri).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// What gRPC refuses as well: a field of the wrong type or out of its range, and a `retryPolicy`
/// that lacks one. And what the format itself refuses.
pub fn grpc<'de, D: Deserializer<'de>>(document: D) -> Result<Vec<GrpcMethods>, D::Error> {
    read(document, import)
}

/// What each code is called, by its number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The HTTP statuses of responses without `grpc-status` that gRPC takes for these codes. All
/// others are UNKNOWN.
const STATUSES: [(&str, &[u16]); 5] = [
    ("INTERNAL", &[400]),
    ("UNAUTHENTICATED", &[401]),
    ("PERMISSION_DENIED", &[403]),
    ("UNIMPLEMENTED", &[404]),
    ("UNAVAILABLE", &[429, 502, 503, 504]),
];

/// gRFC A6: more attempts are treated as so many.
const MOST_ATTEMPTS: u32 = 5;

fn import(document: Value) -> Result<Vec<GrpcMethods>, InvalidConfig> {
    let entries = object("", document, str::to_owned)?;
    if entries.iter().any(|(key, _)| key == "maxAttempts") {
        let mut import = bare();
        retry_policy(&mut import, "", Value::Table(entries))?;
        return Ok(vec![GrpcMethods {
            paths: vec!["/".to_owned()],
            imported: import.finish()?,
        }]);
    }

    let mut methods = Vec::new();
    let mut budget = None;
    let mut lost = Import::default();
    for (key, value) in entries {
        match key.as_str() {
            "methodConfig" => {
                for (at, config) in list(&key, value)?.into_iter().enumerate() {
                    methods.push(method_config(&format!("methodConfig[{at}]."), config)?);
                }
            }
            "retryThrottling" => budget = Some(throttling(value)?),
            _ => lost.lost(key, value, "it has nothing to do with retries"),
        }
    }
    let throttle = match &budget {
        Some(budget) => Some(budget.build().map_err(throttling_error)?),
        None => None,
    };
    let mut all = Vec::new();
    for (paths, mut import) in methods {
        import
            .untranslated
            .extend(lost.untranslated.iter().cloned());
        import.policy.budget = Some(match &budget {
            Some(budget) => budget.clone().into(),
            None => None::<&RetryBudget>.into(),
        });
        let mut imported = import.finish()?;
        // One for all, not one like it for each.
        let builder = imported.policy.to_builder().budget(throttle.clone());
        imported.policy = builder
            .build()
            .map_err(|error| InvalidConfig::policy("", &error))?;
        all.push(GrpcMethods { paths, imported });
    }
    Ok(all)
}

/// Retries nothing but what was never processed.
fn bare() -> Import {
    let mut import = Import::default();
    let policy = &mut import.policy;
    policy.limits = PerKind::all(Some(Limit::Never));
    *policy.limits.get_mut(LimitKind::Total) = Some(Limit::Unlimited);
    // The caller declared that these methods can be retried; all of them are POST.
    policy.allowed_methods = Some(Methods::from([Method::POST]));
    policy.status_forcelist = Some(Vec::new());
    // For the pushback, which is exact.
    policy.respect_retry_after_header = Some(true);
    policy.retry_after_jitter = Some(0.0);
    policy.reset_headers = Some(Vec::new());
    policy.should_retry_header = Some(None);
    policy.budget = Some(None::<&RetryBudget>.into());
    import
}

fn method_config(place: &str, config: Value) -> Result<(Vec<String>, Import), InvalidConfig> {
    let mut import = bare();
    let mut paths = Vec::new();
    for (key, value) in object(place.trim_end_matches('.'), config, str::to_owned)? {
        let name = format!("{place}{key}");
        match key.as_str() {
            "name" => {
                for entry in list(&name, value)? {
                    paths.push(path(&name, entry)?);
                }
            }
            "timeout" => import.layer.deadline = Some(time(&name, &value)?),
            "retryPolicy" => retry_policy(&mut import, &format!("{name}."), value)?,
            "hedgingPolicy" => import.lost(name, value, "requests are never sent twice at a time"),
            "waitForReady" => import.lost(
                name,
                value,
                "readiness is the inner service's; the layer always waits for it",
            ),
            _ => import.lost(name, value, "it has nothing to do with retries"),
        }
    }
    Ok((paths, import))
}

fn path(key: &str, name: Value) -> Result<String, InvalidConfig> {
    let shown = name.to_string();
    let (mut service, mut method) = (String::new(), String::new());
    for (part, value) in object(key, name, str::to_owned)? {
        let Some(text) = value.as_text() else {
            return Err(InvalidConfig::value(
                format!("{key}.{part}"),
                value,
                "a name",
            ));
        };
        match part.as_str() {
            "service" => service = text.to_owned(),
            "method" => method = text.to_owned(),
            _ => return Err(InvalidConfig::value(key, shown, "`service` and `method`")),
        }
    }
    if service.is_empty() && !method.is_empty() {
        return Err(InvalidConfig::value(
            key,
            shown,
            "a `method` with its `service`",
        ));
    }
    Ok(match service.is_empty() {
        true => "/".to_owned(),
        false => format!("/{service}/{method}"),
    })
}

fn retry_policy(import: &mut Import, place: &str, value: Value) -> Result<(), InvalidConfig> {
    let (mut attempts, mut initial, mut max, mut multiplier, mut codes) =
        (None, None, None, None, None);
    let positive = |key: &str, value: &Value| {
        let wait = time(key, value)?;
        match wait.is_zero() {
            true => Err(InvalidConfig::value(key, value, "more than 0")),
            false => Ok(wait),
        }
    };
    for (key, value) in object(place.trim_end_matches('.'), value, str::to_owned)? {
        let name = format!("{place}{key}");
        match key.as_str() {
            "maxAttempts" => {
                let asked = count(&name, &value, 2)?;
                if asked > MOST_ATTEMPTS {
                    import.lost(
                        name,
                        value,
                        "gRPC treats more than 5 as 5, and so it is here",
                    );
                }
                attempts = Some(asked.min(MOST_ATTEMPTS));
            }
            "initialBackoff" => initial = Some(positive(&name, &value)?),
            "maxBackoff" => max = Some(positive(&name, &value)?),
            "backoffMultiplier" => {
                let factor = value.as_f64().filter(|m| m.is_finite() && *m > 0.0);
                multiplier =
                    Some(factor.ok_or_else(|| InvalidConfig::value(name, value, "more than 0"))?);
            }
            "retryableStatusCodes" => codes = Some((name.clone(), list(&name, value)?)),
            "perAttemptRecvTimeout" => {
                import.layer.attempt_timeout = Some(positive(&name, &value)?)
            }
            _ => import.lost(name, value, "gRPC's `retryPolicy` has no such field"),
        }
    }
    let missing = |key: &str| InvalidConfig::conflict(format!("{place}{key}"), "is missing");
    let attempts = attempts.ok_or_else(|| missing("maxAttempts"))?;
    let initial = initial.ok_or_else(|| missing("initialBackoff"))?;
    let max = max.ok_or_else(|| missing("maxBackoff"))?;
    let multiplier = multiplier.ok_or_else(|| missing("backoffMultiplier"))?;
    let (codes_key, codes) = codes
        .filter(|(_, codes)| !codes.is_empty())
        .ok_or_else(|| missing("retryableStatusCodes"))?;

    *import.policy.limits.get_mut(LimitKind::Total) = Some(Limit::from(attempts - 1));
    let backoff = import.policy.backoff();
    backoff.max = Some(max);
    backoff.jitter = Some(Jitter::Around(0.2));
    if multiplier >= 1.0 {
        backoff.kind = Some(Kind::Exponential);
        backoff.base = Some(Base::Exact(initial));
        backoff.multiplier = Some(multiplier);
    } else {
        // Waits that become shorter are no kind of their own.
        backoff.kind = Some(Kind::List);
        backoff.waits = Some(shrinking(initial, multiplier, attempts - 1));
    }
    for code in codes {
        status_code(import, &codes_key, &code)?;
    }
    Ok(())
}

fn shrinking(initial: Duration, multiplier: f64, retries: u32) -> Vec<Duration> {
    let mut waits = vec![initial];
    for _ in 1..retries {
        let last = waits.last().copied().unwrap_or(initial);
        waits.push(last.mul_f64(multiplier));
    }
    waits
}

fn status_code(import: &mut Import, key: &str, code: &Value) -> Result<(), InvalidConfig> {
    let known = match code {
        Value::Int(number) => usize::try_from(*number).ok().and_then(|n| CODES.get(n)),
        Value::Text(name) => CODES.iter().find(|known| known.eq_ignore_ascii_case(name)),
        _ => None,
    };
    let Some(name) = known else {
        let allowed = "the name of a gRPC status code, or its number";
        return Err(InvalidConfig::value(key, code, allowed));
    };
    let policy = &mut import.policy;
    let mut allow = |kind: LimitKind| *policy.limits.get_mut(kind) = Some(Limit::Unlimited);
    match *name {
        "UNAVAILABLE" => {
            allow(LimitKind::Connect);
            allow(LimitKind::Read);
        }
        "UNKNOWN" => allow(LimitKind::Other),
        _ => {}
    }
    let statuses = STATUSES.iter().find(|(known, _)| known == name);
    let why = match statuses {
        Some((_, statuses)) => {
            allow(LimitKind::Status);
            if let Some(all) = &mut policy.status_forcelist {
                all.extend(*statuses);
            }
            let shown: Vec<_> = statuses.iter().map(u16::to_string).collect();
            format!(
                "`grpc-status` is not looked at, a classifier can do that; responses without it \
                 are retried when their HTTP status is {}",
                shown.join(", ")
            )
        }
        None => "`grpc-status` is not looked at, a classifier can do that; and no HTTP status \
                 stands for this code"
            .to_owned(),
    };
    import.lost(key, name, why);
    Ok(())
}

fn throttling(value: Value) -> Result<Written, InvalidConfig> {
    let mut written = Written::of_kind(BudgetKind::Grpc);
    let (mut tokens, mut ratio) = (None, None);
    for (key, value) in object("retryThrottling", value, str::to_owned)? {
        let name = format!("retryThrottling.{key}");
        let number = value.as_f64().filter(|number| number.is_finite());
        let number = number.ok_or_else(|| InvalidConfig::value(&name, &value, "a number"))?;
        match key.as_str() {
            "maxTokens" => tokens = Some(number),
            "tokenRatio" => ratio = Some(number),
            _ => {
                return Err(InvalidConfig::unknown(
                    name,
                    "allowed are `maxTokens` and `tokenRatio`",
                ));
            }
        }
    }
    let missing = |key| InvalidConfig::conflict(format!("retryThrottling.{key}"), "is missing");
    written.capacity = Some(tokens.ok_or_else(|| missing("maxTokens"))?);
    written.ratio = ratio.ok_or_else(|| missing("tokenRatio"))?;
    Ok(written)
}

/// In gRPC's words.
fn throttling_error(error: InvalidPolicy) -> InvalidConfig {
    let key = match error.field() {
        "ratio" => "retryThrottling.tokenRatio",
        _ => "retryThrottling.maxTokens",
    };
    InvalidConfig::value(key, error.value(), error.allowed())
}
