//! Envoy's `RetryPolicy`.

use std::time::Duration;

use http::{HeaderName, header::RETRY_AFTER};
use serde::Deserializer;

use super::{Import, Imported, count, list, object, read, snake, time};
use crate::{
    budget::RetryBudget,
    config::{InvalidConfig, backoff::Kind, time::format, value::Value},
    policy::{Jitter, Limit, LimitKind, Methods, ResetFormat, ResetHeader, RetryAfterMode},
};

/// Imports Envoy's `config.route.v3.RetryPolicy` in its JSON form, with either spelling of the
/// fields; or a route's action that has one as `retry_policy`, whose `timeout` becomes the
/// deadline.
///
/// Envoy does not ask for the method, so any is allowed. Its backoff, a random wait up to
/// `(2^n - 1) * base_interval`, is written out as a list with full jitter. With a
/// `rate_limited_retry_back_off`, servers' [hints](crate::policy::hints) are obeyed, else none.
///
/// # Errors
///
/// A field of the wrong type, and what the format itself refuses.
pub fn envoy<'de, D: Deserializer<'de>>(document: D) -> Result<Imported, D::Error> {
    read(document, import)
}

/// What conditions of `retry_on` are, or why they are not here.
enum Condition {
    Statuses(std::ops::RangeInclusive<u16>),
    Other(&'static str),
}

const CLASSIFIER: &str = "response headers are not looked at; a classifier can do that";
const GRPC: &str = "`grpc-status` is not looked at; a classifier can do that";

#[derive(Default)]
struct Fields {
    retry_on: Named<Vec<String>>,
    retries: Option<u32>,
    codes: Named<Vec<u16>>,
    base: Option<Duration>,
    max: Option<Duration>,
    /// Whether there are any headers.
    rate_limited: Named<bool>,
}

/// A field with its name in the document.
#[derive(Default)]
struct Named<T> {
    name: String,
    value: T,
}

fn import(document: Value) -> Result<Imported, InvalidConfig> {
    let mut import = Import::default();
    let entries = object("", document, snake)?;
    let is_route = entries.iter().any(|(key, _)| snake(key) == "retry_policy");
    let mut fields = Fields::default();
    if !is_route {
        policy(&mut import, &mut fields, "", entries)?;
    } else {
        for (key, value) in entries {
            match snake(&key).as_str() {
                "retry_policy" => {
                    let entries = object(&key, value, snake)?;
                    policy(&mut import, &mut fields, &format!("{key}."), entries)?;
                }
                // 0 is none.
                "timeout" => {
                    import.layer.deadline = Some(time(&key, &value)?).filter(|t| !t.is_zero());
                }
                _ => import.lost(key, value, "it has nothing to do with retries"),
            }
        }
    }
    translate(&mut import, &fields);
    import.finish()
}

fn policy(
    import: &mut Import,
    fields: &mut Fields,
    place: &str,
    entries: Vec<(String, Value)>,
) -> Result<(), InvalidConfig> {
    for (key, value) in entries {
        let name = format!("{place}{key}");
        match snake(&key).as_str() {
            "retry_on" => {
                let Some(text) = value.as_text() else {
                    let allowed = "conditions with commas between them";
                    return Err(InvalidConfig::value(name, value, allowed));
                };
                let conditions = text
                    .split(',')
                    .map(str::trim)
                    .filter(|text| !text.is_empty());
                fields.retry_on.value = conditions.map(str::to_owned).collect();
                fields.retry_on.name = name;
            }
            "num_retries" => fields.retries = Some(count(&name, &value, 0)?),
            "per_try_timeout" => {
                let timeout = time(&name, &value)?;
                // 0 is none.
                import.layer.attempt_timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
            }
            "retriable_status_codes" => {
                fields.codes.name.clone_from(&name);
                for code in list(&name, value)? {
                    match code {
                        Value::Int(code @ 100..=999) => {
                            fields.codes.value.extend(u16::try_from(code))
                        }
                        other => {
                            return Err(InvalidConfig::value(name, other, "a list of statuses"));
                        }
                    }
                }
            }
            "retry_back_off" => {
                for (key, value) in object(&name, value, snake)? {
                    let name = format!("{name}.{key}");
                    match snake(&key).as_str() {
                        "base_interval" => fields.base = Some(time(&name, &value)?),
                        "max_interval" => fields.max = Some(time(&name, &value)?),
                        _ => import.lost(name, value, "Envoy's `RetryBackOff` has no such field"),
                    }
                }
            }
            "rate_limited_retry_back_off" => rate_limited(import, fields, &name, value)?,
            "per_try_idle_timeout" => {
                import.lost(
                    name,
                    value,
                    "there is no idle timeout; a layer below can have one",
                );
            }
            "retriable_headers" => import.lost(name, value, CLASSIFIER),
            "retriable_request_headers" => import.lost(
                name,
                value,
                "request headers are not looked at: all requests are retried, unless they bring \
                 `RetryDisabled` along",
            ),
            "retry_priority"
            | "retry_host_predicate"
            | "host_selection_retry_max_attempts"
            | "retry_options_predicates" => import.lost(
                name,
                value,
                "the host of a retry is chosen by the inner service",
            ),
            _ => import.lost(name, value, "Envoy's `RetryPolicy` has no such field"),
        }
    }
    Ok(())
}

fn rate_limited(
    import: &mut Import,
    fields: &mut Fields,
    place: &str,
    value: Value,
) -> Result<(), InvalidConfig> {
    fields.rate_limited.name = place.to_owned();
    // Envoy's default.
    let mut max = Duration::from_secs(300);
    let mut headers = Named::<Vec<ResetOf>>::default();
    for (key, value) in object(place, value, snake)? {
        let name = format!("{place}.{key}");
        match snake(&key).as_str() {
            "reset_headers" => {
                for header in list(&name, value)? {
                    headers.value.push(ResetOf::read(&name, header)?);
                }
                headers.name = name;
            }
            "max_interval" => max = time(&name, &value)?,
            _ => import.lost(name, value, "Envoy has no such field there"),
        }
    }
    if headers.value.is_empty() {
        return Ok(());
    }

    fields.rate_limited.value = true;
    let mut has_retry_after = false;
    let mut resets = Vec::new();
    for header in headers.value {
        match header.reset {
            None => has_retry_after = true,
            Some(Ok(reset)) => {
                has_retry_after |= *reset.name() == RETRY_AFTER;
                resets.push(reset);
            }
            Some(Err(why)) => import.lost(&headers.name, header.shown, why),
        }
    }
    if !has_retry_after {
        import.lost(&headers.name, "Retry-After", "here it is obeyed as well");
    }
    import.lost(
        format!("{place}.max_interval"),
        format(max),
        "Envoy takes its usual backoff when a server asks for more; here the wait is shortened \
         to that",
    );
    let policy = &mut import.policy;
    policy.reset_headers = Some(resets);
    policy.retry_after_max = Some(max);
    policy.retry_after_mode = Some(RetryAfterMode::Clamp);
    // Up to half as long again.
    policy.retry_after_jitter = Some(0.5);
    Ok(())
}

/// One of Envoy's `reset_headers`.
struct ResetOf {
    /// As in the document.
    shown: String,
    /// `None` for `Retry-After`; an error says why it is no such header here.
    reset: Option<Result<ResetHeader, &'static str>>,
}

impl ResetOf {
    fn read(key: &str, header: Value) -> Result<Self, InvalidConfig> {
        let shown = header.to_string();
        let (mut name, mut format) = (String::new(), Some(ResetFormat::Seconds));
        for (field, value) in object(key, header, snake)? {
            match (field.as_str(), value) {
                ("name", Value::Text(text)) => name = text,
                ("format", value) => {
                    format = match (value.as_text(), &value) {
                        (Some("SECONDS"), _) | (_, Value::Int(0)) => Some(ResetFormat::Seconds),
                        (Some("UNIX_TIMESTAMP"), _) | (_, Value::Int(1)) => {
                            Some(ResetFormat::Epoch)
                        }
                        _ => None,
                    }
                }
                _ => {}
            }
        }
        let reset = match (format, name.parse::<HeaderName>()) {
            (None, _) => Some(Err("Envoy has no such format")),
            (_, Err(_)) => {
                let allowed = "the name of a header";
                return Err(InvalidConfig::value(format!("{key}.name"), shown, allowed));
            }
            (Some(ResetFormat::Seconds), Ok(name)) if name == RETRY_AFTER => None,
            (Some(format), Ok(name)) => {
                let reset = ResetHeader::new(name, format);
                let taken = "here this header is always read in its own format";
                Some(reset.validate().map(|()| reset).map_err(|_| taken))
            }
        };
        Ok(Self { shown, reset })
    }
}

fn translate(import: &mut Import, fields: &Fields) {
    let retries = fields.retries.unwrap_or(1);
    let mut statuses: Vec<u16> = Vec::new();
    let (mut connect, mut reset, mut refused, mut codes) = (false, false, false, false);
    for condition in &fields.retry_on.value {
        let found = match condition.as_str() {
            "5xx" => Condition::Statuses(500..=599),
            "gateway-error" => Condition::Statuses(502..=504),
            "retriable-4xx" => {
                statuses.push(409);
                continue;
            }
            "reset" => {
                reset = true;
                continue;
            }
            "connect-failure" => {
                connect = true;
                continue;
            }
            "refused-stream" => {
                refused = true;
                continue;
            }
            "reset-before-request" => {
                (connect, refused) = (true, true);
                continue;
            }
            "retriable-status-codes" => {
                codes = true;
                continue;
            }
            "envoy-ratelimited" | "retriable-headers" => Condition::Other(CLASSIFIER),
            "cancelled" | "deadline-exceeded" | "internal" | "resource-exhausted"
            | "unavailable" => Condition::Other(GRPC),
            "http3-post-connect-failure" => {
                Condition::Other("failures of HTTP/3 are not told apart")
            }
            _ => Condition::Other("Envoy knows no such condition"),
        };
        match found {
            // A reset is a 503 to Envoy.
            Condition::Statuses(range) => {
                statuses.extend(range);
                reset = true;
            }
            Condition::Other(why) => {
                import.lost(&fields.retry_on.name, format_args!("{condition:?}"), why);
            }
        }
    }
    if codes {
        statuses.extend(&fields.codes.value);
    } else if !fields.codes.value.is_empty() {
        import.lost(
            &fields.codes.name,
            format_args!("{:?}", fields.codes.value),
            "`retry_on` has no `retriable-status-codes`, so Envoy does not use it",
        );
    }
    statuses.sort_unstable();
    statuses.dedup();

    let policy = &mut import.policy;
    let limit = |on: bool| Some(if on { Limit::Unlimited } else { Limit::Never });
    for (kind, on) in [
        (LimitKind::Connect, connect || reset),
        (LimitKind::Read, reset),
        (LimitKind::Other, reset),
        (LimitKind::Redirect, !statuses.is_empty()),
        (LimitKind::Status, !statuses.is_empty()),
    ] {
        *policy.limits.get_mut(kind) = limit(on);
    }
    *policy.limits.get_mut(LimitKind::Total) = Some(Limit::from(retries));
    // With resets they are retried as these are.
    policy.unprocessed = Some(if refused && !reset { retries } else { 0 });
    policy.allowed_methods = Some(Methods::any());
    policy.respect_retry_after_header = Some(fields.rate_limited.value);
    policy.should_retry_header = Some(None);
    policy.budget = Some(None::<&RetryBudget>.into());

    let base = fields.base.unwrap_or(Duration::from_millis(25));
    let max = fields.max.unwrap_or(base.saturating_mul(10));
    policy.backoff().kind = Some(Kind::List);
    policy.backoff().waits = Some(waits(base, max, retries));
    policy.backoff().max = Some(max);
    policy.backoff().jitter = Some(Jitter::Full);

    let unlisted: Vec<u16> = [413, 429, 503]
        .into_iter()
        .filter(|status| !statuses.contains(status))
        .collect();
    if fields.rate_limited.value && !statuses.is_empty() && !unlisted.is_empty() {
        import.lost(
            &fields.rate_limited.name,
            "Retry-After",
            format!(
                "with this header {} is retried here, though `retry_on` does not have it",
                unlisted
                    .iter()
                    .map(u16::to_string)
                    .collect::<Vec<_>>()
                    .join(" or ")
            ),
        );
    }
    import.policy.status_forcelist = Some(statuses);
}

/// The longest waits before each retry.
fn waits(base: Duration, max: Duration, retries: u32) -> Vec<Duration> {
    let mut waits = Vec::new();
    for n in 1..=retries.clamp(1, 32) {
        let times = u32::try_from((1_u64 << n) - 1).unwrap_or(u32::MAX);
        let wait = base.saturating_mul(times).min(max);
        waits.push(wait);
        if wait == max {
            break;
        }
    }
    waits
}
