//! Headers that can forbid a retry.

use http::{HeaderMap, HeaderName};

use super::{HeaderReading, HintHeader, text};

/// gRFC A6, "Pushback": a signed number of milliseconds of 32 bits. One that is negative or
/// cannot be read says never, and so do several, as grpc-go takes them.
pub(super) fn pushback(headers: &HeaderMap) -> HeaderReading {
    let mut values = headers
        .get_all(HintHeader::GrpcRetryPushbackMs.name())
        .iter();
    let Some(value) = values.next() else {
        return HeaderReading::Nothing;
    };
    if values.next().is_some() {
        return HeaderReading::Never;
    }
    match text::digits(text::trim(value.as_bytes())).map(i32::try_from) {
        Some(Ok(ms)) => {
            HeaderReading::Wait(std::time::Duration::from_millis(ms.unsigned_abs().into()))
        }
        _ => HeaderReading::Never,
    }
}

/// `false` forbids, `true` says nothing new. Of several values, one `false` is enough.
pub(super) fn should_retry(headers: &HeaderMap, name: &HeaderName) -> HeaderReading {
    let mut found = HeaderReading::Nothing;
    for value in headers.get_all(name) {
        let value = text::trim(value.as_bytes());
        if value.eq_ignore_ascii_case(b"false") {
            return HeaderReading::Never;
        }
        if !value.eq_ignore_ascii_case(b"true") && !value.is_empty() {
            found = HeaderReading::Unreadable;
        }
    }
    found
}
