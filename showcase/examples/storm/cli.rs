//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{CommandFactory, Parser, ValueEnum, error::ErrorKind};

use showcase::storm::simulation::{Contender, Scenario};

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
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u16).range(1..=600))]
    outage: u16,

    /// What everything random follows from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Only the policies whose name contains this; can be given several times
    #[arg(long = "policy", value_name = "TEXT")]
    policies: Vec<String>,

    /// Simulate one process in ten
    #[arg(long)]
    pub(crate) quick: bool,

    /// Where the plots go
    #[arg(long, value_name = "DIR", default_value = "target/storm")]
    pub(crate) out: PathBuf,
}

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
            let names = Contender::ALL.map(Contender::name).join("\n  ");
            return Err(usage(format!(
                "no --policy of this name; there are\n  {names}"
            )));
        }
        Ok(cli)
    }

    /// Those that were asked for.
    pub(crate) fn contenders(&self) -> Vec<Contender> {
        let asked_for = |name: &str| {
            self.policies.is_empty() || self.policies.iter().any(|text| name.contains(text))
        };
        let all = Contender::ALL.into_iter();
        all.filter(|contender| asked_for(&contender.name()))
            .collect()
    }

    fn processes(&self) -> u64 {
        self.processes.unwrap_or(self.clients.min(100))
    }

    /// Of so many processes one is simulated.
    pub(crate) fn thin(&self) -> u64 {
        if self.quick { 10 } else { 1 }
    }

    pub(crate) fn outage(&self) -> Scenario {
        let outage = Duration::from_secs(self.outage.into());
        Scenario::outage(outage, self.load(), self.seed).with(
            self.clients,
            self.processes(),
            self.thin(),
        )
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
