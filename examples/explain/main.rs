//! Says what a retry policy would do, without sending anything.
//!
//! `cargo run --example explain -- default POST https://api.example.com/orders` prints the mistakes
//! that can be seen in a policy, what becomes of the request for each kind of failure, and when
//! each retry is sent; `--plot FILE` draws the last as SVG. With the `serde` feature, the policy can
//! be a TOML or JSON document, and `-- compare POLICY --reports FILE` says what it would have done
//! to requests whose reports are in a file.

mod cli;
#[cfg(feature = "serde")]
mod compare;
mod plot;
mod source;

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
};

use http::Request;
use tower_http_retry::{
    lint::{Finding, Lint, LintContext, Severity},
    policy::RequestHead,
};

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // Whoever closed the pipe has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(Failure::Output(error)) => fail(&error.to_string()),
        Err(Failure::Input(error)) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::from(2)
}

enum Failure {
    /// The policy cannot be had, or the plot cannot be written.
    Input(String),
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Whether lint found no error.
fn run(cli: &Cli) -> Result<bool, Failure> {
    if let Some(Command::Compare { policy, reports }) = &cli.command {
        return compare_with(policy, reports);
    }
    let source = source::load(cli.policy()).map_err(Failure::Input)?;
    let mut request = Request::new(());
    *request.method_mut() = cli.method();
    *request.uri_mut() = cli.url();
    let head = RequestHead::of(&request);

    let mut layer = source.layer.wanted_methods(cli.method.clone());
    if let Some(timeout) = cli.attempt_timeout {
        layer = layer.attempt_timeout(timeout);
    }
    if let Some(deadline) = cli.deadline {
        layer = layer.deadline(deadline);
    }
    let findings = if source.has_layer || cli.has_time_limits() {
        layer.lint()
    } else {
        // Nothing is known of a layer, so nothing is to be said of one.
        let context = LintContext::wanting(cli.method.as_slice());
        layer.policy().lint_with(&context)
    };
    let schedule = layer.schedule(&head, &cli.outcome);
    if let Some(file) = &cli.plot {
        let svg = plot::draw(&schedule, &cli.title()).map_err(Failure::Input)?;
        fs::write(file, svg)
            .map_err(|error| Failure::Input(format!("{}: {error}", file.display())))?;
    }

    let mut out = io::stdout().lock();
    writeln!(out, "Lint\n\n{}\n", list(&findings))?;
    writeln!(out, "Explanation\n\n{}\n", indented(layer.explain(&head)))?;
    if let Some(candidate) = source.candidate {
        let explanation = indented(candidate.explain(&head));
        writeln!(out, "The candidate, which is only asked\n\n{explanation}\n")?;
    }
    let title = format!("Schedule if each attempt ends with {}", cli.outcome_name);
    writeln!(out, "{title}\n\n{}", indented(schedule))?;
    if let Some(file) = &cli.plot {
        writeln!(out, "\nplotted to {}", file.display())?;
    }
    out.flush()?;
    let is_error = |finding: &Finding| finding.severity >= Severity::Error;
    Ok(!findings.iter().any(is_error))
}

/// Prints what a policy would have done to recorded requests.
#[cfg(feature = "serde")]
fn compare_with(policy: &str, reports: &std::path::Path) -> Result<bool, Failure> {
    let source = source::load(policy).map_err(Failure::Input)?;
    let name = std::path::Path::new(policy).file_name().unwrap_or_default();
    let policy = source.layer.policy();
    let compared = compare::Comparison::read(reports, policy, &name.to_string_lossy());
    write!(io::stdout(), "{}", compared.map_err(Failure::Input)?)?;
    Ok(true)
}

#[cfg(not(feature = "serde"))]
fn compare_with(_: &str, _: &std::path::Path) -> Result<bool, Failure> {
    Err(Failure::Input(
        "reports are JSON: `cargo run --features serde --example explain -- compare` reads them"
            .to_owned(),
    ))
}

fn list(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "  no findings".to_owned();
    }
    let texts: Vec<_> = findings.iter().map(indented).collect();
    texts.join("\n")
}

fn indented(text: impl ToString) -> String {
    let lines = text.to_string();
    let lines: Vec<_> = lines.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}
