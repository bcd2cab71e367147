use http::{HeaderName, HeaderValue, header::RETRY_AFTER};
use proptest::prelude::*;

use super::*;

/// 2026-01-01T00:00:00Z, a Thursday.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        })
        .collect()
}

const CAP: Duration = Duration::from_secs(60);

fn hint(lines: &[(&'static str, &str)]) -> Hint {
    retry_after(StatusCode::SERVICE_UNAVAILABLE, &headers(lines), now(), CAP)
}

fn standard(lines: &[(&'static str, &str)]) -> Hint {
    standard_retry_after(StatusCode::SERVICE_UNAVAILABLE, &headers(lines), now(), CAP)
}

fn parsed(value: &str) -> Option<Duration> {
    parse_retry_after(value.as_bytes(), now()).ok()
}

fn wait(asked: Duration, header: HintHeader) -> Hint {
    Hint::Wait { asked, header }
}

#[test]
fn all_three_date_formats_are_read() {
    let ten = Some(Duration::from_secs(10));
    assert_eq!(parsed("Thu, 01 Jan 2026 00:00:10 GMT"), ten);
    assert_eq!(parsed("Thursday, 01-Jan-26 00:00:10 GMT"), ten);
    assert_eq!(parsed("Thu Jan  1 00:00:10 2026"), ten);
}

#[test]
fn a_leap_second_is_a_second() {
    let midnight = Some(Duration::from_secs(86_400));
    assert_eq!(parsed("Thu, 01 Jan 2026 23:59:60 GMT"), midnight);
    assert_eq!(parsed("Thursday, 01-Jan-26 23:59:60 GMT"), midnight);
    assert_eq!(parsed("Thu Jan  1 23:59:60 2026"), midnight);
    assert_eq!(parsed("Thu, 01 Jan 2026 23:58:60 GMT"), None);
}

#[test]
fn a_past_date_is_now() {
    assert_eq!(
        parsed("Wed, 31 Dec 2025 23:59:59 GMT"),
        Some(Duration::ZERO)
    );
    assert_eq!(
        parsed("Thu, 01 Jan 1970 00:00:00 GMT"),
        Some(Duration::ZERO)
    );
    let date = b"Thu, 01 Jan 2026 00:00:10 GMT";
    let late = now() + Duration::from_millis(9_750);
    assert_eq!(
        parse_retry_after(date, late),
        Ok(Duration::from_millis(250)),
        "the clock has fractions"
    );
}

#[test]
fn seconds_saturate() {
    let most = Some(Duration::from_secs(u64::MAX));
    assert_eq!(
        parsed("18446744073709551614"),
        Some(Duration::from_secs(u64::MAX - 1))
    );
    assert_eq!(parsed("18446744073709551616"), most);
    assert_eq!(parsed(&"9".repeat(10_000)), most);
    assert_eq!(
        parsed(&format!("{:0>10000}", 7)),
        Some(Duration::from_secs(7))
    );
}

#[test]
fn what_is_neither_seconds_nor_a_date_is_refused() {
    for value in [
        "",
        " ",
        "+1",
        "-1",
        "1.5",
        "1,5",
        "1, 2",
        "10s",
        "0x10",
        "1 2",
        "soon",
        "Infinity",
        "NaN",
        "Thu, 01 Jan 2026",
        "2026-01-01T00:00:10Z",
        "Fri, 01 Jan 2026 00:00:10 GMT",
        "Thu, 01 jan 2026 00:00:10 GMT",
        "Thu, 01 Jan 2026 00:00:10 EST",
        "Thu, 01 Jan 2026 24:00:00 GMT",
        "Mon, 30 Feb 2026 00:00:10 GMT",
        "Thursday, 01-Jan-26900:00:10 GMT",
        "Thursday, 01-Jan-26+00:00:10 GMT",
        "GMT",
        "٣",
        "²",
    ] {
        assert_eq!(parsed(value), None, "{value:?}");
    }
}

#[test]
fn whitespace_around_the_value_is_ignored() {
    let five = Some(Duration::from_secs(5));
    assert_eq!(parsed(" \t5 "), five);
    assert_eq!(parsed(" Thu, 01 Jan 2026 00:00:05 GMT "), five);
    assert_eq!(
        parse_retry_after(b"\xa05\x85", now()).ok(),
        five,
        "Latin-1's spaces, as urllib3 does"
    );
}

#[test]
fn errors_name_header_value_and_what_is_allowed() {
    let error = parse_retry_after(b"1.5\n", now()).unwrap_err();
    assert_eq!(error.value(), "1.5\n");
    assert_eq!(
        error.to_string(),
        r#"`retry-after` is "1.5\n": must be a number of seconds or an HTTP date"#
    );
    let long = parse_retry_after(&[b'x'; 1000], now()).unwrap_err();
    assert_eq!(long.value(), format!("{}…", "x".repeat(64)));
    let exact = parse_retry_after(&[b'x'; 64], now()).unwrap_err();
    assert_eq!(exact.value(), "x".repeat(64));
}

#[test]
fn finer_headers_come_first() {
    let all = [
        ("retry-after", "2"),
        ("x-ms-retry-after-ms", "1500"),
        ("retry-after-ms", "1250"),
    ];
    let second = Duration::from_secs(1);
    assert_eq!(
        hint(&all),
        wait(
            second + Duration::from_millis(250),
            HintHeader::RetryAfterMs
        )
    );
    assert_eq!(
        hint(&all[..2]),
        wait(
            second + Duration::from_millis(500),
            HintHeader::XMsRetryAfterMs
        )
    );
    assert_eq!(hint(&all[..1]), wait(second * 2, HintHeader::RetryAfter));
    assert_eq!(
        standard(&all),
        wait(second * 2, HintHeader::RetryAfter),
        "urllib3 knows one header"
    );
    assert_eq!(standard(&all[1..]), Hint::Absent);
}

#[test]
fn an_unreadable_header_gives_way_to_the_next() {
    assert_eq!(
        hint(&[("retry-after-ms", "soon"), ("retry-after", "2")]),
        wait(Duration::from_secs(2), HintHeader::RetryAfter)
    );
    assert_eq!(
        hint(&[
            ("x-ms-retry-after-ms", "00:00:00.033"),
            ("retry-after", "soon")
        ]),
        Hint::Invalid {
            header: HintHeader::XMsRetryAfterMs
        }
    );
    assert_eq!(
        hint(&[("retry-after", "soon")]),
        Hint::Invalid {
            header: HintHeader::RetryAfter
        }
    );
}

#[test]
fn milliseconds_may_have_a_fraction() {
    let of = |value| hint(&[("retry-after-ms", value)]).asked();
    assert_eq!(of("0"), Some(Duration::ZERO));
    assert_eq!(of("33.5"), Some(Duration::from_micros(33_500)));
    // Rounded up: never earlier than asked.
    assert_eq!(of("0.0000019"), Some(Duration::from_nanos(2)));
    assert_eq!(of("0.99999999999"), Some(Duration::from_millis(1)));
    assert_eq!(of(".5"), Some(Duration::from_micros(500)));
    assert_eq!(of("5."), Some(Duration::from_millis(5)));
    assert_eq!(
        of("99999999999999999999"),
        Some(Duration::from_millis(u64::MAX))
    );
    for value in [".", "1.5.5", "-1", "1e3", "1.-5", "12ms"] {
        assert_eq!(of(value), None, "{value:?}");
    }
}

#[test]
fn an_empty_header_is_absent() {
    assert_eq!(hint(&[]), Hint::Absent);
    assert_eq!(hint(&[("retry-after", "")]), Hint::Absent);
    assert_eq!(hint(&[("retry-after", " \t")]), Hint::Absent);
    assert_eq!(
        hint(&[("retry-after-ms", ""), ("retry-after", "1")]),
        wait(Duration::from_secs(1), HintHeader::RetryAfter)
    );
}

#[test]
fn spaces_that_are_not_http_s_make_no_empty_header() {
    for space in [b"\xa0", b"\x85"] {
        let space = HeaderValue::from_bytes(space).unwrap();
        let lines = HeaderMap::from_iter([(RETRY_AFTER, space)]);
        assert_eq!(
            standard_retry_after(StatusCode::TOO_MANY_REQUESTS, &lines, now(), CAP),
            Hint::Invalid {
                header: HintHeader::RetryAfter
            }
        );
    }
}

#[test]
fn of_several_values_the_longest_counts() {
    let ten = now() + Duration::from_secs(10);
    let date = httpdate::fmt_http_date(ten);
    let dates = format!("{date}, 4, {date}");
    for (lines, seconds) in [
        (&["5", "5"][..], 5),
        (&["1", "2"], 2),
        (&["2", "1"], 2),
        (&["", "2"], 2),
        (&["5, 5"], 5),
        (&["5,7 , 6"], 7),
        (&["5,", ",3"], 5),
        (&[&dates], 10),
        (&["4", &date], 10),
        (&["11, 4", &date], 11),
        // What cannot be read does not make the rest shorter.
        (&["soon, 6"], 6),
        (&["6", "soon"], 6),
        (&["Sunday, 6"], 6),
        (&["1.5"], 2),
        (&["1.000000000001"], 2),
        (&["5.0"], 5),
        (&[".1"], 1),
        (&["0.0"], 0),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| ("retry-after", *line)).collect();
        let asked = Some(Duration::from_secs(seconds));
        assert_eq!(hint(&lines).asked(), asked, "{lines:?}");
        // To urllib3 none of this can be read, and it is there all the same.
        if lines.len() > 1 || lines[0].1.contains([',', '.']) {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let standard = standard_retry_after(status, &headers(&lines), now(), CAP);
            assert!(matches!(standard, Hint::Invalid { .. }), "{lines:?}");
        }
    }
    let invalid = Hint::Invalid {
        header: HintHeader::RetryAfter,
    };
    for value in [",", "soon, late", "5 6", "+5", "5;6"] {
        assert_eq!(hint(&[("retry-after", value)]), invalid, "{value}");
    }
}

#[test]
fn the_cap_is_compared_with_what_was_asked() {
    let exact = hint(&[("retry-after", "60")]);
    assert_eq!(exact, wait(CAP, HintHeader::RetryAfter));
    let over = hint(&[("retry-after", "61")]);
    let asked = Duration::from_secs(61);
    assert_eq!(
        over,
        Hint::OverCap {
            asked,
            cap: CAP,
            header: HintHeader::RetryAfter
        }
    );
    assert_eq!(over.asked(), Some(asked));
    assert_eq!(over.clamped(), Some(CAP));
    assert_eq!(over.header(), Some(&HintHeader::RetryAfter));
}

#[test]
fn every_final_status_is_answered() {
    let lines = headers(&[("retry-after", "1")]);
    for code in 100..=999 {
        let status = StatusCode::from_u16(code).unwrap();
        let hint = retry_after(status, &lines, now(), CAP);
        assert_eq!(hint.is_present(), code >= 200, "{code}");
        assert_eq!(hint, standard_retry_after(status, &lines, now(), CAP));
    }
}

#[test]
fn header_names_are_those_on_the_wire() {
    for header in [
        HintHeader::RetryAfter,
        HintHeader::RetryAfterMs,
        HintHeader::XMsRetryAfterMs,
    ] {
        let name: HeaderName = header.as_str().parse().unwrap();
        assert_eq!(name.as_str(), header.to_string());
        let lines = HeaderMap::from_iter([(name, HeaderValue::from_static("1"))]);
        let found = retry_after(StatusCode::TOO_MANY_REQUESTS, &lines, now(), CAP);
        assert_eq!(found.header(), Some(&header));
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(
        value in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[MTWFS][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT".prop_map(String::into_bytes),
            "(Mon|Thurs|Wednes|Sun)day, [0-9]{2}-(Jan|Feb|Dec)-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
                .prop_map(String::into_bytes),
            "(Mon|Thu) (Jan|Feb|Dec) [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}"
                .prop_map(String::into_bytes),
        ],
        since_epoch in any::<u32>(),
    ) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch.into());
        let direct = parse_retry_after(&value, now);
        if let Ok(line) = HeaderValue::from_bytes(&value) {
            let lines = HeaderMap::from_iter([(RETRY_AFTER, line)]);
            let hint = standard_retry_after(StatusCode::OK, &lines, now, Duration::MAX);
            prop_assert_eq!(hint.asked(), direct.ok(), "both readers agree");
        }
    }

    #[test]
    fn any_date_is_read_back(seconds in 0..253_402_300_800_u64, since_epoch in any::<u32>()) {
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch.into());
        let text = httpdate::fmt_http_date(date);
        prop_assert_eq!(
            parse_retry_after(text.as_bytes(), now),
            Ok(Duration::from_secs(seconds.saturating_sub(since_epoch.into())))
        );
    }
}
