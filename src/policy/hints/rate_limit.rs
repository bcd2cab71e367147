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
