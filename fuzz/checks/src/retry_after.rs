//! `Retry-After` and its spellings in milliseconds: the value, the header, and the decision.

use std::time::{Duration, SystemTime};

use tower_http_retry::policy::{
    Decision, Hint, HintHeader, parse_retry_after, retry_after, standard_retry_after,
};

use super::{
    Depth,
    exchange::{Exchange, NOW, now},
    model::{self, Said},
};

const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

/// Takes the bytes for a value, and for a response; see `exchange`.
pub fn check(data: &[u8], _: Depth) -> &'static str {
    let value = value(data);
    let response = response(&Exchange::read(data));
    // The branches of a response are more telling, where there are any.
    if response == "absent" {
        value
    } else {
        response
    }
}

/// What is read as one value.
fn value(data: &[u8]) -> &'static str {
    let text = model::trimmed(data);
    let read = parse_retry_after(data, EPOCH);
    if let Some(seconds) = model::digits(&text) {
        assert_eq!(read, Ok(Duration::from_secs(seconds)));
        assert_eq!(
            parse_retry_after(data, now()),
            read,
            "seconds know no clock"
        );
        return "seconds";
    }
    if let Some(expected) = fixdate(&text) {
        let read = read.as_ref().ok().map(Duration::as_secs);
        assert_eq!(read, expected.ok(), "{text}");
    }
    match read {
        Ok(date) => {
            assert_eq!(date.subsec_nanos(), 0);
            let left = parse_retry_after(data, now()).expect("it was read before");
            assert_eq!(left, date.saturating_sub(NOW));
            // The year 9999 is the last that can be written.
            if date.as_secs() < 253_402_300_800 {
                let written = httpdate::fmt_http_date(EPOCH + date);
                let again = parse_retry_after(written.as_bytes(), EPOCH);
                assert_eq!(again, Ok(date), "{text} is {written}");
                assert_eq!(fixdate(&written), Some(Ok(date.as_secs())), "{written}");
            }
            "date"
        }
        Err(error) => {
            // It ends in logs.
            assert!(error.value().chars().count() <= 65);
            assert!(error.to_string().starts_with("`retry-after` is "));
            "unreadable"
        }
    }
}

/// It looks like a date, but there is none.
#[derive(Debug, PartialEq)]
struct NoSuchDate;

/// What looks like an IMF-fixdate (RFC 9110, section 5.6.7), in seconds from 1970.
fn fixdate(text: &str) -> Option<Result<u64, NoSuchDate>> {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let bytes = text.as_bytes();
    if bytes.len() != 29 || !text.is_ascii() {
        return None;
    }
    let number = |from: usize, to: usize| model::digits(&text[from..to]);
    let weekday = DAYS.iter().position(|day| *day == &text[..3])? as u64;
    let month = MONTHS.iter().position(|month| *month == &text[8..11])? as u64 + 1;
    let (day, year) = (number(5, 7)?, number(12, 16)?);
    let (hour, minute, second) = (number(17, 19)?, number(20, 22)?, number(23, 25)?);
    let between = [&text[3..5], &text[7..8], &text[11..12], &text[16..17]];
    let within = [&text[19..20], &text[22..23], &text[25..]];
    if between != [", ", " ", " ", " "] || within != [":", ":", " GMT"] {
        return None;
    }

    let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = |month: u64| match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    };
    let leap_second = (hour, minute, second) == (23, 59, 60);
    if year < 1970
        || !(1..=length(month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59 && !leap_second
    {
        return Some(Err(NoSuchDate));
    }
    let years: u64 = (1970..year)
        .map(|year| 365 + u64::from(is_leap(year)))
        .sum();
    let days = years + (1..month).map(length).sum::<u64>() + day - 1;
    if days % 7 != weekday {
        return Some(Err(NoSuchDate));
    }
    Some(Ok(days * 86_400 + hour * 3_600 + minute * 60 + second))
}

/// What is read as a response.
fn response(exchange: &Exchange) -> &'static str {
    let cap = exchange.policy.retry_after_max();
    let said = model::SPELLINGS.map(|header| {
        let said = model::retry_after(exchange, &header, NOW);
        (header, said)
    });
    let status = exchange.status;
    let hint = retry_after(status, &exchange.headers, now(), cap);
    let standard = standard_retry_after(status, &exchange.headers, now(), cap);
    if status.is_informational() {
        assert_eq!((hint, standard), (Hint::Absent, Hint::Absent));
        return "absent";
    }
    check_hint(&hint, &said, cap);
    let as_urllib3 = (HintHeader::RetryAfter, model::standard(exchange, NOW));
    check_hint(&standard, &[as_urllib3], cap);

    let decision = exchange.decide();
    if exchange.reads_all_hints() {
        if let Decision::Retry(retry) = &decision {
            // Compared with the server's clock here, not with the client's.
            let clock = model::server_now(exchange);
            let waits =
                model::SPELLINGS.map(
                    |header| match model::retry_after(exchange, &header, clock) {
                        Said::Wait(wait) => Some(wait),
                        _ => None,
                    },
                );
            let first = waits.into_iter().flatten().next();
            let pushed = matches!(model::pushback(exchange), Said::Wait(_));
            match first.filter(|wait| !wait.is_zero() && !pushed) {
                Some(wait) if cap.is_zero() => assert_eq!(retry.asked, None, "{wait:?}"),
                Some(wait) => assert_eq!(retry.asked, Some(wait.min(cap))),
                None => {}
            }
        }
    }
    match (&hint, &decision) {
        (Hint::Absent, _) => "absent",
        (Hint::Invalid { .. }, _) => "invalid",
        (Hint::OverCap { .. }, _) => "over the cap",
        (Hint::Wait { .. }, Decision::Retry(_)) => "obeyed",
        (Hint::Wait { .. }, _) => "not obeyed",
        (hint, _) => panic!("no such hint: {hint:?}"),
    }
}

/// The first header that can be read counts, else the first that cannot.
fn check_hint(hint: &Hint, said: &[(HintHeader, Said)], cap: Duration) {
    let readable = said.iter().find_map(|(header, said)| match said {
        Said::Wait(wait) => Some((header, *wait)),
        _ => None,
    });
    let unreadable = said.iter().find(|(_, said)| *said == Said::Unreadable);
    match (readable, unreadable) {
        (Some((header, wait)), _) => {
            assert_eq!(hint.asked(), Some(wait), "{said:?}");
            assert_eq!(hint.clamped(), Some(wait.min(cap)));
            assert_eq!(hint.header(), Some(header));
            assert_eq!(matches!(hint, Hint::OverCap { .. }), wait > cap);
        }
        (None, Some((header, _))) => {
            let header = header.clone();
            assert_eq!(*hint, Hint::Invalid { header });
        }
        (None, None) => assert_eq!(*hint, Hint::Absent),
    }
}
