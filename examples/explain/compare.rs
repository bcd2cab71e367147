//! What another policy would have done to requests that are over.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    time::Duration,
};

use tower_http_retry::{
    RetryReport,
    dry_run::{Unknown, Verdict, WhatIf},
    policy::Policy,
};

/// What is known of all requests together.
#[derive(Default)]
struct Sums {
    attempts: usize,
    waits: Duration,
    /// By the names of the reasons why they stopped.
    stops: BTreeMap<&'static str, usize>,
}

impl Sums {
    fn add(&mut self, report: &RetryReport) {
        self.attempts += report.attempt_count();
        self.waits += report.waited();
        *self.stops.entry(report.stop.name()).or_default() += 1;
    }

    fn stops(&self, reason: &str) -> usize {
        self.stops.get(reason).copied().unwrap_or(0)
    }
}

/// The reports of a file under a policy.
#[derive(Default)]
pub(crate) struct Comparison {
    name: String,
    reports: usize,
    recorded: Sums,
    replayed: Sums,
    same: usize,
    differences: BTreeMap<String, usize>,
    unknown: BTreeMap<&'static str, usize>,
    assumes_budget: bool,
    /// Lines that are no reports, and what is wrong with the first one.
    unreadable: usize,
    first: Option<String>,
}

impl Comparison {
    /// Reads `file`, with a report as JSON in each line, and asks `policy`, which is called `name`,
    /// about each.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has no report in it.
    pub(crate) fn read(file: &Path, policy: &impl Policy, name: &str) -> Result<Self, String> {
        let wrong = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
        let lines = BufReader::new(File::open(file).map_err(|error| wrong(&error))?).lines();
        let mut comparison = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        for (at, line) in lines.enumerate() {
            let line = line.map_err(|error| wrong(&error))?;
            if line.trim().is_empty() {
                continue;
            }
            match serde_json::from_str::<RetryReport>(&line) {
                Ok(report) => comparison.add(&report, &report.replay(policy)),
                Err(error) => {
                    comparison.unreadable += 1;
                    let text = format!("line {}: {error}", at + 1);
                    comparison.first.get_or_insert(text);
                }
            }
        }
        match (comparison.reports, &comparison.first) {
            (0, Some(first)) => Err(wrong(&format_args!("no line is a report; {first}"))),
            (0, None) => Err(wrong(&"there is no report in it")),
            _ => Ok(comparison),
        }
    }

    fn add(&mut self, report: &RetryReport, replay: &WhatIf) {
        self.reports += 1;
        self.recorded.add(report);
        self.replayed.add(&replay.report);
        self.same += usize::from(replay.is_same());
        self.assumes_budget |= replay.assumes_budget;
        for difference in &replay.differences {
            let kind = kind(&difference.recorded, &difference.replayed);
            *self.differences.entry(kind).or_default() += 1;
        }
        for unknown in &replay.unknown {
            let what = match unknown {
                Unknown::Outcome { .. } => "how an attempt would have ended that was never made",
                Unknown::Idempotency => "whether the request had an idempotency key or mark",
                Unknown::Timing { .. } => "how attempts would have ended at another time",
                _ => "something else",
            };
            *self.unknown.entry(what).or_default() += 1;
        }
    }
}

/// What is different, in few words: these are counted.
fn kind(recorded: &Verdict, replayed: &Verdict) -> String {
    let name = |verdict: &Verdict| match verdict {
        Verdict::Accept => "accepted".to_owned(),
        Verdict::Retry { .. } => "retried".to_owned(),
        Verdict::Stop(reason) => reason.name().to_owned(),
        _ => "something else".to_owned(),
    };
    match (recorded, replayed) {
        (Verdict::Retry { why: was, .. }, Verdict::Retry { why: is, .. }) if was == is => {
            format!("another wait ({was})")
        }
        (Verdict::Retry { why: was, .. }, Verdict::Retry { why: is, .. }) => {
            format!("another wait ({was} -> {is})")
        }
        _ => format!("{} -> {}", name(recorded), name(replayed)),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (was, is) = (&self.recorded, &self.replayed);
        let width = self.name.chars().count().max(10);
        let row = |f: &mut fmt::Formatter<'_>, name: &str, was: &str, is: &str| {
            writeln!(f, "  {name:<28} {was:>10}  {is:>width$}")
        };
        row(f, "", "recorded", &self.name)?;
        let count = |count: usize| count.to_string();
        row(f, "reports", &count(self.reports), &count(self.reports))?;
        row(f, "attempts", &count(was.attempts), &count(is.attempts))?;
        row(f, "planned waits", &seconds(was.waits), &seconds(is.waits))?;

        writeln!(f, "\nWhy no further attempt was made\n")?;
        let mut reasons: Vec<_> = was.stops.keys().chain(is.stops.keys()).collect();
        reasons.sort();
        reasons.dedup();
        for reason in reasons {
            // The replay's own word for an attempt that nobody made.
            let shown = match *reason {
                "custom" => "goes on (or another reason)",
                reason => reason,
            };
            row(
                f,
                shown,
                &count(was.stops(reason)),
                &count(is.stops(reason)),
            )?;
        }

        writeln!(f, "\nDecisions that are not the recorded ones\n")?;
        if self.differences.is_empty() {
            writeln!(f, "  none")?;
        }
        let mut differences: Vec<_> = self.differences.iter().collect();
        differences.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (kind, count) in differences {
            writeln!(f, "  {count:>6}  {kind}")?;
        }
        writeln!(
            f,
            "\n  {} of {} reports are the same",
            self.same, self.reports
        )?;

        if !self.unknown.is_empty() {
            writeln!(f, "\nWhat the reports do not say\n")?;
            for (what, count) in &self.unknown {
                writeln!(f, "  {count:>6}  {what}")?;
            }
        }
        writeln!(f)?;
        writeln!(f, "  Requests that succeeded at once have no report.")?;
        if self.assumes_budget {
            writeln!(f, "  The policy's budget was taken to be full.")?;
        }
        if let Some(first) = &self.first {
            let lines = self.unreadable;
            writeln!(f, "  {lines} lines are no reports; {first}")?;
        }
        Ok(())
    }
}
