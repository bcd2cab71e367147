//! Which values Python's parser reads and RFC 9110 does not know.

/// Whether Python's limit on integers from text (4300 digits) is passed.
pub(crate) fn is_more_than_python_converts(value: &str) -> bool {
    let value = value.trim();
    value.len() > 4300 && value.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a value is a date of 2069 which Python takes for one of 1969.
///
/// RFC 9110, section 5.6.7, takes two digits of a year for one of the past only if it would be
/// more than 50 years ahead.
pub(crate) fn is_in_another_century_to_python(value: &str) -> bool {
    is_http_date(value) && value.contains("-69 ")
}

/// Whether a value that Python reads is neither seconds nor an HTTP date.
pub(crate) fn is_date_only_to_python(value: &str) -> bool {
    !value.trim().bytes().all(|byte| byte.is_ascii_digit()) && !is_http_date(value)
}

/// Whether a value is one of RFC 9110's three forms of a date that exists, from 1970 on.
///
/// Checked by writing the date down in these forms, so that it shares nothing with the parser.
fn is_http_date(value: &str) -> bool {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // The epoch was a Thursday.
    const DAYS: [&str; 7] = [
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
    ];

    let numbers: Vec<u64> = value
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect();
    let &[a, b, c, d, e] = &numbers[..] else {
        return false;
    };
    let Some(month) = MONTHS.iter().position(|name| value.contains(name)) else {
        return false;
    };
    let name = MONTHS[month];
    // Two digits of a year are those of 1970 to 2069.
    let century = if b < 70 { 2000 } else { 1900 };
    [(b, [c, d, e]), (century + b, [c, d, e]), (e, [b, c, d])]
        .into_iter()
        .any(|(year, [hour, minute, second])| {
            let day = a;
            let leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                1 => 28 + u64::from(leap(year)),
                3 | 5 | 8 | 10 => 30,
                _ => 31,
            };
            let leap_second = [hour, minute, second] == [23, 59, 60];
            if !(1970..=9999).contains(&year)
                || !(1..=length).contains(&day)
                || hour > 23
                || minute > 59
                || (second > 59 && !leap_second)
            {
                return false;
            }
            let in_months = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month]
                + u64::from(month > 1 && leap(year));
            let in_years: u64 = (1970..year).map(|year| 365 + u64::from(leap(year))).sum();
            let weekday = DAYS[((in_years + in_months + day - 1) % 7) as usize];
            let (short, decade) = (&weekday[..3], year % 100);
            let time = format!("{hour:02}:{minute:02}:{second:02}");
            [
                format!("{short}, {day:02} {name} {year} {time} GMT"),
                format!("{weekday}, {day:02}-{name}-{decade:02} {time} GMT"),
                format!("{short} {name} {day:2} {time} {year}"),
            ]
            .contains(&value.trim().to_owned())
        })
}

#[test]
fn the_check_for_years_knows_a_year() {
    let of = is_in_another_century_to_python;
    assert!(of("Tuesday, 01-Jan-69 00:00:07 GMT"));
    assert!(!of("Wednesday, 01-Jan-69 00:00:07 GMT"), "that was 1969");
    assert!(!of("Thursday, 01-Jan-70 00:00:07 GMT"));
    assert!(!of("Tue, 01 Jan 2069 00:00:07 GMT"));
}

#[test]
fn the_check_for_dates_knows_a_date() {
    for date in [
        "Thu, 01 Jan 2026 00:00:10 GMT",
        "Thursday, 01-Jan-26 00:00:07 GMT",
        "Friday, 01-Jan-99 00:00:07 GMT",
        "Thu Jan  1 00:00:05 2026",
        "Tue, 29 Feb 2028 23:59:60 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ] {
        assert!(is_http_date(date), "{date}");
    }
    for other in [
        "Fri, 01 Jan 2026 00:00:10 GMT",
        "Thu, 01 Jan 2026 00:00:10 UTC",
        "Thu, 1 Jan 2026 00:00:10 GMT",
        "Sun, 29 Feb 2026 00:00:10 GMT",
        "Thursday, 01-Jan-99 00:00:07 GMT",
        "Thu, 01 Jan 2026 24:00:00 GMT",
        "soon",
    ] {
        assert!(!is_http_date(other), "{other}");
    }
}
