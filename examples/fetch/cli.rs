//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{CommandFactory, Parser, ValueEnum, error::ErrorKind};
use http::{HeaderName, HeaderValue, Method, Uri};
use tower_http_retry::policy::{
    InvalidPolicy, Limit, Methods, RetryAfterMode, RetryPolicy, RetryPolicyBuilder,
};

/// Fetches URLs and retries where that is safe and useful. Each request's timeline goes to
/// stderr, its response's body to stdout.
///
/// Without arguments, it demonstrates the layer against a server of its own that misbehaves.
///
/// Exits with 0 if every response was a success (a status below 400), with 1 if a request failed
/// for good, and with 2 if the arguments make no sense.
#[derive(Debug, Parser)]
#[command(name = "fetch", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to fetch: http:// or https://
    #[arg(value_name = "URL", value_parser = url)]
    pub(crate) urls: Vec<Uri>,

    /// The method [default: GET, or POST with --data]
    #[arg(short = 'X', long, value_name = "METHOD", help_heading = "Request")]
    method: Option<Method>,

    /// The body: text, @FILE, or @- for stdin. A file is opened anew for each attempt
    #[arg(short, long, value_name = "TEXT|@FILE", help_heading = "Request")]
    pub(crate) data: Option<String>,

    /// A header, as 'Name: value'; can be given several times
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = header, help_heading = "Request")]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,

    /// Trust the certificate authorities in this PEM file, and no others
    #[arg(long, value_name = "FILE", help_heading = "Request")]
    pub(crate) cacert: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) knobs: Knobs,

    /// Write the body to FILE in place of stdout
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,

    /// Write the response's head before its body
    #[arg(short, long, help_heading = "Output")]
    pub(crate) include: bool,

    /// Print what happened as JSON on stdout, one object a line; the body goes only where
    /// --output says
    #[arg(long, conflicts_with = "include", help_heading = "Output")]
    pub(crate) json: bool,

    /// Log what the layer does, to stderr; twice: also what the client does. RUST_LOG overrides it
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
}

/// The retry layer's knobs; the names are those of `RetryPolicyBuilder` and `RetryLayer`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Retries")]
pub(crate) struct Knobs {
    /// The policy that the options below change
    #[arg(long, value_enum, default_value_t)]
    preset: PresetName,

    /// The most retries together: a number, `unlimited` or `never`
    #[arg(long, value_name = "LIMIT", value_parser = limit, allow_negative_numbers = true)]
    total: Option<Limit>,

    /// The most retries after failures to connect
    #[arg(long, value_name = "LIMIT", value_parser = limit, allow_negative_numbers = true)]
    connect: Option<Limit>,

    /// The most retries after failures to read a response
    #[arg(long, value_name = "LIMIT", value_parser = limit, allow_negative_numbers = true)]
    read: Option<Limit>,

    /// The most retries because of a status
    #[arg(long, value_name = "LIMIT", value_parser = limit, allow_negative_numbers = true)]
    status: Option<Limit>,

    /// The most retries after other failures
    #[arg(long, value_name = "LIMIT", value_parser = limit, allow_negative_numbers = true)]
    other: Option<Limit>,

    /// The most retries of redirects in --status-forcelist; redirects are not followed
    #[arg(long, value_name = "LIMIT", value_parser = limit, allow_negative_numbers = true)]
    redirect: Option<Limit>,

    /// The methods that may be repeated although the request may have been applied, as in
    /// GET,POST; `any` or `none`
    #[arg(long, value_name = "METHODS")]
    allowed_methods: Option<String>,

    /// The statuses that are retried, as in 429,503
    #[arg(long, value_name = "STATUSES", value_delimiter = ',')]
    status_forcelist: Option<Vec<u16>>,

    /// The backoff's base, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    backoff_factor: Option<f64>,

    /// The backoff's longest wait, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    backoff_max: Option<f64>,

    /// The most that is added to each wait of the backoff, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    backoff_jitter: Option<f64>,

    /// Ignore what the server says about when to come back
    #[arg(long)]
    no_respect_retry_after: bool,

    /// The longest wait that a server can ask for, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    retry_after_max: Option<f64>,

    /// What to do when it asks for more
    #[arg(long, value_enum, value_name = "MODE")]
    retry_after_mode: Option<HintMode>,

    /// The most that is added to what the server asks for, as a part of it (0.1 is a tenth)
    #[arg(long, value_name = "PART", allow_negative_numbers = true)]
    retry_after_jitter: Option<f64>,

    /// Whether a failure status is an error once its retries are used up, so that its response's
    /// body is not written
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    raise_on_status: Option<bool>,

    /// The longest that an attempt may take until the head of its response, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    pub(crate) attempt_timeout: Duration,

    /// The longest that all attempts and waits may take together, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) deadline: Option<Duration>,

    /// Keep at most this much of the body while it is sent, and send it again from memory
    /// [default for @-: 1048576]
    #[arg(long, value_name = "BYTES")]
    pub(crate) replay_limit: Option<u64>,

    /// Make the jitter repeatable
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum PresetName {
    /// What a careful engineer would run in production
    #[default]
    Default,
    /// urllib3 2.8's `Retry()`
    Urllib3,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HintMode {
    /// Wait for --retry-after-max and come back too early
    Clamp,
    /// Give up at once
    GiveUp,
}

impl Cli {
    /// Reads the arguments.
    ///
    /// # Errors
    ///
    /// They make no sense together, or help was asked for; the error says what to print.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let cli = Self::try_parse()?;
        let only_name = std::env::args_os().len() <= 1;
        if cli.urls.is_empty() && !only_name {
            return Err(usage("options need a URL; the demonstration takes none"));
        }
        if cli.urls.len() > 1 {
            if cli.output.is_some() {
                return Err(usage("--output takes the body of one URL, not of several"));
            }
            if cli.data.as_deref() == Some("@-") {
                return Err(usage("stdin can be sent to one URL, not to several"));
            }
        }
        Ok(cli)
    }

    pub(crate) fn is_demo(&self) -> bool {
        self.urls.is_empty()
    }

    pub(crate) fn method(&self) -> Method {
        match (&self.method, &self.data) {
            (Some(method), _) => method.clone(),
            (None, Some(_)) => Method::POST,
            (None, None) => Method::GET,
        }
    }
}

impl Knobs {
    /// The policy that these options describe.
    pub(crate) fn policy(&self) -> Result<RetryPolicy, InvalidPolicy> {
        let mut policy = match self.preset {
            PresetName::Default => RetryPolicy::builder(),
            PresetName::Urllib3 => RetryPolicy::urllib3_builder(),
        };
        policy = set(policy, self.total, RetryPolicyBuilder::total);
        policy = set(policy, self.connect, RetryPolicyBuilder::connect);
        policy = set(policy, self.read, RetryPolicyBuilder::read);
        policy = set(policy, self.status, RetryPolicyBuilder::status);
        policy = set(policy, self.other, RetryPolicyBuilder::other);
        policy = set(policy, self.redirect, RetryPolicyBuilder::redirect);
        let methods = self.allowed_methods.as_deref().map(methods);
        policy = set(policy, methods, RetryPolicyBuilder::allowed_methods);
        let statuses = self.status_forcelist.clone();
        policy = set(policy, statuses, RetryPolicyBuilder::status_forcelist);
        policy = set(
            policy,
            self.backoff_factor,
            RetryPolicyBuilder::backoff_factor,
        );
        policy = set(policy, self.backoff_max, RetryPolicyBuilder::backoff_max);
        policy = set(
            policy,
            self.backoff_jitter,
            RetryPolicyBuilder::backoff_jitter,
        );
        if self.no_respect_retry_after {
            policy = policy.respect_retry_after_header(false);
        }
        policy = set(
            policy,
            self.retry_after_max,
            RetryPolicyBuilder::retry_after_max,
        );
        let mode = self.retry_after_mode.map(|mode| match mode {
            HintMode::Clamp => RetryAfterMode::Clamp,
            HintMode::GiveUp => RetryAfterMode::GiveUp,
        });
        policy = set(policy, mode, RetryPolicyBuilder::retry_after_mode);
        policy = set(
            policy,
            self.retry_after_jitter,
            RetryPolicyBuilder::retry_after_jitter,
        );
        policy = set(
            policy,
            self.raise_on_status,
            RetryPolicyBuilder::raise_on_status,
        );
        policy = set(policy, self.seed, RetryPolicyBuilder::seed);
        policy.build()
    }
}

fn set<T>(
    policy: RetryPolicyBuilder,
    value: Option<T>,
    setter: impl FnOnce(RetryPolicyBuilder, T) -> RetryPolicyBuilder,
) -> RetryPolicyBuilder {
    match value {
        Some(value) => setter(policy, value),
        None => policy,
    }
}

/// An error in the arguments that shows when they are used.
pub(crate) fn usage(message: impl std::fmt::Display) -> clap::Error {
    Cli::command().error(ErrorKind::ValueValidation, message)
}

fn url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    match url.scheme_str() {
        Some("http" | "https") if url.host().is_some_and(|host| !host.is_empty()) => Ok(url),
        Some("http" | "https") => Err("it names no host".into()),
        _ => Err("it must begin with http:// or https://".into()),
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("it has no colon")?;
    let name = name.parse().map_err(|error| format!("{error}"))?;
    let value = value.trim().parse().map_err(|error| format!("{error}"))?;
    Ok((name, value))
}

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "unlimited" => Ok(Limit::Unlimited),
        "never" => Ok(Limit::Never),
        _ => match text.parse() {
            Ok(retries) => Ok(Limit::AtMost(retries)),
            Err(_) => Err("it must be a number, `unlimited` or `never`".into()),
        },
    }
}

fn methods(text: &str) -> Methods {
    match text {
        "any" => Methods::any(),
        "none" | "" => Methods::none(),
        _ => text.split(',').map(str::trim).collect(),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "it must be a number of seconds above 0".into())
}
