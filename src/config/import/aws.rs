//! The AWS SDKs' retry settings.

use std::time::Duration;

use serde::Deserializer;

use super::{Import, Imported, count, object, read, snake};
use crate::{
    budget::{BudgetKind, Written},
    config::{
        InvalidConfig,
        backoff::Kind,
        read::{duration, one_of},
        value::Value,
    },
    policy::{Base, Jitter, Limit, LimitKind, Methods},
};

/// Imports the settings that the AWS SDKs share: `max_attempts`, which counts the first attempt,
/// and `retry_mode`; also spelled `maxAttempts` and so on, and with `initial_backoff` and
/// `max_backoff`, as some SDKs have them.
///
/// The policy is the standard mode of specification 2.1: 3 attempts, any method, the statuses
/// 500, 502, 503 and 504, a random wait up to 50 ms, or up to 1 s after throttling, that doubles
/// up to 20 s, and the quota of
/// [`RetryBudget::aws`](crate::budget::RetryBudget::aws). What else that mode does, it does by
/// reading response bodies, which is reported.
///
/// # Errors
///
/// A value that the SDKs refuse, too, and what the format itself refuses.
pub fn aws<'de, D: Deserializer<'de>>(document: D) -> Result<Imported, D::Error> {
    read(document, import)
}

/// Imports `AWS_MAX_ATTEMPTS` and `AWS_RETRY_MODE`; the other variables are not looked at.
///
/// ```
/// use tower_http_retry::{config::import, policy::Limit};
///
/// let imported = import::aws_vars([("AWS_MAX_ATTEMPTS", "5"), ("HOME", "/")])?;
/// assert_eq!(imported.policy.total(), Limit::AtMost(4));
/// # Ok::<(), tower_http_retry::config::InvalidConfig>(())
/// ```
///
/// # Errors
///
/// A value that the SDKs refuse, too.
pub fn aws_vars<N, V>(vars: impl IntoIterator<Item = (N, V)>) -> Result<Imported, InvalidConfig>
where
    N: AsRef<str>,
    V: AsRef<str>,
{
    let known = ["AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"];
    let entries = vars
        .into_iter()
        .filter(|(name, _)| known.contains(&name.as_ref()))
        .map(|(name, value)| (name.as_ref().to_owned(), Value::of_text(value.as_ref())))
        .collect();
    import(Value::Table(entries))
}

/// Specification 2.1's base after throttling.
const THROTTLE_BASE: Duration = Duration::from_secs(1);

const MODES: [&str; 3] = ["standard", "adaptive", "legacy"];

/// A setting by its usual name.
fn plain(key: &str) -> String {
    match key {
        "AWS_MAX_ATTEMPTS" => "max_attempts".to_owned(),
        "AWS_RETRY_MODE" | "mode" => "retry_mode".to_owned(),
        key => snake(key),
    }
}

fn import(document: Value) -> Result<Imported, InvalidConfig> {
    let mut import = Import::default();
    let mut attempts = 3;
    let mut mode = ("retry_mode".to_owned(), "standard".to_owned());
    let mut base = Duration::from_millis(50);
    let mut max = Duration::from_secs(20);
    for (key, value) in object("", document, plain)? {
        let wait = || {
            let allowed = "a number of seconds that is not negative, or a text such as \"50ms\"";
            duration(&value).ok_or_else(|| InvalidConfig::value(&key, &value, allowed))
        };
        match plain(&key).as_str() {
            "max_attempts" => attempts = count(&key, &value, 1)?,
            "retry_mode" => {
                let given = value.as_text().map(str::to_ascii_lowercase);
                let known = given.filter(|given| MODES.contains(&given.as_str()));
                let known = known.ok_or_else(|| {
                    InvalidConfig::value(&key, &value, one_of(MODES.iter().copied()))
                })?;
                mode = (key, known);
            }
            "initial_backoff" => base = wait()?,
            "max_backoff" => max = wait()?,
            _ => import.lost(key, value, "it is none of the retry settings"),
        }
    }

    let policy = &mut import.policy;
    *policy.limits.get_mut(LimitKind::Total) = Some(Limit::from(attempts - 1));
    policy.allowed_methods = Some(Methods::any());
    policy.status_forcelist = Some(vec![500, 502, 503, 504]);
    policy.respect_retry_after_header = Some(false);
    policy.backoff().kind = Some(Kind::Exponential);
    policy.backoff().base = Some(Base::Exact(base));
    policy.backoff().throttle_base = Some(THROTTLE_BASE);
    policy.backoff().max = Some(max);
    policy.backoff().jitter = Some(Jitter::Full);
    policy.budget = Some(Written::of_kind(BudgetKind::Aws).into());

    let (key, mode) = mode;
    let mut lost = |why| import.lost(key.clone(), format_args!("{mode:?}"), why);
    match mode.as_str() {
        "adaptive" => lost(
            "first attempts are not slowed down; `AdaptiveThrottle` refuses some of them instead. \
             Else it is the standard mode",
        ),
        "legacy" => lost("the standard mode is imported in its place"),
        _ => {}
    }
    lost(
        "error codes in response bodies are not read, by which SDKs tell throttling (429, too) \
         and clock skew; a classifier can retry on other statuses and headers",
    );
    lost("`x-amz-retry-after` is not read");
    import.finish()
}
