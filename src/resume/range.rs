//! Byte ranges (RFC 9110, section 14).

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_RANGE};

/// What a `Content-Range` says of the part that it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) first: u64,
    /// The last byte, inclusive.
    pub(super) last: u64,
    /// The length of the whole; `None` where it is given as `*`.
    pub(super) total: Option<u64>,
}

impl ContentRange {
    /// Reads `bytes 0-9/10`; `None` for what is no such field, and for one that no recipient may
    /// use: the last byte before the first one, or beyond the whole (section 14.4).
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let (unit, rest) = one(headers, CONTENT_RANGE)?
            .to_str()
            .ok()?
            .split_once(' ')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let total = match total {
            "*" => None,
            total => Some(number(total)?),
        };
        let (first, last) = (number(first)?, number(last)?);
        let is_valid = first <= last && last < u64::MAX && total.is_none_or(|total| last < total);
        is_valid.then_some(Self { first, last, total })
    }

    pub(super) fn length(&self) -> u64 {
        self.last - self.first + 1
    }

    /// Behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.last + 1
    }
}

/// Digits and nothing else: Rust reads a sign as well.
pub(super) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The value of a field that there is once.
pub(super) fn one(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let only = values.next()?;
    values.next().is_none().then_some(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_range_that_can_be_is_read() {
        let range = |first, last, total| Some(ContentRange { first, last, total });
        for (text, read) in [
            ("bytes 0-9/10", range(0, 9, Some(10))),
            ("Bytes 5-9/*", range(5, 9, None)),
            ("bytes 9-9/10", range(9, 9, Some(10))),
            ("bytes 9-8/10", None),
            ("bytes 0-10/10", None),
            ("bytes */10", None),
            ("bytes 0-9", None),
            ("bytes=0-9/10", None),
            ("items 0-9/10", None),
            ("bytes +0-9/10", None),
            ("bytes -9/10", None),
            ("bytes 0-/10", None),
            ("bytes 0-18446744073709551615/*", None),
            ("bytes 0-99999999999999999999/*", None),
            ("", None),
        ] {
            let value = HeaderValue::from_str(text).expect("a value");
            let mut headers = HeaderMap::from_iter([(CONTENT_RANGE, value.clone())]);
            assert_eq!(ContentRange::of(&headers), read, "{text:?}");
            headers.append(CONTENT_RANGE, value);
            assert_eq!(ContentRange::of(&headers), None, "twice {text:?}");
        }
    }
}
