//! [`DeadlineHeader`]: how a server is told how long its client waits.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::own_header::OwnHeader;

/// A header in which a client tells a server how long it waits for the answer; see
/// [`RetryLayer::deadline_header`](crate::RetryLayer::deadline_header).
///
/// A server [reads](Self::read) it and takes it for the deadline of the requests that it makes
/// itself on behalf of this one:
///
/// ```
/// use http::{HeaderMap, HeaderValue, Request};
/// use std::time::Duration;
/// use tower_http_retry::{DeadlineHeader, RequestDeadline};
///
/// let mut incoming = HeaderMap::new();
/// incoming.insert("grpc-timeout", HeaderValue::from_static("1500m"));
///
/// let time = DeadlineHeader::GrpcTimeout.read(&incoming).expect("the client said so");
/// assert_eq!(time, Duration::from_millis(1500));
/// let mut outgoing = Request::get("http://orders.internal/").body(())?;
/// outgoing.extensions_mut().insert(RequestDeadline::after(time));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadlineHeader {
    /// `grpc-timeout`: at most eight digits and a unit, as gRPC's servers read it ([PROTOCOL-HTTP2]).
    ///
    /// [PROTOCOL-HTTP2]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
    GrpcTimeout,
    /// `x-envoy-expected-rq-timeout-ms`: milliseconds, as [Envoy] writes it for the servers behind.
    ///
    /// [Envoy]: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter
    EnvoyExpectedRqTimeoutMs,
    /// Milliseconds, under a name of one's own.
    Millis(OwnHeader),
}

/// The units of `grpc-timeout`, the finest first, and the nanoseconds of each.
const UNITS: [(char, u128); 6] = [
    ('n', 1),
    ('u', 1_000),
    ('m', 1_000_000),
    ('S', 1_000_000_000),
    ('M', 60 * 1_000_000_000),
    ('H', 3_600 * 1_000_000_000),
];

/// So many digits are allowed there.
const DIGITS: usize = 8;
const MOST: u128 = 99_999_999;

impl DeadlineHeader {
    /// The header's name, in lower case.
    pub fn as_str(&self) -> &str {
        self.name().as_str()
    }

    pub(crate) fn name(&self) -> &HeaderName {
        static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
        static ENVOY: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
        match self {
            Self::GrpcTimeout => &GRPC_TIMEOUT,
            Self::EnvoyExpectedRqTimeoutMs => &ENVOY,
            Self::Millis(own) => own.name(),
        }
    }

    /// How long the client of a request with these headers waits, from the moment when it was sent.
    /// `None` if it does not say so, or says it twice, or not in the header's form.
    ///
    /// Time that the request spent on its way is not known.
    pub fn read(&self, headers: &HeaderMap) -> Option<Duration> {
        let mut lines = headers.get_all(self.name()).iter();
        let (Some(only), None) = (lines.next(), lines.next()) else {
            return None;
        };
        let text = only.to_str().ok()?;
        match self {
            Self::GrpcTimeout => parse_grpc_timeout(text),
            Self::EnvoyExpectedRqTimeoutMs | Self::Millis(_) => {
                let millis = is_number(text).then(|| text.parse().ok());
                millis.flatten().map(Duration::from_millis)
            }
        }
    }

    /// The shortest time that the header can say.
    pub(crate) fn least(&self) -> Duration {
        match self {
            Self::GrpcTimeout => Duration::from_nanos(1),
            Self::EnvoyExpectedRqTimeoutMs | Self::Millis(_) => Duration::from_millis(1),
        }
    }

    /// `time` as the header says it, rounded down: a server must not take a client for more patient
    /// than it is.
    pub(crate) fn write(&self, time: Duration) -> HeaderValue {
        match self {
            Self::GrpcTimeout => grpc_timeout(time),
            Self::EnvoyExpectedRqTimeoutMs | Self::Millis(_) => {
                u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
            }
        }
    }
}

/// A number of digits alone: what `parse` takes may have a sign.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `time` as the value of `grpc-timeout`: in the finest unit in which it has at most eight digits,
/// rounded down.
pub(crate) fn grpc_timeout(time: Duration) -> HeaderValue {
    let nanos = time.as_nanos();
    let fits = |(_, unit): &&(char, u128)| nanos / unit <= MOST;
    // Beyond the last of them are eleven thousand years.
    let (name, unit) = UNITS.iter().find(fits).unwrap_or(&UNITS[UNITS.len() - 1]);
    let text = format!("{}{name}", (nanos / unit).min(MOST));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0n"))
}

/// What a value of `grpc-timeout` says; `None` if it is none.
pub(crate) fn parse_grpc_timeout(text: &str) -> Option<Duration> {
    let (last, _) = text.char_indices().next_back()?;
    let (digits, name) = text.split_at(last);
    if !is_number(digits) || digits.len() > DIGITS {
        return None;
    }
    let (_, unit) = UNITS.iter().find(|(unit, _)| name.starts_with(*unit))?;
    let number: u64 = digits.parse().ok()?;
    let nanos = u128::from(number) * unit;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::try_from(*value).expect("a value"));
        }
        headers
    }

    #[test]
    fn a_grpc_timeout_has_eight_digits_at_most_and_the_finest_unit_that_they_allow() {
        for (time, value) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(1), "1n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_000), "100000u"),
            (Duration::from_millis(1500), "1500000u"),
            (Duration::from_nanos(99_999_999_999), "99999999u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_micros(99_999_999_999), "99999999m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(100_000_000), "1666666M"),
            (Duration::from_secs(6_000_000_000), "1666666H"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(grpc_timeout(time), value, "{time:?}");
        }
    }

    #[test]
    fn what_is_no_grpc_timeout_is_not_read() {
        let read = |text: &str| DeadlineHeader::GrpcTimeout.read(&headers("grpc-timeout", &[text]));
        for (text, time) in [
            ("0n", Duration::ZERO),
            ("1S", Duration::from_secs(1)),
            ("2M", Duration::from_secs(120)),
            ("3H", Duration::from_secs(10_800)),
            ("5u", Duration::from_micros(5)),
            ("00000007m", Duration::from_millis(7)),
        ] {
            assert_eq!(read(text), Some(time), "{text}");
        }
        for text in [
            "",
            "1",
            "S",
            "123456789n",
            "+1S",
            "-1S",
            " 1S",
            "1 S",
            "1s",
            "1h",
            "1.5S",
            "1SS",
            "0x1S",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        let twice = headers("grpc-timeout", &["1S", "2S"]);
        assert_eq!(DeadlineHeader::GrpcTimeout.read(&twice), None);
        assert_eq!(DeadlineHeader::GrpcTimeout.read(&HeaderMap::new()), None);
    }

    #[test]
    fn milliseconds_are_digits_alone() {
        let name = "x-envoy-expected-rq-timeout-ms";
        let header = DeadlineHeader::EnvoyExpectedRqTimeoutMs;
        assert_eq!(header.as_str(), name);
        let read = |text: &str| header.read(&headers(name, &[text]));
        assert_eq!(read("1500"), Some(Duration::from_millis(1500)));
        for text in ["", "+1", "-1", "1.5", "1s", "99999999999999999999"] {
            assert_eq!(read(text), None, "{text:?}");
        }
        let own = OwnHeader::try_from("time-left-ms").expect("a name of one's own");
        let own = DeadlineHeader::Millis(own);
        assert_eq!(own.write(Duration::from_micros(2999)), "2");
        let read = own.read(&headers("time-left-ms", &["2"]));
        assert_eq!(read, Some(Duration::from_millis(2)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_no_more_than_was_left(nanos: u64, shift in 0u32..64) {
            let time = Duration::from_nanos(nanos >> shift);
            for header in [DeadlineHeader::GrpcTimeout, DeadlineHeader::EnvoyExpectedRqTimeoutMs] {
                let mut headers = HeaderMap::new();
                headers.insert(header.name().clone(), header.write(time));
                let read = header.read(&headers).expect("it is what was written");
                prop_assert!(read <= time);
                // Seven digits of precision, or the unit.
                let lost = (time - read).as_nanos();
                let unit = header.least().as_nanos();
                prop_assert!(lost < unit.max(time.as_nanos() / 10_000), "{:?}: {:?}", time, read);
            }
        }

        #[test]
        fn no_value_makes_the_reader_panic(text: String) {
            let _ = parse_grpc_timeout(&text);
        }
    }
}
