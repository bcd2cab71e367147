//! gRPC's service config.

use std::{collections::HashSet, time::Duration};

use serde::Deserializer;

use super::{Import, Imported, count, list, object, read, time};
use crate::{
    budget::{BudgetKind, RetryBudget, Written},
    config::{InvalidConfig, backoff::Kind, value::Value},
    policy::{Base, GrpcPolicies, InvalidPolicy, Jitter, Limit, LimitKind, OTHERS, Preset},
    reason::GrpcCode,
};

/// The policy for some methods of a gRPC service config.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GrpcMethods {
    /// Their names, for [`GrpcPolicies`]: `/package.Service/Method` for one, `/package.Service/`
    /// for a service, `/` for all others.
    pub paths: Vec<String>,
    /// Their policy.
    pub imported: Imported,
}

/// Imports a gRPC service config: a policy for each `methodConfig`, all of them with the one
/// budget of `retryThrottling`, and a last one for all other methods if the document has none. A
/// bare `retryPolicy` will do as well.
///
/// [`GrpcPolicies`] takes them all. They have the rules of
/// [`RetryPolicy::grpc`](crate::policy::RetryPolicy::grpc), which are gRPC's own.
///
/// What a method config without `retryPolicy` retries is only what was never processed, as in
/// gRPC. `maxAttempts` above 5 is 5, as there. A `timeout` is taken over by
/// [`GrpcPolicies`]: a call has the shortest of it, its own deadline
/// ([`RequestDeadline`](crate::RequestDeadline), `grpc-timeout`) and the layer's. As a layer has one
/// timeout for all attempts, `perAttemptRecvTimeout` is only in [`Imported::config`], as `timeout` is,
/// too.
///
/// ```
/// use tower_http_retry::{
///     RetryLayer,
///     config::import,
///     policy::{GrpcPolicies, Limit},
/// };
///
/// let document = serde_json::json!({
///     "methodConfig": [{
///         "name": [{ "service": "helloworld.Greeter" }],
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
/// let policies = GrpcPolicies::try_from(import::grpc(&document)?)?;
/// let greeter = policies.get("/helloworld.Greeter/SayHello");
/// assert_eq!(greeter.total(), Limit::AtMost(3));
/// assert_eq!(policies.get("/other.Service/Call").total(), Limit::AtMost(0));
/// let layer = RetryLayer::new(policies);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// What gRPC refuses as well: a field of the wrong type or out of its range, a `retryPolicy`
/// that lacks one, and a name that is there twice. And what the format itself refuses.
pub fn grpc<'de, D: Deserializer<'de>>(document: D) -> Result<Vec<GrpcMethods>, D::Error> {
    read(document, import)
}

impl TryFrom<Vec<GrpcMethods>> for GrpcPolicies {
    type Error = InvalidPolicy;

    /// What [`grpc`] returns has no name twice.
    fn try_from(methods: Vec<GrpcMethods>) -> Result<Self, InvalidPolicy> {
        let named = methods.iter().flat_map(|methods| {
            let imported = &methods.imported;
            methods.paths.iter().map(move |path| (&**path, imported))
        });
        let (others, named): (Vec<_>, Vec<_>) = named.partition(|(path, _)| *path == OTHERS);
        let others = match others[..] {
            [(_, others)] => others,
            _ => {
                let times = format_args!("{} times", others.len());
                return Err(InvalidPolicy::new(
                    "/",
                    times,
                    "a policy for all others once",
                ));
            }
        };
        let limited =
            |all: Self, path: &str, imported: &Imported| match imported.config.layer.deadline {
                Some(timeout) => all.timeout(path, timeout),
                None => Ok(all),
            };
        let none = limited(Self::new(others.policy.clone()), OTHERS, others)?;
        named.into_iter().try_fold(none, |all, (path, imported)| {
            limited(all.name(path, imported.policy.clone())?, path, imported)
        })
    }
}

/// gRFC A6: more attempts are treated as so many.
const MOST_ATTEMPTS: u32 = 5;

fn import(document: Value) -> Result<Vec<GrpcMethods>, InvalidConfig> {
    let entries = object("", document, str::to_owned)?;
    if entries.iter().any(|(key, _)| key == "maxAttempts") {
        let mut import = bare();
        retry_policy(&mut import, "", Value::Table(entries))?;
        return Ok(vec![GrpcMethods {
            paths: vec![OTHERS.to_owned()],
            imported: import.finish()?,
        }]);
    }

    let mut methods = Vec::new();
    let mut names = HashSet::new();
    let mut budget = None;
    let mut lost = Import::default();
    for (key, value) in entries {
        match key.as_str() {
            "methodConfig" => {
                for (at, config) in list(&key, value)?.into_iter().enumerate() {
                    let place = format!("methodConfig[{at}].");
                    let (paths, import) = method_config(&place, config)?;
                    for path in &paths {
                        if !names.insert(path.clone()) {
                            let why = format!("has `{path}`, which has a policy already");
                            return Err(InvalidConfig::conflict(format!("{place}name"), why));
                        }
                    }
                    methods.push((paths, import));
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
    if !names.contains(OTHERS) {
        methods.push((vec![OTHERS.to_owned()], bare()));
    }
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
    policy.preset = Some(Preset::Grpc);
    *policy.limits.get_mut(LimitKind::Total) = Some(Limit::AtMost(0));
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
            "hedgingPolicy" => {
                import.lost(name, value, "what sends a call twice is a layer of its own")
            }
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
                let timeout = positive(&name, &value)?;
                import.layer.attempt_timeout = Some(timeout);
                import.lost(
                    name,
                    value,
                    "an attempt that takes longer is repeated only if DEADLINE_EXCEEDED is listed",
                );
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
    let codes = codes.iter().map(|code| status_code(&codes_key, code));
    import.policy.retryable_status_codes = Some(codes.collect::<Result<_, _>>()?);
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

fn status_code(key: &str, code: &Value) -> Result<GrpcCode, InvalidConfig> {
    let known = match code {
        Value::Int(number @ 1..=16) => i64::try_from(*number).ok().map(GrpcCode::from_number),
        Value::Text(name) => name.parse().ok().filter(|code| *code != GrpcCode::Ok),
        _ => None,
    };
    known.ok_or_else(|| {
        let allowed = "the name of a gRPC status code of failure, or its number";
        InvalidConfig::value(key, code, allowed)
    })
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
