use http::header::{AGE, DATE, RETRY_AFTER};
use proptest::prelude::*;

use super::*;

/// 2026-01-01T00:00:00Z, a Thursday.
const NOW: u64 = 1_767_225_600;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

const CAP: Duration = Duration::from_secs(3600);

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&str, &str)| -> (HeaderName, HeaderValue) {
        let value = HeaderValue::from_bytes(value.as_bytes());
        (name.parse().expect("a name"), value.expect("a value"))
    };
    lines.iter().map(line).collect()
}

fn named(name: &'static str) -> HintHeader {
    HeaderName::from_static(name).into()
}

fn read_by_default(
    status: StatusCode,
    headers: &HeaderMap,
    now: impl Fn() -> SystemTime,
    cap: Duration,
) -> HintReading {
    let hints = Hints {
        should_retry: Some(&HeaderName::from_static("x-should-retry")),
        resets: &ResetHeader::defaults(),
    };
    hints.read(status, headers, now, cap)
}

fn read(status: u16, lines: &[(&str, &str)]) -> HintReading {
    let status = StatusCode::from_u16(status).expect("a status");
    read_by_default(status, &headers(lines), now, CAP)
}

/// The wait that a response with status 429 asks for, in milliseconds, and where.
fn asked(lines: &[(&str, &str)]) -> Option<(u64, String)> {
    asked_with(429, lines)
}

fn asked_with(status: u16, lines: &[(&str, &str)]) -> Option<(u64, String)> {
    let said = read(status, lines);
    assert_eq!(said.veto, None, "{lines:?}");
    let hint = said.hint;
    let ms = u64::try_from(hint.asked()?.as_millis()).expect("short");
    Some((ms, hint.header().expect("it").to_string()))
}

fn ignored(lines: &[(&str, &str)]) -> Option<String> {
    let said = read(429, lines);
    assert_eq!(said.hint, Hint::Absent, "{lines:?}");
    said.ignored.map(|header| header.to_string())
}

fn at(ms: u64, header: &str) -> Option<(u64, String)> {
    Some((ms, header.to_owned()))
}

#[test]
fn the_first_header_of_the_table_wins() {
    let mut lines = vec![
        ("grpc-retry-pushback-ms", "1000"),
        ("retry-after-ms", "2000"),
        ("x-ms-retry-after-ms", "3000"),
        ("retry-after", "4"),
        #[cfg(feature = "ratelimit")]
        ("ratelimit", r#""a";r=0;t=5"#),
        ("x-ratelimit-reset", "6"),
        ("ratelimit-reset", "7"),
        ("x-rate-limit-reset", "1767225608"),
    ];
    while !lines.is_empty() {
        let seconds = match lines[0].0 {
            "grpc-retry-pushback-ms" => 1,
            "retry-after-ms" => 2,
            "x-ms-retry-after-ms" => 3,
            "retry-after" => 4,
            "ratelimit" => 5,
            "x-ratelimit-reset" => 6,
            "ratelimit-reset" => 7,
            _ => 8,
        };
        let mut shuffled = lines.clone();
        assert_eq!(asked(&lines), at(seconds * 1000, lines[0].0));
        shuffled.reverse();
        assert_eq!(asked(&shuffled), at(seconds * 1000, lines[0].0));
        lines.remove(0);
    }
}

#[test]
fn what_cannot_be_read_gives_way_and_is_said() {
    let said = read(
        429,
        &[
            ("retry-after-ms", "soon"),
            ("retry-after", "later"),
            ("x-ratelimit-reset", "6"),
        ],
    );
    assert_eq!(said.ignored, Some(HintHeader::RetryAfterMs));
    assert_eq!(said.hint.asked(), Some(Duration::from_secs(6)));
    assert!(said.asks_for_retry, "unreadable, but there");
    assert!(!read(429, &[("x-ratelimit-reset", "6")]).asks_for_retry);
}

#[test]
fn a_hint_of_zero_takes_precedence_too() {
    let lines = [("retry-after", "0"), ("x-ratelimit-reset", "6")];
    assert_eq!(asked(&lines), at(0, "retry-after"));
}

#[test]
fn what_was_asked_is_compared_with_the_cap() {
    let over = |lines| match read(429, lines).hint {
        Hint::OverCap { asked, cap, .. } => {
            assert_eq!(cap, CAP);
            Some(asked.as_secs())
        }
        _ => None,
    };
    assert_eq!(over(&[("x-ratelimit-reset", "3600")]), None);
    assert_eq!(over(&[("x-ratelimit-reset", "3601")]), Some(3601));
    assert_eq!(
        over(&[("grpc-retry-pushback-ms", "2147483647")]),
        Some(2_147_483)
    );
}

#[test]
fn an_interim_response_says_nothing() {
    assert_eq!(
        read(103, &[("retry-after", "4"), ("x-should-retry", "false")]),
        HintReading::default()
    );
}

#[test]
fn pushback_is_a_wait_or_never() {
    for (value, wait) in [
        ("0", Some(0)),
        ("1", Some(1)),
        ("1500", Some(1500)),
        (" 007 ", Some(7)),
        ("2147483647", Some(2_147_483_647)),
        ("2147483648", None),
        ("99999999999999999999999", None),
        ("-1", None),
        ("-0", None),
        ("+1", None),
        ("1.5", None),
        ("1s", None),
        ("", None),
        ("never", None),
    ] {
        let said = read(503, &[("grpc-retry-pushback-ms", value)]);
        match wait {
            Some(ms) => {
                assert_eq!(
                    said.hint.asked(),
                    Some(Duration::from_millis(ms)),
                    "{value}"
                );
                assert_eq!(said.veto, None, "{value}");
            }
            None => {
                assert_eq!(said.veto, Some(HintHeader::GrpcRetryPushbackMs), "{value}");
                assert_eq!(said.ignored, None, "A6 gives it a meaning");
            }
        }
    }
    let twice = [("grpc-retry-pushback-ms", "1"); 2];
    assert_eq!(
        read(503, &twice).veto,
        Some(HintHeader::GrpcRetryPushbackMs)
    );
}

#[test]
fn only_false_is_a_veto() {
    let veto = Some(named("x-should-retry"));
    for value in ["false", "False", "FALSE", " false\t"] {
        assert_eq!(read(503, &[("x-should-retry", value)]).veto, veto);
    }
    for (value, unreadable) in [
        ("true", false),
        ("True", false),
        ("", false),
        ("0", true),
        ("no", true),
        ("falsehood", true),
    ] {
        let said = read(503, &[("x-should-retry", value)]);
        assert_eq!(said.veto, None, "{value}");
        assert_eq!(said.ignored.is_some(), unreadable, "{value}");
    }
    let both = [("x-should-retry", "true"), ("x-should-retry", "false")];
    assert_eq!(read(503, &both).veto, veto);
    let with_wait = read(503, &[("x-should-retry", "false"), ("retry-after", "4")]);
    assert_eq!(with_wait.veto, veto);
    assert_eq!(
        with_wait.hint.asked(),
        Some(Duration::from_secs(4)),
        "for the requests that come after"
    );
}

#[test]
fn resets_are_read_as_each_vendor_means_them() {
    for (name, value, ms) in [
        // Seconds, with Reddit's fraction.
        ("x-ratelimit-reset", "512", 512_000),
        ("x-ratelimit-reset", "512.25", 512_250),
        ("ratelimit-reset", "7", 7_000),
        // GitHub's and GitLab's epoch.
        ("x-ratelimit-reset", "1767225610", 10_000),
        ("ratelimit-reset", "1767225610", 10_000),
        // X's, Discord's with a fraction, Gravitee's in milliseconds.
        ("x-rate-limit-reset", "1767225610", 10_000),
        ("x-ratelimit-reset", "1767225610.123", 10_123),
        ("x-rate-limit-reset", "1767225610999", 10_999),
        ("x-ratelimit-reset", "1767225610999", 10_999),
        // The time has come.
        ("x-ratelimit-reset", "1767225600", 0),
        ("x-ratelimit-reset", "1767225599", 0),
        ("x-rate-limit-reset", "15000", 0),
        // The limit of what are seconds.
        ("x-ratelimit-reset", "1000000001", 0),
        ("x-ratelimit-reset", "1000000000", 1_000_000_000_000),
    ] {
        assert_eq!(asked(&[(name, value)]), at(ms, name), "{name}: {value}");
    }
    for value in ["-1", "1e3", "6m0", "6 m", "2018-03-13", "soon"] {
        let lines = [("x-ratelimit-reset", value)];
        assert_eq!(ignored(&lines).as_deref(), Some("x-ratelimit-reset"));
    }
    for (value, ms) in [
        ("6m0s", 360_000),
        ("2026-01-01T00:00:07Z", 7_000),
        ("1, 2", 2_000),
        (".5", 500),
    ] {
        let name = "x-ratelimit-reset";
        assert_eq!(asked(&[(name, value)]), at(ms, name), "{value}");
    }
    let twice = [("x-ratelimit-reset", "1"); 2];
    assert_eq!(asked(&twice), at(1_000, "x-ratelimit-reset"));
    assert_eq!(ignored(&[("x-ratelimit-reset", " ")]), None);
}

#[test]
fn formats_are_a_choice() {
    let status = StatusCode::TOO_MANY_REQUESTS;
    for (format, value, ms) in [
        (ResetFormat::Seconds, "1767225610", Some(1_767_225_610_000)),
        (ResetFormat::Milliseconds, "1500", Some(1500)),
        (ResetFormat::Milliseconds, "1500.5", Some(1500)),
        (ResetFormat::Epoch, "10", Some(0)),
        (ResetFormat::Epoch, "100000000000", Some(98_232_774_400_000)),
        (ResetFormat::Epoch, "18446744073709551616", None),
        (ResetFormat::Auto, "10", Some(10_000)),
    ] {
        let header = ResetHeader::new(HeaderName::from_static("x-until"), format);
        let lines = headers(&[("x-until", value)]);
        let found = header.find(status, &lines, &now);
        match (found, ms) {
            (HeaderReading::Wait(wait), Some(ms)) => {
                assert_eq!(wait.as_millis(), ms, "{format:?} {value}")
            }
            (HeaderReading::Wait(wait), None) => assert!(wait > CAP * 1_000_000, "{wait:?}"),
            (found, _) => panic!("{format:?} {value}: {found:?}"),
        }
    }
}

#[test]
fn a_reset_counts_only_when_the_limit_is_what_was_hit() {
    let reset = ("x-ratelimit-reset", "7");
    let hit = at(7_000, "x-ratelimit-reset");
    for (remaining, with_429, with_503) in [
        (Some("0"), true, true),
        (Some("0.0"), true, true),
        (Some("0.7"), true, true),
        (Some("1"), false, false),
        (Some("4999"), false, false),
        (Some("-1"), true, false),
        (Some("none"), true, false),
        (None, true, false),
    ] {
        let mut lines = vec![reset];
        lines.extend(remaining.map(|n| ("x-ratelimit-remaining", n)));
        let expected = |counts| hit.clone().filter(|_| counts);
        assert_eq!(asked_with(429, &lines), expected(with_429), "{remaining:?}");
        assert_eq!(asked_with(503, &lines), expected(with_503), "{remaining:?}");
    }
    let malformed = [
        ("x-ratelimit-reset", "soon"),
        ("x-ratelimit-remaining", "9"),
    ];
    assert_eq!(ignored(&malformed), None, "not a hint, so not ignored");
}

#[test]
fn dates_are_compared_with_the_servers_clock() {
    let until = ("retry-after", "Thu, 01 Jan 2026 00:00:10 GMT");
    let wait = |lines: &[(&str, &str)]| asked(lines).map(|(ms, _)| ms);
    for (date, ms) in [
        // The client's clock is right, an hour late, an hour early, or starts in 1970.
        ("Thu, 01 Jan 2026 00:00:00 GMT", 10_000),
        ("Thu, 01 Jan 2026 00:00:03 GMT", 7_000),
        ("Thursday, 01-Jan-26 00:00:03 GMT", 7_000),
        ("Thu Jan  1 00:00:03 2026", 7_000),
        // A `Date` after the time in the hint.
        ("Thu, 01 Jan 2026 00:00:11 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 0),
        // One that is far too early.
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1_767_225_610_000),
        // None that can be read: the client's clock counts.
        ("yesterday", 10_000),
        ("", 10_000),
    ] {
        assert_eq!(wait(&[until, ("date", date)]), Some(ms), "{date:?}");
    }
    assert_eq!(wait(&[until]), Some(10_000));
    let date = ("date", "Thu, 01 Jan 2026 00:00:03 GMT");
    assert_eq!(wait(&[until, date, date]), Some(10_000), "two of them");
    // An epoch is a date as well, seconds are not.
    assert_eq!(
        wait(&[("x-ratelimit-reset", "1767225610"), date]),
        Some(7_000)
    );
    assert_eq!(wait(&[("x-ratelimit-reset", "10"), date]), Some(10_000));
    assert_eq!(wait(&[("retry-after", "10"), date]), Some(10_000));
}

#[test]
fn the_time_in_caches_is_added_to_a_date() {
    let until = ("retry-after", "Thu, 01 Jan 2026 00:00:10 GMT");
    let date = ("date", "Thu, 01 Jan 2026 00:00:03 GMT");
    let wait = |age| asked(&[until, date, ("age", age)]).map(|(ms, _)| ms);
    assert_eq!(wait("2"), Some(5_000));
    assert_eq!(wait("7"), Some(0));
    assert_eq!(wait("99999999999999999999"), Some(7_000), "absurd");
    assert_eq!(wait("-2"), Some(7_000));
    assert_eq!(wait("old"), Some(7_000));
    let without_date = [until, ("age", "2")];
    assert_eq!(asked(&without_date), at(10_000, "retry-after"));
}

#[test]
fn reset_headers_must_not_be_read_as_something_else() {
    use crate::policy::RetryPolicy;
    for name in HintHeader::FIXED {
        let name: HeaderName = name.as_str().parse().expect("a name");
        let mut header = ResetHeader::new(name.clone(), ResetFormat::Auto);
        if name == RETRY_AFTER {
            let policy = RetryPolicy::builder()
                .reset_headers([header.clone()])
                .build();
            assert!(policy.is_ok(), "it says how it is written");
            header = header.remaining(HeaderName::from_static("left"));
        }
        let error = RetryPolicy::builder().reset_headers([header]).build();
        let error = error.expect_err("taken");
        assert_eq!(error.field(), "reset_headers");
        assert!(error.value().starts_with(name.as_str()));
    }
    let own = ResetHeader::new(HeaderName::from_static("x-until"), ResetFormat::Epoch);
    let policy = RetryPolicy::builder().reset_headers([own.clone()]).build();
    assert_eq!(policy.expect("valid").reset_headers(), [own]);
}

#[test]
fn a_header_is_its_name() {
    for header in HintHeader::FIXED {
        let name: HeaderName = header.to_string().parse().expect("a name");
        assert_eq!(HintHeader::from(name), header);
    }
    let own = named("x-until");
    assert_eq!(own, HintHeader::from(HeaderName::from_static("x-until")));
    assert_eq!(own.to_string(), "x-until");
}

#[cfg(feature = "serde")]
#[test]
fn a_header_is_its_name_to_serde() {
    use crate::policy::{Note, WaitReason};
    let why = WaitReason::ServerHint(named("x-ratelimit-reset"));
    let json = serde_json::to_string(&why).expect("json");
    assert_eq!(json, r#"{"server_hint":"x-ratelimit-reset"}"#);
    assert_eq!(serde_json::from_str::<WaitReason>(&json).expect("it"), why);
    let note: Note = serde_json::from_str(r#"{"hint_ignored":"retry-after"}"#).expect("it");
    assert_eq!(note, Note::HintIgnored(HintHeader::RetryAfter));
    assert!(serde_json::from_str::<HintHeader>(r#""no name""#).is_err());
}

#[cfg(feature = "ratelimit")]
mod rate_limit {
    use super::*;

    fn limit(value: &str) -> Option<u64> {
        let (ms, header) = asked(&[("ratelimit", value)])?;
        assert_eq!(header, "ratelimit");
        Some(ms / 1000)
    }

    #[test]
    fn a_quota_that_is_used_up_is_waited_for() {
        for (value, seconds) in [
            (r#""default";r=0;t=7"#, Some(7)),
            (r#""default"; r=0; t=7; pk=:dHJpYWw=:"#, Some(7)),
            (r#"default;t=7;r=0;acme-note="x""#, Some(7)),
            (r#""default";r=0;t=0"#, Some(0)),
            (r#""default";r=1;t=7"#, None),
            (r#""default";r=999"#, None),
            (r#""default";r=0"#, None),
            // The longest of those that are used up.
            (r#""a";r=0;t=7, "b";r=0;t=9, "c";r=5;t=3000"#, Some(9)),
            (r#""a";r=0;t=9, "b";r=0;t=7"#, Some(9)),
            ("", None),
            // The last of several parameters counts (RFC 9651, section 4.2.3.2).
            (r#""a";r=5;r=0;t=1;t=7"#, Some(7)),
            // What the seventh draft had.
            ("limit=100, remaining=0, reset=7", Some(7)),
            ("limit=100, remaining=1, reset=7", None),
        ] {
            assert_eq!(limit(value), seconds, "{value}");
            assert_eq!(read(429, &[("ratelimit", value)]).ignored, None, "{value}");
        }
    }

    #[test]
    fn a_list_can_have_several_lines() {
        let lines = [
            ("ratelimit", r#""a";r=0;t=7"#),
            ("ratelimit", r#""b";r=0;t=9, "c";r=1;t=100"#),
        ];
        assert_eq!(asked(&lines), at(9_000, "ratelimit"));
        let one_malformed = [("ratelimit", r#""a";r=0;t=7"#), ("ratelimit", "=")];
        assert_eq!(ignored(&one_malformed).as_deref(), Some("ratelimit"));
    }

    #[test]
    fn a_malformed_list_is_ignored_as_a_whole() {
        for value in [
            r#""a";t=7"#,
            r#""a";r=-1;t=7"#,
            r#""a";r=0;t=-7"#,
            r#""a";r=0;t=7.5"#,
            r#""a";r=0.0;t=7"#,
            r#""a";r="0";t=7"#,
            r#""a";r;t=7"#,
            r#""a";r=0;t=7,"#,
            r#""a";r=0;t=7, "b""#,
            r#""a";r=0;t=7 "b";r=0;t=7"#,
            r#"("a";r=0;t=7)"#,
            r#""a";r=0;t=9999999999999999"#,
            "limit=100, remaining=0",
            "remaining=0, reset=-7",
            "limit=100, reset=7",
            "remaining=(0), reset=7",
            "100, 100;w=60",
            "7",
            "ä",
        ] {
            let lines = [("ratelimit", value)];
            assert_eq!(ignored(&lines).as_deref(), Some("ratelimit"), "{value}");
        }
    }

    #[test]
    fn a_window_bounds_a_time_that_is_left_open() {
        let window = |limit, policy| asked(&[("ratelimit", limit), ("ratelimit-policy", policy)]);
        let policy = r#""burst";q=10;w=60, "daily";q=1000;w=86400, "hourly";q=100;w=3600"#;
        let from_policy = |seconds: u64| at(seconds * 1000, "ratelimit-policy");
        let from_limit = |seconds: u64| at(seconds * 1000, "ratelimit");
        for (limit, expected) in [
            (r#""burst";r=0"#, from_policy(60)),
            ("burst;r=0", from_policy(60)),
            (r#""hourly";r=0, "burst";r=0"#, from_policy(3600)),
            // Longer than the cap.
            (r#""daily";r=0"#, None),
            (r#""other";r=0"#, None),
            (r#""burst";r=1"#, None),
            // What is said is not replaced, and the longest counts.
            (r#""burst";r=0;t=7"#, from_limit(7)),
            (r#""burst";r=0, "hourly";r=0;t=7"#, from_policy(60)),
            (r#""burst";r=0, "hourly";r=0;t=70"#, from_limit(70)),
            (r#""daily";r=0, "hourly";r=0;t=70"#, from_limit(70)),
        ] {
            assert_eq!(window(limit, policy), expected, "{limit}");
        }
        assert_eq!(window(r#""a";r=0"#, r#""a";q=1"#), None);
        let malformed = [
            ("ratelimit", r#""a";r=0"#),
            ("ratelimit-policy", r#""a";w=-1"#),
        ];
        assert_eq!(ignored(&malformed).as_deref(), Some("ratelimit-policy"));
        let not_needed = [("ratelimit", r#""a";r=0;t=7"#), ("ratelimit-policy", "=")];
        assert_eq!(read(429, &not_needed).ignored, None);
        assert_eq!(asked(&not_needed), from_limit(7));
    }

    #[test]
    fn a_response_from_a_cache_says_nothing_of_quotas() {
        let limit = ("ratelimit", r#""a";r=0;t=7"#);
        assert_eq!(asked(&[limit, ("age", "1")]), None);
        assert_eq!(asked(&[limit, ("age", "0")]), at(7_000, "ratelimit"));
    }

    #[test]
    fn a_quota_counts_with_every_status_that_is_retried() {
        let limit = ("ratelimit", r#""a";r=0;t=7"#);
        for status in [408, 429, 500, 503] {
            assert_eq!(asked_with(status, &[limit]), at(7_000, "ratelimit"));
        }
    }

    proptest! {
        #[test]
        fn no_list_panics(
            limit in r#"["a-c;=(), rtq0-9?:.@%-]{0,40}"#,
            policy in r#"["a-c;=(), wq0-9?:.@%-]{0,40}"#,
        ) {
            read(429, &[("ratelimit", &limit), ("ratelimit-policy", &policy)]);
        }

        #[test]
        fn any_list_is_read(items in prop::collection::vec((0..3u64, 0..3000u64), 0..6)) {
            let list: Vec<_> = items.iter().map(|(r, t)| format!("\"x\";r={r};t={t}")).collect();
            let longest = items.iter().filter(|(r, _)| *r == 0).map(|(_, t)| *t).max();
            prop_assert_eq!(limit(&list.join(", ")), longest);
        }
    }
}

/// Values that look like some header's.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop_oneof![Just(b'\t'), 32..=126u8, 128..=255u8], 0..40),
        "-?[0-9]{1,25}(\\.[0-9]{0,12})?".prop_map(String::into_bytes),
        "[MTWFS][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT"
            .prop_map(String::into_bytes),
        r#"("[a-c]{0,3}"|[a-c]{1,3})(;[rtqw](=-?[0-9]{1,17})?){0,4}"#.prop_map(String::into_bytes),
        "(true|false|soon|)".prop_map(String::into_bytes),
    ]
}

fn any_headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(vec![
        "x-should-retry",
        "grpc-retry-pushback-ms",
        "retry-after-ms",
        "x-ms-retry-after-ms",
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
        "x-ratelimit-reset",
        "x-ratelimit-remaining",
        "ratelimit-reset",
        "x-rate-limit-reset",
        "date",
        "age",
    ]);
    prop::collection::vec((name, value()), 0..8).prop_map(|lines| {
        let line = |(name, value): (&'static str, Vec<u8>)| {
            let value = HeaderValue::from_bytes(&value).expect("a value");
            (HeaderName::from_static(name), value)
        };
        lines.into_iter().map(line).collect()
    })
}

proptest! {
    #[test]
    fn no_headers_panic(
        headers in any_headers(),
        status in 100..=999u16,
        since_epoch in any::<u32>(),
        cap in any::<u64>(),
    ) {
        let status = StatusCode::from_u16(status).expect("a status");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch.into());
        let cap = Duration::from_millis(cap);
        let said = read_by_default(status, &headers, || now, cap);
        match &said.hint {
            Hint::Invalid { .. } => prop_assert!(false, "{said:?}"),
            Hint::Wait { asked, .. } => prop_assert!(*asked <= cap),
            Hint::OverCap { asked, .. } => prop_assert!(*asked > cap),
            Hint::Absent => {}
        }
        // Whatever is noted is there.
        let noted = said.veto.iter().chain(&said.ignored).chain(said.hint.header());
        for header in noted {
            prop_assert!(headers.contains_key(header.as_str()), "{header}");
        }
        // One header is read alike by both readers.
        if !headers.contains_key("grpc-retry-pushback-ms") {
            let at = clock::server_now(&headers, || now);
            let alone = retry_after(status, &headers, at, cap);
            if alone.asked().is_some() {
                prop_assert_eq!(alone, said.hint);
            }
        }
    }

    #[test]
    fn an_epoch_is_the_date_that_it_stands_for(
        until in 1_000_000_001..99_999_999_999u64,
        date in 0..99_999_999_999u64,
    ) {
        let time = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let mut lines = HeaderMap::new();
        lines.insert(DATE, httpdate::fmt_http_date(time(date)).parse().expect("a value"));
        lines.insert("x-ratelimit-reset", HeaderValue::from(until));
        let read = |lines: &HeaderMap| {
            let status = StatusCode::TOO_MANY_REQUESTS;
            read_by_default(status, lines, now, Duration::MAX).hint.asked()
        };
        let wait = Some(Duration::from_secs(until.saturating_sub(date)));
        prop_assert_eq!(read(&lines), wait);
        lines.insert(AGE, HeaderValue::from(5));
        lines.insert(RETRY_AFTER, httpdate::fmt_http_date(time(until)).parse().expect("a value"));
        let wait = Some(Duration::from_secs(until.saturating_sub(date + 5)));
        prop_assert_eq!(read(&lines), wait);
    }
}

fn read_with(reset: ResetHeader, status: u16, lines: &[(&str, &str)]) -> HintReading {
    let hints = Hints {
        should_retry: None,
        resets: &[reset],
    };
    let status = StatusCode::from_u16(status).expect("a status");
    hints.read(status, &headers(lines), now, Duration::MAX)
}

#[test]
fn the_user_says_what_a_server_writes_into_retry_after() {
    let in_seven = "1767225607";
    for (format, value, ms) in [
        (ResetFormat::Epoch, in_seven, 7_000),
        (ResetFormat::Epoch, "1767225607999", 7_999),
        (ResetFormat::Auto, in_seven, 7_000),
        (ResetFormat::Milliseconds, "7000", 7_000),
        (ResetFormat::GoDuration, "1m2.5s", 62_500),
        (ResetFormat::Rfc3339, "2026-01-01T01:00:07+01:00", 7_000),
        // What is not in that format is read as usual: never earlier than could be meant.
        (ResetFormat::Epoch, "7", 7_000),
        (ResetFormat::GoDuration, "7", 7_000),
        (ResetFormat::Rfc3339, "Thu, 01 Jan 2026 00:00:07 GMT", 7_000),
    ] {
        let said = read_with(
            ResetHeader::new(RETRY_AFTER, format),
            503,
            &[("retry-after", value)],
        );
        let hint = Hint::Wait {
            asked: Duration::from_millis(ms),
            header: HintHeader::RetryAfter,
        };
        assert_eq!(said.hint, hint, "{format:?} {value}");
        assert!(said.asks_for_retry && said.ignored.is_none());
    }
    // Without that, it is what RFC 9110 says: seconds.
    let said = read(503, &[("retry-after", in_seven)]);
    assert_eq!(said.hint.asked(), Some(Duration::from_secs(1_767_225_607)));
}

#[test]
fn a_header_that_the_user_named_is_obeyed_on_every_status_or_noted() {
    let name = HeaderName::from_static("x-until");
    let own = ResetHeader::new(name.clone(), ResetFormat::Seconds);
    let kept = own.clone().remaining(HeaderName::from_static("x-left"));
    for status in [408, 429, 500, 503, 520] {
        let said = read_with(own.clone(), status, &[("x-until", "7")]);
        assert_eq!(said.hint.asked(), Some(Duration::from_secs(7)), "{status}");

        let said = read_with(kept.clone(), status, &[("x-until", "7")]);
        let noted = said.ignored == Some(name.clone().into());
        assert_eq!(said.hint.is_present(), status == 429);
        assert_eq!(noted, status != 429);

        let said = read_with(kept.clone(), status, &[("x-until", "7"), ("x-left", "0")]);
        assert!(said.hint.is_present());
        let said = read_with(kept.clone(), status, &[("x-until", "7"), ("x-left", "3")]);
        assert_eq!(said, HintReading::default(), "it failed for another reason");
    }
}

#[test]
fn go_durations_are_read_as_go_writes_them() {
    for (text, nanos) in [
        ("0", 0),
        ("0s", 0),
        ("6m0s", 360_000_000_000),
        ("1h2m3.5s", 3_723_500_000_000),
        ("1.5h", 5_400_000_000_000),
        ("250ms", 250_000_000),
        ("1.5\u{b5}s", 1_500),
        ("1.5\u{3bc}s", 1_500),
        ("1us", 1_000),
        ("1ns", 1),
        ("0.1ns", 1),
        (".5s", 500_000_000),
    ] {
        let read = text::go_duration(text.as_bytes());
        assert_eq!(read, Some(Duration::from_nanos(nanos)), "{text}");
    }
    for text in [
        "", "5", "s", "-1s", "1s ", "1 s", "1d", "1.2.3s", "1s2", "1S", "m", ".",
    ] {
        assert_eq!(text::go_duration(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn times_of_rfc_3339_have_their_offsets_and_leap_seconds() {
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59Z", 0),
        ("2000-02-29T12:00:00Z", 951_825_600),
        ("1985-04-12t23:20:50z", 482_196_050),
        ("1996-12-19 16:39:57-08:00", 851_042_397),
        ("1990-12-31T23:59:60Z", 662_688_000),
        ("1990-12-31T15:59:60-08:00", 662_688_000),
        ("2026-01-01T05:30:00+05:30", NOW),
    ] {
        let read = text::rfc3339(text.as_bytes());
        assert_eq!(read, Some(Duration::from_secs(seconds)), "{text}");
    }
    let fraction = text::rfc3339(b"1970-01-01T00:00:01.5000000001+00:00");
    assert_eq!(fraction, Some(Duration::new(1, 500_000_001)));
    for text in [
        "",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00Zx",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "26-01-01T00:00:00Z",
    ] {
        assert_eq!(text::rfc3339(text.as_bytes()), None, "{text}");
    }
}

proptest! {
    /// The calendar is another library's.
    #[test]
    fn every_second_of_rfc_3339_is_read_back(seconds in 0..253_402_300_800_u64, minutes in -1439_i64..1440) {
        let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        // Sun, 06 Nov 1994 08:49:37 GMT
        let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let month = months.find(&date[8..11]).expect("a month") / 3 + 1;
        let sign = if minutes < 0 { '-' } else { '+' };
        let offset = minutes.abs();
        let text = format!(
            "{}-{month:02}-{}T{}{sign}{:02}:{:02}",
            &date[12..16], &date[5..7], &date[17..25], offset / 60, offset % 60,
        );
        let utc = i64::try_from(seconds).expect("small") - minutes * 60;
        let utc = Duration::from_secs(u64::try_from(utc).unwrap_or(0));
        prop_assert_eq!(text::rfc3339(text.as_bytes()), Some(utc), "{}", text);
    }

    #[test]
    fn no_hint_panics(value in prop::collection::vec(any::<u8>(), 0..40), like in "[0-9T:.Z+-]{0,40}|([0-9.]{1,25}(h|m|s|ms|ns|us)){1,3}|[0-9, .]{0,30}") {
        for value in [&value[..], like.as_bytes()] {
            let _ = (text::rfc3339(value), text::go_duration(value), text::decimal(value));
            // The elements are all that is between the commas.
            let commas = value.iter().filter(|byte| **byte == b',').count();
            prop_assert!(text::elements(value).count() <= commas + 1);
        }
    }
}
