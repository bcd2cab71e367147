//! The command line.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use http::{Method, StatusCode, Uri};
use tower_http_retry::{
    classify::{Cause, Failure, Sent},
    dry_run::ScriptedOutcome,
};

/// Says what a retry policy would do with a request, without sending it: the mistakes that can be
/// seen in the policy, what becomes of the request for each kind of failure, and when each retry
/// is sent.
///
/// Exits with 0, with 1 if lint found an error, and with 2 if the arguments or the policy make no
/// sense.
#[derive(Debug, Parser)]
#[command(
    name = "explain",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// `default`, `urllib3`, or a TOML or JSON file with a policy, with or without mounts and the
    /// layer's settings (feature `serde`)
    #[arg(value_name = "POLICY", required = true)]
    policy: Option<String>,

    /// The request's method, which lint takes for one that should be retried [default: GET]
    #[arg(value_name = "METHOD", requires = "url")]
    pub(crate) method: Option<Method>,

    /// The request's URL [default: http://example.com/]
    #[arg(value_name = "URL")]
    url: Option<Uri>,

    /// The longest that one attempt of the layer's may take, as in 250ms, 5s or 1.5min
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) attempt_timeout: Option<Duration>,

    /// The longest that all attempts and waits of the layer's may take together
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) deadline: Option<Duration>,

    /// What each attempt of the schedule ends with: connect, read, other or a status
    #[arg(long = "outcome", value_name = "OUTCOME", default_value = "connect")]
    outcome_text: String,

    /// Draw the schedule into FILE, as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,

    #[arg(skip = ScriptedOutcome::failure(Failure::new(Cause::ConnectionRefused, Sent::Never)))]
    pub(crate) outcome: ScriptedOutcome,

    #[arg(skip)]
    pub(crate) outcome_name: String,
}

/// What else can be asked.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Says what another policy would have done to requests that are over (feature `serde`)
    Compare {
        /// The policy, as without `compare`
        policy: String,

        /// A file with the reports of requests, one as JSON in each line
        #[arg(long, value_name = "FILE")]
        reports: PathBuf,
    },
}

impl Cli {
    /// Reads the arguments.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let mut cli = Self::try_parse()?;
        let (outcome, name) = outcome(&cli.outcome_text).map_err(|error| {
            let mut command = <Self as clap::CommandFactory>::command();
            command.error(clap::error::ErrorKind::InvalidValue, error)
        })?;
        cli.outcome = outcome;
        cli.outcome_name = name;
        Ok(cli)
    }

    pub(crate) fn policy(&self) -> &str {
        self.policy.as_deref().unwrap_or("default")
    }

    pub(crate) fn method(&self) -> Method {
        self.method.clone().unwrap_or(Method::GET)
    }

    pub(crate) fn url(&self) -> Uri {
        let example = Uri::from_static("http://example.com/");
        self.url.clone().unwrap_or(example)
    }

    pub(crate) fn has_time_limits(&self) -> bool {
        self.attempt_timeout.is_some() || self.deadline.is_some()
    }

    pub(crate) fn title(&self) -> String {
        let url = self.url();
        let host = url.host().unwrap_or("-");
        let (method, outcome) = (self.method(), &self.outcome_name);
        let policy = Path::new(self.policy()).file_name().unwrap_or_default();
        let policy = policy.to_string_lossy();
        format!("policy {policy}, {method} {host}: each attempt ends with {outcome}")
    }
}

fn outcome(text: &str) -> Result<(ScriptedOutcome, String), String> {
    let (failure, name) = match text {
        "connect" => {
            let refused = Failure::new(Cause::ConnectionRefused, Sent::Never);
            (refused, "a connect failure")
        }
        "read" => (Cause::IncompleteMessage.into(), "a read failure"),
        "other" => (Cause::Unknown.into(), "an unknown error"),
        _ => {
            let status: StatusCode = text.parse().map_err(|_| {
                format!("--outcome is {text:?}: must be connect, read, other or a status")
            })?;
            return Ok((status.into(), format!("status {status}")));
        }
    };
    Ok((failure.into(), name.to_owned()))
}

/// A number with a unit; seconds without one.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("must be a number with ms, s, min or h".to_owned()),
    };
    let number: f64 = digits
        .trim()
        .parse()
        .map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())
}
