//! What says that two responses are of the same bytes: a strong validator (RFC 9110, section 8.8).

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{DATE, ETAG, LAST_MODIFIED},
};

use super::range::one;
use crate::reason::NotResumed;

/// A validator that is equal only if every byte is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Validator {
    Etag(HeaderValue),
    /// A `Last-Modified` that was old enough when it was sent.
    Date(HeaderValue),
}

impl Validator {
    /// The strong validator of a response. A date counts only where there is no etag, not even a
    /// weak one (section 13.1.5).
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, NotResumed> {
        if headers.contains_key(ETAG) {
            let etag = one(headers, ETAG).ok_or(NotResumed::NoValidator)?;
            return match etag.as_bytes() {
                [b'"', tag @ .., b'"'] if !tag.contains(&b'"') => Ok(Self::Etag(etag.clone())),
                [b'W', b'/', ..] => Err(NotResumed::WeakValidator),
                _ => Err(NotResumed::NoValidator),
            };
        }
        if !headers.contains_key(LAST_MODIFIED) {
            return Err(NotResumed::NoValidator);
        }
        match (date(headers, LAST_MODIFIED), date(headers, DATE)) {
            // Whatever is written within a second has the same date (section 8.8.2.2).
            (Some((modified, value)), Some((sent, _)))
                if modified + Duration::from_secs(1) <= sent =>
            {
                Ok(Self::Date(value.clone()))
            }
            _ => Err(NotResumed::WeakValidator),
        }
    }

    /// What `If-Range` asks with.
    pub(super) fn value(&self) -> &HeaderValue {
        match self {
            Self::Etag(value) | Self::Date(value) => value,
        }
    }

    /// Whether a later response carries the same one. One without any proves nothing.
    pub(super) fn is_of(&self, headers: &HeaderMap) -> bool {
        let name = match self {
            Self::Etag(_) => ETAG,
            Self::Date(_) => LAST_MODIFIED,
        };
        one(headers, name) == Some(self.value())
    }
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<(SystemTime, &HeaderValue)> {
    let value = one(headers, name)?;
    let time = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    Some((time, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEXT: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn only_what_is_strong_counts() {
        use NotResumed::{NoValidator, WeakValidator};
        for (fields, strong) in [
            (&[("etag", "\"a\"")][..], Ok("\"a\"")),
            (&[("etag", "\"\"")], Ok("\"\"")),
            (&[("etag", "W/\"a\"")], Err(WeakValidator)),
            (&[("etag", "a")], Err(NoValidator)),
            (&[("etag", "\"a")], Err(NoValidator)),
            (&[("etag", "\"")], Err(NoValidator)),
            (&[("etag", "\"a\"b\"")], Err(NoValidator)),
            (&[("etag", "\"a\""), ("etag", "\"b\"")], Err(NoValidator)),
            // No date where there is an etag.
            (
                &[("etag", "W/\"a\""), ("last-modified", ONE), ("date", NEXT)],
                Err(WeakValidator),
            ),
            (&[("last-modified", ONE), ("date", NEXT)], Ok(ONE)),
            (&[("last-modified", ONE), ("date", ONE)], Err(WeakValidator)),
            (
                &[("last-modified", NEXT), ("date", ONE)],
                Err(WeakValidator),
            ),
            (&[("last-modified", ONE)], Err(WeakValidator)),
            (
                &[("last-modified", "x"), ("date", NEXT)],
                Err(WeakValidator),
            ),
            (&[("date", NEXT)], Err(NoValidator)),
            (&[], Err(NoValidator)),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let found = Validator::of(&headers);
            let value = found
                .as_ref()
                .map(|found| found.value().to_str().expect("a text"));
            assert_eq!(value, strong.as_ref().copied(), "{fields:?}");
            if let Ok(validator) = &found {
                assert!(validator.is_of(&headers));
                assert!(!validator.is_of(&HeaderMap::new()));
            }
        }
    }
}
