//! One byte for a standard header name, and which names are about retries and rate limits.
//!
//! `http` keeps its standard names as numbers but has no way to ask for them. It does hash such
//! a name by its number alone, so a hasher that only listens learns it. The first name seen with
//! a number is remembered, and a name is recognised only if it is equal to the remembered one:
//! if `http` ever hashes otherwise, names are kept as text, which costs time, and are still
//! never mistaken for each other.

use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, header::RETRY_AFTER};

/// Room for all numbers, and some more; `http` 1.5 has 81. A name with a number beyond is kept as
/// text.
const SLOTS: usize = 96;

static KNOWN: [OnceLock<HeaderName>; SLOTS] = [const { OnceLock::new() }; SLOTS];

/// The number of a standard name, or nothing for a custom one.
#[inline]
pub(crate) fn number(name: &HeaderName) -> Option<u8> {
    let mut listener = Listener(NOTHING);
    name.hash(&mut listener);
    let number = u8::try_from(listener.0).ok()?;
    let known = KNOWN.get(usize::from(number))?.get_or_init(|| name.clone());
    (known == name).then_some(number)
}

/// The name that [`number`] gave this number for.
#[inline]
pub(crate) fn name(number: u8) -> Option<&'static HeaderName> {
    KNOWN.get(usize::from(number))?.get()
}

/// So many custom names are shared by the requests that a thread restores.
const SHARED: usize = 256;
/// None of them is longer: names come from callers, and a thread keeps at most 16 KiB of them.
const LONGEST: usize = 64;

thread_local! {
    static CUSTOM: RefCell<Vec<Option<HeaderName>>> = const { RefCell::new(Vec::new()) };
}

/// A custom name, which is not parsed and has no memory of its own if the thread has had it before.
pub(crate) fn custom(text: &[u8]) -> Option<HeaderName> {
    let parse = || HeaderName::from_bytes(text).ok();
    if text.len() > LONGEST {
        return parse();
    }
    let shared = CUSTOM.try_with(|names| {
        let names = &mut *names.try_borrow_mut().ok()?;
        if names.is_empty() {
            names.resize(SHARED, None);
        }
        // FNV-1a. Names that get in each other's way are parsed each time, and no more than that.
        let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let first = (hash ^ hash >> 32) as usize % SHARED;
        let is_it = |name: &Option<HeaderName>| {
            let name = name.as_ref();
            name.is_some_and(|name| name.as_str().as_bytes() == text)
        };
        let places = [first, first ^ 1];
        if let Some(place) = places.into_iter().find(|place| is_it(&names[*place])) {
            return names[place].clone();
        }
        let free = places.into_iter().find(|place| names[*place].is_none());
        let name = parse()?;
        names[free.unwrap_or(first)] = Some(name.clone());
        Some(name)
    });
    // Access fails only while the thread ends.
    shared.ok().flatten().or_else(parse)
}

/// Remembers the number that is hashed, unless text is hashed.
struct Listener(usize);

/// No number was heard: beyond every slot.
const NOTHING: usize = usize::MAX;

impl Hasher for Listener {
    #[inline]
    fn write(&mut self, _text: &[u8]) {
        self.0 = NOTHING;
    }

    // Rust hashes an enum's variant by this method.
    #[inline]
    fn write_isize(&mut self, number: isize) {
        self.0 = usize::try_from(number).unwrap_or(NOTHING);
    }

    #[inline]
    fn finish(&self) -> u64 {
        0
    }
}

/// Whether one of the headers is about retries or rate limits.
pub(crate) fn any_is_hint(headers: &HeaderMap) -> bool {
    // Every header of every failed response is asked, and most have standard names.
    headers.keys().any(|name| match number(name) {
        Some(_) => name == RETRY_AFTER,
        None => is_hint(name.as_str()),
    })
}

/// Whether the name of a header has `retry`, `ratelimit` or `rate-limit` in it.
///
/// It looks at few places only (Horspool's
/// search): where five bytes that the three begin with could end, and then as far on as the byte
/// there allows.
pub(crate) fn is_hint(name: &str) -> bool {
    let name = name.as_bytes();
    let mut end = 4;
    while let Some(last) = name.get(end) {
        end += match last {
            // Stand at the end of `retry`, `ratel` and `rate-`, and nowhere else in them.
            b'y' | b'l' | b'-' => {
                let part = &name[end - 4..];
                let is = |word: &[u8]| part.starts_with(word);
                if is(b"retry") || is(b"ratelimit") || is(b"rate-limit") {
                    return true;
                }
                5
            }
            b'e' | b'r' => 1,
            b't' => 2,
            b'a' => 3,
            _ => 5,
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn of_the_standard_names_one_is_a_hint() {
        let map = |name: HeaderName| HeaderMap::from_iter([(name, HeaderValue::from_static("1"))]);
        for name in [
            http::header::DATE,
            http::header::REFERRER_POLICY,
            http::header::TE,
        ] {
            assert!(!any_is_hint(&map(name.clone())), "{name}");
        }
        for name in [
            "retry-after",
            "retry-after-ms",
            "ratelimit",
            "x-rate-limit-reset",
        ] {
            assert!(any_is_hint(&map(HeaderName::from_static(name))), "{name}");
        }
        assert!(!any_is_hint(&HeaderMap::new()));
    }

    #[test]
    fn hints_are_known_by_what_is_in_their_names() {
        let parts = [
            "",
            "r",
            "ra",
            "rat",
            "re",
            "retr",
            "rate",
            "ratelimi",
            "rate-limi",
            "x-",
        ];
        let whole = [
            "retry",
            "ratelimit",
            "rate-limit",
            "ratel",
            "rate-",
            "raterate-limit",
        ];
        let ends = ["", "-after", "r", "retry", "-reset", "\u{e9}"];
        for (part, middle) in parts
            .iter()
            .flat_map(|part| whole.map(|whole| (part, whole)))
        {
            for name in ends.map(|end| format!("{part}{middle}{end}")) {
                let expected = ["retry", "ratelimit", "rate-limit"];
                let expected = expected.iter().any(|it| name.contains(it));
                assert_eq!(is_hint(&name), expected, "{name}");
            }
        }
        assert!(!is_hint(""));
    }
}
