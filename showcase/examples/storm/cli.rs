//! The command line.

use std::{fs, path::PathBuf, time::Duration};

use clap::{CommandFactory, Parser, ValueEnum, error::ErrorKind};

use showcase::storm::simulation::{Contender, OwnPolicy, Scenario};

/// What is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// Retry policies, when a service goes down
    #[default]
    Outage,
    /// Hedges, when one request in a hundred takes a hundred times as long
    Tail,
}

/// Lets clients with different retry policies go through the same outage of the same service, in
/// virtual time, and compares what they do to it.
///
/// Prints tables and writes plots (SVG). The same arguments always give the same output.
///
/// With a policy, a rate, a capacity or a curve of one's own there is one outage only, and what is
/// compared is that policy, the default, the buckets of tower, the AWS SDKs and gRPC, and no
/// retries.
#[derive(Debug, Parser)]
#[command(name = "storm", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What is compared
    #[arg(long, value_enum, default_value_t)]
    pub(crate) scenario: Which,

    /// Callers, which together make the whole demand
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    clients: u64,

    /// Processes that the callers' requests go through, each with its own policy and budget
    /// [default: 100, or the number of clients if that is less]
    #[arg(long, value_name = "NUMBER",
          value_parser = clap::value_parser!(u64).range(1..))]
    processes: Option<u64>,

    /// The demand, in percent of what the service can do
    #[arg(long, value_name = "PERCENT", default_value_t = 80,
          value_parser = clap::value_parser!(u8).range(1..=99))]
    load: u8,

    /// How long the service is down, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, conflicts_with = "curve",
          value_parser = clap::value_parser!(u16).range(1..=600))]
    outage: u16,

    /// A policy of one's own: a TOML or JSON document without mounts
    #[arg(long, value_name = "FILE", value_parser = policy_file)]
    policy_file: Option<&'static OwnPolicy>,

    /// Requests per second of each process
    #[arg(long, value_name = "NUMBER", value_parser = positive)]
    rate: Option<f64>,

    /// Requests per second that the healthy service can do; with --rate it takes the place of
    /// --load
    #[arg(long, value_name = "NUMBER", value_parser = positive)]
    capacity: Option<f64>,

    /// What is left of the capacity, as SECONDS:PART,… from the begin of the fault: 0:0,30:0,30:0.5,38:1
    /// is 30 seconds of nothing, then half, and all of it 8 seconds later
    #[arg(long, value_name = "CURVE", value_parser = curve)]
    curve: Option<Curve>,

    /// What everything random follows from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Only the policies whose name contains this; can be given several times
    #[arg(long = "policy", value_name = "TEXT")]
    policies: Vec<String>,

    /// Simulate one process in 25, not in 5
    #[arg(long, conflicts_with = "full")]
    pub(crate) quick: bool,

    /// Simulate every process, as for the pictures of the documentation
    #[arg(long)]
    full: bool,

    /// Where the plots go
    #[arg(long, value_name = "DIR", default_value = "target/storm")]
    pub(crate) out: PathBuf,
}

/// What happens to the capacity.
#[derive(Clone, Debug)]
struct Curve(Vec<(f64, f64)>);

impl Cli {
    /// Reads the arguments.
    ///
    /// # Errors
    ///
    /// They make no sense together, or help was asked for; the error says what to print.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let cli = Self::try_parse()?;
        if cli.processes() > cli.clients {
            return Err(usage("there cannot be more --processes than --clients"));
        }
        if cli.contenders().is_empty() {
            let names: Vec<_> = cli.all().into_iter().map(Contender::name).collect();
            let names = names.join("\n  ");
            return Err(usage(format!(
                "no --policy of this name; there are\n  {names}"
            )));
        }
        let scenario = cli.outage();
        if scenario.demand >= scenario.capacity {
            return Err(usage(format!(
                "{} requests a second are asked for, and the service can do {}: it would never \
                 be well",
                scenario.demand, scenario.capacity
            )));
        }
        Ok(cli)
    }

    /// Whether it is about a service or a policy of the user's own.
    pub(crate) fn is_own(&self) -> bool {
        self.policy_file.is_some()
            || self.rate.is_some()
            || self.capacity.is_some()
            || self.curve.is_some()
    }

    /// Those that were asked for.
    pub(crate) fn contenders(&self) -> Vec<Contender> {
        let asked_for = |name: &str| {
            self.policies.is_empty() || self.policies.iter().any(|text| name.contains(text))
        };
        let mut all = self.all();
        all.retain(|contender| asked_for(&contender.name()));
        all
    }

    fn all(&self) -> Vec<Contender> {
        if !self.is_own() {
            return Contender::ALL.into();
        }
        let own = self.policy_file.map(Contender::Own);
        let others = [
            Contender::Budget,
            Contender::None,
            Contender::Fixed,
            Contender::Tower,
            Contender::Aws,
            Contender::Grpc,
        ];
        own.into_iter().chain(others).collect()
    }

    fn processes(&self) -> u64 {
        self.processes.unwrap_or(self.clients.min(100))
    }

    /// Of so many processes one is simulated.
    pub(crate) fn thin(&self) -> u64 {
        match (self.full, self.quick) {
            (true, _) => 1,
            (false, false) => 5,
            (false, true) => 25,
        }
    }

    pub(crate) fn outage(&self) -> Scenario {
        let outage = Duration::from_secs(self.outage.into());
        let scenario = Scenario::outage(outage, self.load(), self.seed).with(
            self.clients,
            self.processes(),
            self.thin(),
        );
        let processes = self.processes() as f64;
        let scenario = match (self.rate, self.capacity) {
            (None, None) => scenario,
            (Some(rate), Some(capacity)) => scenario.sized(capacity, rate),
            (Some(rate), None) => scenario.sized(rate * processes / self.load(), rate),
            (None, Some(capacity)) => scenario.sized(capacity, capacity * self.load() / processes),
        };
        match &self.curve {
            Some(Curve(points)) => scenario.along(points.clone()),
            None => scenario,
        }
    }

    pub(crate) fn dip(&self) -> Scenario {
        Scenario::dip(self.load(), self.seed).with(self.clients, self.processes(), self.thin())
    }

    fn load(&self) -> f64 {
        f64::from(self.load) / 100.0
    }
}

fn usage(message: impl std::fmt::Display) -> clap::Error {
    Cli::command().error(ErrorKind::ValueValidation, message)
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match number {
        0.001..=1e9 => Ok(number),
        _ => Err("must be a number from 0.001 to 1e9".to_owned()),
    }
}

/// What a policy file says; it is needed until the end.
fn policy_file(path: &str) -> Result<&'static OwnPolicy, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let config: tower_http_retry::config::RetryConfig = if path.ends_with(".json") {
        serde_json::from_str(&text).map_err(|error| error.to_string())?
    } else {
        toml::from_str(&text).map_err(|error| error.to_string())?
    };
    config.build().map_err(|error| error.to_string())?;
    let name = PathBuf::from(path);
    let name = name.file_name().unwrap_or_default();
    Ok(Box::leak(Box::new(OwnPolicy {
        name: name.to_string_lossy().into_owned(),
        config,
    })))
}

/// Points of a curve.
fn curve(text: &str) -> Result<Curve, String> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for point in text.split(',') {
        let (time, part) = point
            .split_once(':')
            .ok_or_else(|| format!("{point:?} is not of the form SECONDS:PART"))?;
        let number = |text: &str| -> Result<f64, String> {
            let number = text.trim().parse();
            number.map_err(|_| format!("{text:?} is not a number"))
        };
        let (time, part) = (number(time)?, number(part)?);
        let before = points.last().map_or(0.0, |(time, _)| *time);
        if !(before..=3600.0).contains(&time) {
            return Err(format!(
                "the time {time} is not between {before} and 3600: they must not go back"
            ));
        }
        if !(0.0..=1.0).contains(&part) {
            return Err(format!("the part {part} is not between 0 and 1"));
        }
        points.push((time, part));
    }
    match points.last() {
        Some((_, part)) if *part > 0.0 => Ok(Curve(points)),
        _ => Err("the last part is 0: the service would never be back".to_owned()),
    }
}
