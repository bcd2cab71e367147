//! The names of all keys, and what was probably meant by another one.

use super::{InvalidConfig, keys::NAMES, read::Place};

/// The keys of a policy that have no row in the table of settings.
const OTHERS: [&str; 10] = [
    "preset",
    "total",
    "connect",
    "read",
    "redirect",
    "status",
    "other",
    "backoff_factor",
    "backoff_max",
    "backoff_jitter",
];

/// The keys of a policy.
pub(super) fn policy() -> impl Iterator<Item = &'static str> {
    OTHERS.into_iter().chain(NAMES.iter().copied())
}

/// The keys of the layer, which only the top of a document has.
pub(super) const LAYER: [&str; LAYERS] = [
    "attempt_timeout",
    "deadline",
    "min_attempt",
    "replay_limit",
    "drain_limit",
    "attempt_header",
    "max_retries_in_flight",
    "share_hints",
    #[cfg(feature = "ratelimit")]
    "pace_below",
];

const LAYERS: usize = if cfg!(feature = "ratelimit") { 9 } else { 8 };

/// The other keys of the top.
#[cfg(feature = "shadow")]
pub(super) const TOP: [&str; 3] = ["fallback", "mounts", "candidate"];
#[cfg(not(feature = "shadow"))]
pub(super) const TOP: [&str; 2] = ["fallback", "mounts"];

/// All keys of the top.
pub(super) fn top() -> impl Iterator<Item = &'static str> {
    policy().chain(LAYER).chain(TOP)
}

pub(super) const BACKOFF: [&str; 7] = [
    "kind",
    "base",
    "throttle_base",
    "waits",
    "max",
    "multiplier",
    "jitter",
];

pub(super) const BUDGET: [&str; 9] = [
    "kind",
    "ratio",
    "min_ratio",
    "min_per_second",
    "capacity",
    "cost",
    "throttle_cost",
    "scope",
    "slots",
];

/// Names of urllib3 and other systems, and what they are here.
const ELSEWHERE: [(&str, &str, Here); 15] = [
    ("method_whitelist", "allowed_methods", Here::Renamed),
    ("default_method_whitelist", "allowed_methods", Here::Renamed),
    ("default_allowed_methods", "allowed_methods", Here::Called),
    ("default_backoff_max", "backoff_max", Here::Called),
    ("retry_after_status_codes", "status_forcelist", Here::Called),
    ("redirect_whitelist", "redirect", Here::Called),
    ("raise_on_redirect", FOLLOWED, Here::Elsewhere),
    ("remove_headers_on_redirect", FOLLOWED, Here::Elsewhere),
    (
        "default_redirect_headers_blacklist",
        FOLLOWED,
        Here::Elsewhere,
    ),
    ("history", "it is state, not a setting", Here::Elsewhere),
    ("max_retries", "total", Here::Called),
    ("retries", "total", Here::Called),
    (
        "max_attempts",
        "it counts the first attempt; `total` does not, so it is one less",
        Here::Elsewhere,
    ),
    (
        "candidate",
        match cfg!(feature = "shadow") {
            true => "a candidate stands at the top, beside a policy without mounts",
            false => "a policy that is only asked needs the feature `shadow`",
        },
        Here::Elsewhere,
    ),
    (
        "timeout",
        "`attempt_timeout` is for one attempt, `deadline` for all together",
        Here::Elsewhere,
    ),
];

const FOLLOWED: &str = "redirects are followed by another layer, which has its own settings";

#[derive(Clone, Copy)]
enum Here {
    /// urllib3 2 calls it so.
    Renamed,
    /// It is called so here.
    Called,
    /// It is not here.
    Elsewhere,
}

/// The error of a key that is none of `known`.
pub(super) fn unknown<'a>(
    place: &Place,
    key: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> InvalidConfig {
    let plain = key.to_ascii_lowercase().replace('-', "_");
    let known: Vec<&str> = known.into_iter().collect();
    let elsewhere = ELSEWHERE.iter().find(|(name, ..)| *name == plain);
    let hint = match elsewhere {
        Some((_, successor, Here::Renamed)) => {
            format!("urllib3 2 calls it `{}`", place.name(successor))
        }
        Some((_, here, Here::Called)) => format!("it is called `{}` here", place.name(here)),
        Some((_, why, Here::Elsewhere)) => (*why).to_owned(),
        None => match nearest(&plain, &known) {
            Some(near) => format!("did you mean `{}`?", place.name(near)),
            None => {
                let all: Vec<_> = known.iter().map(|key| place.short_name(key)).collect();
                format!("must be one of `{}`", all.join("`, `"))
            }
        },
    };
    InvalidConfig::unknown(place.name(key), hint)
}

/// The one of `known` that takes the fewest changes, if they are few.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // No key is so long that it could come near, and the comparison is quadratic.
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    // Letters added, left out, replaced, or swapped with the next one.
    let (changes, near) = known
        .iter()
        .map(|known| (strsim::osa_distance(name, known), *known))
        .min_by_key(|(changes, _)| *changes)?;
    (changes <= 2.max(near.len() / 3)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_suggested() {
        let known: Vec<_> = policy().collect();
        for (name, near) in [
            ("allowed_method", Some("allowed_methods")),
            ("alowed_methods", Some("allowed_methods")),
            ("status_forcelists", Some("status_forcelist")),
            ("status_codes", None),
            ("x", None),
            ("raed", Some("read")),
        ] {
            assert_eq!(nearest(name, &known), near, "{name}");
        }
        assert_eq!(nearest(&"total".repeat(100_000), &known), None);
    }
}
