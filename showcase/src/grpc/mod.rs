//! gRPC through the retry layer: tonic's own server and client on this machine, and what becomes of
//! calls that fail in each of the ways that gRPC has. Shown by the `grpc` example.

mod client;
mod scenarios;
mod server;
mod wire;

use std::io::{self, Write};

use scenarios::Outcome;
use tower_http_retry::BoxError;

/// Runs all scenarios, and prints each report as a timeline and a table of what was expected and
/// seen. Returns whether all behaved as they should.
///
/// # Errors
///
/// A server that cannot be started, and an output that cannot be written to.
pub async fn run(out: &mut impl Write) -> Result<bool, BoxError> {
    writeln!(
        out,
        "tonic's server on 127.0.0.1 fails on purpose. Each call goes through\n\
         HealthClient -> RetryLayer -> GrpcLayer -> tonic's channel."
    )?;
    let mut table = Vec::new();
    for (number, scenario) in (1..).zip(scenarios::ALL) {
        writeln!(out, "\n{number:>2}  {}", scenario.title)?;
        let seen = scenarios::run(scenario).await?;
        tell(out, &seen)?;
        let wrong = scenario.expected.differs_from(&seen);
        if let Some(wrong) = &wrong {
            writeln!(out, "    NOT AS EXPECTED: {wrong}")?;
        }
        table.push((scenario, seen, wrong.is_none()));
    }

    let titles = table.iter().map(|(scenario, ..)| scenario.title.len());
    let width = titles.max().unwrap_or(0);
    let expectations = table.iter().map(|row| row.0.expected.to_string());
    let expectations: Vec<_> = expectations.collect();
    let room = expectations.iter().map(String::len).max().unwrap_or(0);
    writeln!(
        out,
        "\n #  {:width$}  {:room$}  seen",
        "the call", "expected"
    )?;
    for ((number, (scenario, seen, well)), expected) in (1..).zip(&table).zip(&expectations) {
        let verdict = if *well { "" } else { "  NO" };
        writeln!(
            out,
            "{number:>2}  {:width$}  {expected:room$}  {seen}{verdict}",
            scenario.title
        )?;
    }
    let well = table.iter().filter(|(.., well)| *well).count();
    writeln!(out, "\n{well} of {} behaved as they should", table.len())?;
    Ok(well == table.len())
}

/// Prints what became of a call.
fn tell(out: &mut impl Write, seen: &Outcome) -> io::Result<()> {
    match &seen.report {
        Some(report) => {
            for line in report.to_string().lines() {
                writeln!(out, "    {line}")?;
            }
        }
        None => writeln!(out, "    one attempt, nothing to report")?,
    }
    writeln!(out, "    the caller has {:?}: {}", seen.code, seen.text)?;
    for (call, said) in (1..).zip(&seen.told) {
        writeln!(out, "    the server was told with call {call}: {said}")?;
    }
    Ok(())
}
