//! The command line.

use clap::{Parser, ValueEnum};

/// Sends very many requests through the retry layer to servers that fail in every way, and checks
/// that nothing is lost, doubled or corrupted and that memory does not grow.
///
/// Ends with 1 if one of these promises was broken, and with 2 if the arguments make no sense.
#[derive(Debug, Parser)]
#[command(name = "soak", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// How many requests
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(10..=1_000_000_000))]
    pub(crate) requests: u64,

    /// How likely it is that something goes wrong with an attempt, from 0 to 0.9
    #[arg(long, value_name = "PART", default_value_t = 0.3, value_parser = part)]
    pub(crate) faults: f64,

    /// How many requests are on their way at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 256,
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) concurrency: u16,

    /// What everything random follows from: what is asked for and what goes wrong with it, but not
    /// what meets on the network
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Breaks a promise, to see that it is noticed
    #[arg(long, value_name = "HOW", hide = true)]
    pub(crate) sabotage: Option<Sabotage>,
}

/// A promise that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// Some outcomes are forgotten.
    Lose,
    /// Some requests are sent once more behind the layer's back.
    Double,
    /// Some requests are changed behind the layer's back.
    Corrupt,
    /// Each request leaves something in memory.
    Leak,
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(part) if (0.0..=0.9).contains(&part) => Ok(part),
        _ => Err("a number from 0 to 0.9 is allowed".to_owned()),
    }
}
