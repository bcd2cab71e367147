//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers): lists of
//! structured fields (RFC 9651).

use std::time::Duration;

use http::HeaderMap;
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parser};

use super::{HeaderReading, HintHeader, clock};

/// What a response's quotas say, and the header that said it. A window longer than `cap` says
/// nothing.
pub(super) fn find(headers: &HeaderMap, cap: Duration) -> (HeaderReading, HintHeader) {
    if !headers.contains_key("ratelimit") || !clock::age(headers).is_zero() {
        return (HeaderReading::Nothing, HintHeader::RateLimit);
    }
    let Some(used_up) = used_up(headers) else {
        return (HeaderReading::Unreadable, HintHeader::RateLimit);
    };
    let wait = used_up.iter().filter_map(|quota| quota.reset).max();
    let window = if used_up.iter().any(|quota| quota.reset.is_none()) {
        longest_window(headers, &used_up, cap)
    } else {
        Some(Duration::ZERO)
    };
    match (wait, window) {
        (wait, Some(window)) if window > wait.unwrap_or_default() => {
            (HeaderReading::Wait(window), HintHeader::RateLimitPolicy)
        }
        (Some(wait), _) => (HeaderReading::Wait(wait), HintHeader::RateLimit),
        (None, Some(_)) => (HeaderReading::Nothing, HintHeader::RateLimit),
        (None, None) => (HeaderReading::Unreadable, HintHeader::RateLimitPolicy),
    }
}

/// A quota of which nothing remains.
struct UsedUp {
    name: Option<String>,
    /// The time until there is more, where it is said.
    reset: Option<Duration>,
}

/// The quotas of `RateLimit` of which nothing remains. `None` if the header is malformed.
fn used_up(headers: &HeaderMap) -> Option<Vec<UsedUp>> {
    let mut used_up = Vec::new();
    for line in lines(headers, "ratelimit") {
        let Ok(list) = Parser::new(line).parse::<List>() else {
            // The seventh draft had a dictionary.
            let old: Dictionary = Parser::new(line).parse().ok()?;
            let number = |key| match old.get(key) {
                Some(ListEntry::Item(item)) => natural(&item.bare_item),
                _ => None,
            };
            if number("remaining")? == 0 {
                let reset = Some(Duration::from_secs(number("reset")?));
                used_up.push(UsedUp { name: None, reset });
            }
            continue;
        };
        for entry in list {
            let ListEntry::Item(item) = entry else {
                return None;
            };
            let reset = match item.params.get("t") {
                Some(t) => Some(Duration::from_secs(natural(t)?)),
                None => None,
            };
            if natural(item.params.get("r")?)? == 0 {
                let name = name(&item);
                used_up.push(UsedUp { name, reset });
            }
        }
    }
    Some(used_up)
}

/// The longest window of a quota whose reset is not said; zero if there is none within `cap`.
/// `None` if `RateLimit-Policy` is malformed.
fn longest_window(headers: &HeaderMap, used_up: &[UsedUp], cap: Duration) -> Option<Duration> {
    let mut longest = Duration::ZERO;
    for line in lines(headers, "ratelimit-policy") {
        for entry in Parser::new(line).parse::<List>().ok()? {
            let ListEntry::Item(item) = entry else {
                return None;
            };
            let name = name(&item);
            let asked_for = |quota: &UsedUp| quota.reset.is_none() && quota.name == name;
            if let Some(window) = item.params.get("w") {
                let window = Duration::from_secs(natural(window)?);
                if window <= cap && used_up.iter().any(asked_for) {
                    longest = longest.max(window);
                }
            }
        }
    }
    Some(longest)
}

/// What is left of a quota of requests.
#[cfg(feature = "shared-hints")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// How many requests.
    pub(crate) requests: u64,
    /// For so long.
    pub(crate) reset: Duration,
    /// Of how many; `None` if that is not said.
    pub(crate) of: Option<u64>,
}

/// What is left of the quotas in these headers that are counted in requests and say for how long.
/// Nothing, if one of the headers is malformed, or comes from a cache.
#[cfg(feature = "shared-hints")]
pub(crate) fn left(headers: &HeaderMap) -> Vec<Left> {
    if !headers.contains_key("ratelimit") || !clock::age(headers).is_zero() {
        return Vec::new();
    }
    all_left(headers).unwrap_or_default()
}

#[cfg(feature = "shared-hints")]
fn all_left(headers: &HeaderMap) -> Option<Vec<Left>> {
    let mut policies = Vec::new();
    for line in lines(headers, "ratelimit-policy") {
        // Earlier drafts had numbers there, which have no names.
        policies.extend(items(line)?);
    }
    let mut all = Vec::new();
    for line in lines(headers, "ratelimit") {
        let Some(items) = items(line) else {
            let old: Dictionary = Parser::new(line).parse().ok()?;
            let number = |key| match old.get(key) {
                Some(ListEntry::Item(item)) => natural(&item.bare_item),
                _ => None,
            };
            all.push(Left {
                requests: number("remaining")?,
                reset: Duration::from_secs(number("reset")?),
                of: number("limit"),
            });
            continue;
        };
        for item in items {
            let requests = natural(item.params.get("r")?)?;
            let Some(reset) = item.params.get("t") else {
                continue;
            };
            let reset = Duration::from_secs(natural(reset)?);
            let name = name(&item);
            let mut policies = policies.iter().filter(|policy| self::name(policy) == name);
            let policy = policies.next().filter(|_| name.is_some());
            let unit = policy.and_then(|policy| policy.params.get("qu"));
            if unit.is_some_and(|unit| !is_requests(unit)) {
                continue;
            }
            let of = policy.and_then(|policy| natural(policy.params.get("q")?));
            all.push(Left {
                requests,
                reset,
                of,
            });
        }
    }
    Some(all)
}

/// The unit of what is counted; requests, if there is none.
#[cfg(feature = "shared-hints")]
fn is_requests(unit: &BareItem) -> bool {
    match unit {
        BareItem::String(unit) => unit.as_str() == "requests",
        BareItem::Token(unit) => unit.as_str() == "requests",
        _ => false,
    }
}

#[cfg(feature = "shared-hints")]
fn items(line: &[u8]) -> Option<Vec<Item>> {
    let list = Parser::new(line).parse::<List>().ok()?;
    let items = list.into_iter().map(|entry| match entry {
        ListEntry::Item(item) => Some(item),
        ListEntry::InnerList(_) => None,
    });
    items.collect()
}

/// A list can be split over several lines (RFC 9651, section 3.1).
fn lines<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).into_iter();
    values.map(|value| value.as_bytes())
}

fn name(item: &Item) -> Option<String> {
    match &item.bare_item {
        BareItem::String(name) => Some(name.as_str().to_owned()),
        BareItem::Token(name) => Some(name.as_str().to_owned()),
        _ => None,
    }
}

fn natural(item: &BareItem) -> Option<u64> {
    u64::try_from(i64::from(item.as_integer()?)).ok()
}

#[cfg(all(test, feature = "shared-hints"))]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn what_is_left_is_read_for_quotas_of_requests_only() {
        type Row = (
            &'static [(&'static str, &'static str)],
            &'static [(u64, u64, Option<u64>)],
        );
        let rows: &[Row] = &[
            (&[("ratelimit", r#""a";r=5;t=30"#)], &[(5, 30, None)]),
            (
                &[
                    ("ratelimit", r#""a";r=5;t=30"#),
                    ("ratelimit-policy", r#""a";q=100;w=60"#),
                ],
                &[(5, 30, Some(100))],
            ),
            // Units.
            (
                &[
                    ("ratelimit", r#""a";r=5;t=30, "b";r=900;t=7, "c";r=1;t=2"#),
                    (
                        "ratelimit-policy",
                        r#""a";q=100;qu="requests", "b";q=1000;qu="content-bytes""#,
                    ),
                    ("ratelimit-policy", r#""c";q=4;qu="concurrent-requests""#),
                ],
                &[(5, 30, Some(100))],
            ),
            (
                &[
                    ("ratelimit", r#""a";r=5;t=30"#),
                    ("ratelimit-policy", r#""a";q=100;qu=5"#),
                ],
                &[],
            ),
            // Another quota's policy says nothing of this one.
            (
                &[
                    ("ratelimit", r#""a";r=5;t=30"#),
                    ("ratelimit-policy", r#""b";q=100;qu="content-bytes""#),
                ],
                &[(5, 30, None)],
            ),
            // Without a time there is nothing to spread over.
            (&[("ratelimit", r#""a";r=5, "b";r=6;t=7"#)], &[(6, 7, None)]),
            (
                &[("ratelimit", "limit=9, remaining=2, reset=4")],
                &[(2, 4, Some(9))],
            ),
            (&[("ratelimit", r#""a";r=5;t=30"#), ("age", "3")], &[]),
            (&[("ratelimit", r#""a";r=-5;t=30"#)], &[]),
            (&[("ratelimit", r#""a";t=30"#)], &[]),
            (&[("ratelimit", r#"("a");r=5;t=30"#)], &[]),
            (
                &[("ratelimit", r#""a";r=5;t=30"#), ("ratelimit-policy", "=")],
                &[],
            ),
            (&[("ratelimit-policy", r#""a";q=100;w=60"#)], &[]),
        ];
        for (headers, expected) in rows {
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| {
                    let name = HeaderName::from_static(name);
                    (name, HeaderValue::from_static(value))
                })
                .fold(HeaderMap::new(), |mut all, (name, value)| {
                    all.append(name, value);
                    all
                });
            let found: Vec<_> = left(&headers)
                .iter()
                .map(|left| (left.requests, left.reset.as_secs(), left.of))
                .collect();
            assert_eq!(&found[..], *expected, "{headers:?}");
        }
    }
}
