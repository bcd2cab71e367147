//! Headers that can forbid a retry.

use http::{HeaderMap, HeaderName};

use super::{Found, text};

/// gRFC A6, "Pushback": a signed number of milliseconds of 32 bits. One that is negative or
/// cannot be read says never, and so do several, as grpc-go takes them.
pub(super) fn pushback(headers: &HeaderMap) -> Found {
    let mut values = headers.get_all("grpc-retry-pushback-ms").iter();
    let Some(value) = values.next() else {
        return Found::Nothing;
    };
    if values.next().is_some() {
        return Found::Never;
    }
    match text::digits(text::trim(value.as_bytes())).map(i32::try_from) {
        Some(Ok(ms)) => Found::Wait(std::time::Duration::from_millis(ms.unsigned_abs().into())),
        _ => Found::Never,
    }
}

/// `false` forbids, `true` says nothing new. Of several values, one `false` is enough.
pub(super) fn should_retry(headers: &HeaderMap, name: &HeaderName) -> Found {
    let mut found = Found::Nothing;
    for value in headers.get_all(name) {
        let value = text::trim(value.as_bytes());
        if value.eq_ignore_ascii_case(b"false") {
            return Found::Never;
        }
        if !value.eq_ignore_ascii_case(b"true") && !value.is_empty() {
            found = Found::Unreadable;
        }
    }
    found
}
