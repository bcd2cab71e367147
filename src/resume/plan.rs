//! What is known of a download from its first response, and what may follow: pure functions of
//! heads.

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IF_RANGE, RANGE},
    request, response,
};

use super::{
    range::{ContentRange, number, one},
    validator::Validator,
};
use crate::reason::NotResumed;

/// A download that can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The next byte to be handed on, counted from the start of the whole representation.
    pub(super) at: u64,
    /// Behind the last byte to be handed on.
    pub(super) end: u64,
    /// The length of the whole representation, if it is known.
    total: Option<u64>,
    /// Whether the caller asked for a part that ends there.
    is_part: bool,
    validator: Validator,
}

/// What the response to a continuation is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its body goes on: after so many bytes to be read over come so many to be handed on.
    GoesOn { skip: u64, take: u64 },
    /// It does not, and another one would not either.
    Refused(NotResumed),
    /// The server failed.
    Failed,
}

impl Plan {
    /// What the first response says.
    pub(super) fn of(head: &response::Parts) -> Result<Self, NotResumed> {
        let (status, headers) = (head.status, &head.headers);
        if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Err(NotResumed::Status { status });
        }
        // Its length is that of what is encoded. Where a layer below decodes it, the encoding is
        // gone, and so is the length.
        if is_encoded(headers) {
            return Err(NotResumed::Encoded);
        }
        let length = content_length(headers);
        let (at, end, total) = if status == StatusCode::OK {
            let length = length.ok_or(NotResumed::NoLength)?;
            (0, length, Some(length))
        } else {
            let range = part(headers)?;
            match length {
                Some(length) if length == range.length() => {}
                Some(_) => return Err(NotResumed::InvalidRange),
                None => return Err(NotResumed::NoLength),
            }
            (range.first, range.end(), range.total)
        };
        if refuses_ranges(headers) {
            return Err(NotResumed::RangesRefused);
        }
        Ok(Self {
            at,
            end,
            total,
            is_part: status == StatusCode::PARTIAL_CONTENT,
            validator: Validator::of(headers)?,
        })
    }

    /// Makes the request for the rest of it. Everything else stays as it was, what is accepted of
    /// encodings above all.
    pub(super) fn ask(&self, head: &mut request::Parts) {
        let (at, last) = (self.at, self.end.saturating_sub(1));
        let range = if self.is_part {
            format!("bytes={at}-{last}")
        } else {
            format!("bytes={at}-")
        };
        // Digits make a value.
        if let Ok(range) = HeaderValue::try_from(range) {
            head.headers.insert(RANGE, range);
        }
        head.headers
            .insert(IF_RANGE, self.validator.value().clone());
    }

    /// What the response to that request is good for.
    pub(super) fn judge(&self, head: &response::Parts) -> Answer {
        let (status, headers) = (head.status, &head.headers);
        let fit = match status {
            StatusCode::PARTIAL_CONTENT => self.fit_part(headers),
            StatusCode::OK => self.fit_whole(headers),
            // What the caller asked of it holds no longer; or it has become shorter.
            StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => {
                Err(NotResumed::Changed)
            }
            _ if status.is_client_error() || status.is_server_error() => return Answer::Failed,
            _ => Err(NotResumed::Status { status }),
        };
        match fit {
            Ok((skip, take)) => Answer::GoesOn { skip, take },
            Err(why) => Answer::Refused(why),
        }
    }

    fn fit_part(&self, headers: &HeaderMap) -> Result<(u64, u64), NotResumed> {
        let range = part(headers)?;
        if is_encoded(headers) {
            return Err(NotResumed::Encoded);
        }
        if !self.validator.is_of(headers) {
            return Err(NotResumed::Changed);
        }
        if let (Some(now), Some(before)) = (range.total, self.total) {
            if now != before {
                return Err(NotResumed::Changed);
            }
        }
        // Without a length, a layer below may have decoded it.
        if content_length(headers) != Some(range.length()) {
            return Err(NotResumed::InvalidRange);
        }
        // Caches that keep blocks begin with that of the first byte.
        if range.first > self.at || range.end() <= self.at {
            return Err(NotResumed::InvalidRange);
        }
        Ok((self.at - range.first, range.end().min(self.end) - self.at))
    }

    /// The server sends the whole instead. Under the same validator it is the same.
    fn fit_whole(&self, headers: &HeaderMap) -> Result<(u64, u64), NotResumed> {
        if is_encoded(headers) {
            return Err(NotResumed::Encoded);
        }
        let length = content_length(headers);
        let is_same = self.validator.is_of(headers)
            && length.is_some_and(|length| {
                self.end <= length && self.total.is_none_or(|total| total == length)
            });
        if !is_same {
            return Err(NotResumed::Changed);
        }
        Ok((self.at, self.end - self.at))
    }
}

/// The range of a 206 of one part.
fn part(headers: &HeaderMap) -> Result<ContentRange, NotResumed> {
    let kind = headers.get(CONTENT_TYPE);
    let kind = kind.map_or(&b""[..], |kind| kind.as_bytes());
    let multipart = b"multipart/byteranges";
    let is_multipart = kind.get(..multipart.len());
    if is_multipart.is_some_and(|kind| kind.eq_ignore_ascii_case(multipart)) {
        return Err(NotResumed::Multipart);
    }
    ContentRange::of(headers).ok_or(NotResumed::InvalidRange)
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    number(one(headers, CONTENT_LENGTH)?.to_str().ok()?)
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn refuses_ranges(headers: &HeaderMap) -> bool {
    let mut units = headers.get_all(ACCEPT_RANGES).iter();
    units.any(|unit| unit.as_bytes().eq_ignore_ascii_case(b"none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, fields: &[(&str, &str)]) -> response::Parts {
        let mut response = http::Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        response.body(()).expect("a response").into_parts().0
    }

    const TAG: (&str, &str) = ("etag", "\"a\"");

    fn length(length: &str) -> (&str, &str) {
        ("content-length", length)
    }

    fn range(range: &str) -> (&str, &str) {
        ("content-range", range)
    }

    #[test]
    fn what_a_first_response_must_say_to_be_resumed() {
        use NotResumed::*;
        let none = ("accept-ranges", "none");
        let bytes = ("accept-ranges", "bytes");
        let gzip = ("content-encoding", "gzip");
        let identity = ("content-encoding", "identity");
        let parts = ("content-type", "Multipart/Byteranges; boundary=x");
        let status = |status| Status {
            status: StatusCode::from_u16(status).expect("valid"),
        };
        for (code, fields, found) in [
            (200, &[TAG, length("10")][..], Ok((0, 10))),
            (200, &[TAG, length("0")], Ok((0, 0))),
            (200, &[TAG, length("10"), bytes, identity], Ok((0, 10))),
            (200, &[TAG], Err(NoLength)),
            (200, &[TAG, length("+10")], Err(NoLength)),
            (200, &[TAG, length("10"), length("10")], Err(NoLength)),
            (200, &[TAG, length("10"), none], Err(RangesRefused)),
            (200, &[TAG, length("10"), gzip], Err(Encoded)),
            (200, &[length("10")], Err(NoValidator)),
            (
                200,
                &[("etag", "W/\"a\""), length("10")],
                Err(WeakValidator),
            ),
            (206, &[TAG, length("5"), range("bytes 5-9/20")], Ok((5, 10))),
            (206, &[TAG, length("5"), range("bytes 5-9/*")], Ok((5, 10))),
            (
                206,
                &[TAG, length("4"), range("bytes 5-9/20")],
                Err(InvalidRange),
            ),
            (206, &[TAG, range("bytes 5-9/20")], Err(NoLength)),
            (206, &[TAG, length("5")], Err(InvalidRange)),
            (
                206,
                &[TAG, length("5"), range("bytes 9-5/20")],
                Err(InvalidRange),
            ),
            (206, &[TAG, length("5"), parts], Err(Multipart)),
            (204, &[TAG, length("0")], Err(status(204))),
            (404, &[TAG, length("9")], Err(status(404))),
        ] {
            let plan = Plan::of(&head(code, fields)).map(|plan| (plan.at, plan.end));
            assert_eq!(plan, found, "{code} {fields:?}");
        }
    }

    #[test]
    fn the_rest_is_asked_for_under_the_same_validator_with_an_end_only_where_there_was_one() {
        for (first, expected) in [
            (head(200, &[TAG, length("10")]), "bytes=7-"),
            (
                head(206, &[TAG, length("5"), range("bytes 5-9/20")]),
                "bytes=7-9",
            ),
        ] {
            let mut plan = Plan::of(&first).expect("resumable");
            plan.at = 7;
            let request = http::Request::get("http://a.test/")
                .header("range", "bytes=5-9")
                .header("if-range", "\"old\"")
                .header("accept-encoding", "gzip");
            let (mut request, ()) = request.body(()).expect("a request").into_parts();
            plan.ask(&mut request);
            assert_eq!(request.headers["range"], expected);
            assert_eq!(request.headers["if-range"], "\"a\"");
            assert_eq!(request.headers["accept-encoding"], "gzip");
            assert_eq!(request.headers.len(), 3);
        }
    }

    #[test]
    fn what_the_answer_to_a_continuation_is_good_for() {
        use NotResumed::*;
        let on = |skip, take| Answer::GoesOn { skip, take };
        let no = Answer::Refused;
        let gzip = ("content-encoding", "gzip");
        let parts = ("content-type", "multipart/byteranges");
        let other = ("etag", "\"b\"");
        let status = |status| Status {
            status: StatusCode::from_u16(status).expect("valid"),
        };
        for (code, fields, expected) in [
            (
                206,
                &[TAG, length("6"), range("bytes 4-9/10")][..],
                on(0, 6),
            ),
            (206, &[TAG, length("6"), range("bytes 4-9/*")], on(0, 6)),
            // Shorter than asked, earlier than asked, and both.
            (206, &[TAG, length("2"), range("bytes 4-5/10")], on(0, 2)),
            (206, &[TAG, length("10"), range("bytes 0-9/10")], on(4, 6)),
            (206, &[TAG, length("4"), range("bytes 2-5/10")], on(2, 2)),
            // All of it is before, or behind.
            (
                206,
                &[TAG, length("4"), range("bytes 0-3/10")],
                no(InvalidRange),
            ),
            (
                206,
                &[TAG, length("5"), range("bytes 5-9/10")],
                no(InvalidRange),
            ),
            // The length of the body is another than that of the range.
            (
                206,
                &[TAG, length("9"), range("bytes 4-9/10")],
                no(InvalidRange),
            ),
            (206, &[TAG, range("bytes 4-9/10")], no(InvalidRange)),
            (206, &[TAG, length("6")], no(InvalidRange)),
            (206, &[TAG, length("6"), range("bytes 4-9/11")], no(Changed)),
            (
                206,
                &[other, length("6"), range("bytes 4-9/10")],
                no(Changed),
            ),
            (206, &[length("6"), range("bytes 4-9/10")], no(Changed)),
            (
                206,
                &[("etag", "W/\"a\""), length("6"), range("bytes 4-9/10")],
                no(Changed),
            ),
            (
                206,
                &[TAG, length("6"), range("bytes 4-9/10"), gzip],
                no(Encoded),
            ),
            (206, &[TAG, length("6"), parts], no(Multipart)),
            // The whole instead.
            (200, &[TAG, length("10")], on(4, 6)),
            (200, &[TAG, length("11")], no(Changed)),
            (200, &[TAG], no(Changed)),
            (200, &[other, length("10")], no(Changed)),
            (200, &[length("10")], no(Changed)),
            (200, &[TAG, length("10"), gzip], no(Encoded)),
            (412, &[], no(Changed)),
            (416, &[range("bytes */4")], no(Changed)),
            (416, &[range("bytes */10")], no(Changed)),
            (204, &[], no(status(204))),
            (304, &[TAG], no(status(304))),
            (503, &[], Answer::Failed),
            (404, &[], Answer::Failed),
        ] {
            let mut plan = Plan::of(&head(200, &[TAG, length("10")])).expect("resumable");
            plan.at = 4;
            assert_eq!(
                plan.judge(&head(code, fields)),
                expected,
                "{code} {fields:?}"
            );
        }
    }

    #[test]
    fn a_part_that_the_caller_asked_for_is_never_passed() {
        let first = head(206, &[TAG, length("5"), range("bytes 5-9/*")]);
        let mut plan = Plan::of(&first).expect("resumable");
        plan.at = 7;
        // Longer than asked: cut at the end.
        let longer = head(206, &[TAG, length("13"), range("bytes 7-19/20")]);
        assert_eq!(plan.judge(&longer), Answer::GoesOn { skip: 0, take: 3 });
        let whole = head(200, &[TAG, length("20")]);
        assert_eq!(plan.judge(&whole), Answer::GoesOn { skip: 7, take: 3 });
        let shrunk = head(200, &[TAG, length("9")]);
        assert_eq!(plan.judge(&shrunk), Answer::Refused(NotResumed::Changed));
    }
}
