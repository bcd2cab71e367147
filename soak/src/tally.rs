//! What became of the requests, in numbers.

use std::{collections::BTreeMap, fmt, time::Duration};

use http::StatusCode;
use tower_http_retry::RetryError;

use crate::ledger::{End, Told};

/// Counts outcomes.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: u64,
    attempts: BTreeMap<usize, u64>,
    stops: BTreeMap<&'static str, u64>,
    responses: BTreeMap<u16, u64>,
    errors: BTreeMap<String, u64>,
    failures: BTreeMap<String, u64>,
    cut: u64,
}

impl Tally {
    /// A request has ended with a response.
    pub(crate) fn response(&mut self, status: StatusCode, told: &Told) {
        self.end(told);
        *self.responses.entry(status.as_u16()).or_default() += 1;
    }

    /// A request has ended with an error.
    pub(crate) fn error(&mut self, error: &RetryError, told: &Told) {
        self.end(told);
        let kind = format!("{:?}", error.kind());
        *self.errors.entry(kind).or_default() += 1;
    }

    /// The content of a response broke off.
    pub(crate) fn cut(&mut self) {
        self.cut += 1;
    }

    fn end(&mut self, told: &Told) {
        self.requests += 1;
        let stop = told.stop.unwrap_or("succeeded at once");
        *self.stops.entry(stop).or_default() += 1;
        *self.attempts.entry(told.attempts.len()).or_default() += 1;
        for (end, _) in &told.attempts {
            let name = match end {
                End::Response(200) => continue,
                End::Response(status) => format!("status {status}"),
                End::Failed(cause, _) => format!("{}: {cause}", cause.kind()),
            };
            *self.failures.entry(name).or_default() += 1;
        }
    }

    /// How many requests there were.
    pub(crate) const fn requests(&self) -> u64 {
        self.requests
    }

    /// How many attempts there were.
    pub(crate) fn attempts(&self) -> u64 {
        let attempts = self.attempts.iter();
        attempts.map(|(number, count)| *number as u64 * count).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn table<'a, K: fmt::Display + 'a>(
            f: &mut fmt::Formatter<'_>,
            title: &str,
            rows: impl Iterator<Item = (K, &'a u64)>,
            all: u64,
        ) -> fmt::Result {
            writeln!(f, "\n{title}")?;
            for (name, count) in rows {
                let percent = 100.0 * *count as f64 / all.max(1) as f64;
                let (name, count) = (name.to_string(), grouped(*count));
                writeln!(f, "  {name:<48} {count:>12}  {percent:>6.2} %")?;
            }
            Ok(())
        }
        let all = self.requests;
        table(f, "why it ended", self.stops.iter(), all)?;
        table(
            f,
            "the response that the caller got",
            self.responses.iter(),
            all,
        )?;
        table(f, "the error that the caller got", self.errors.iter(), all)?;
        table(f, "attempts of a request", self.attempts.iter(), all)?;
        table(
            f,
            "attempts that failed",
            self.failures.iter(),
            self.attempts(),
        )?;
        writeln!(f, "\n{} responses broke off, as planned", grouped(self.cut))
    }
}

/// A number with spaces between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// So many in that time, by the second.
pub(crate) fn per_second(number: u64, time: Duration) -> u64 {
    (number as f64 / time.as_secs_f64().max(1e-9)) as u64
}
