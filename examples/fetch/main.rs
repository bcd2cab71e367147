//! Fetches URLs through the retry layer and shows what it does.
//!
//! Without arguments, `cargo run --example fetch` starts a server that misbehaves in every way
//! that a client meets, sends it a request for each, and prints the report of each as a timeline.
//! With URLs it fetches those; `cargo run --example fetch -- --help` lists the options.

mod cli;
mod client;
mod connect;
mod demo;
mod json;
mod output;
mod paint;
mod progress;
mod scenarios;
mod server;
mod upload;

use std::{
    future::Future,
    io::{self, Write},
    process::ExitCode,
};

use tokio::runtime::Runtime;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{cli::Cli, client::Fetcher, paint::Paint};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return bad_usage(&error),
    };
    let result = if cli.is_demo() {
        block_on(demo::run())
    } else {
        log(cli.verbose);
        match Fetcher::new(cli) {
            Ok(fetcher) => block_on(fetcher.run()),
            Err(error) => return bad_usage(&error),
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            // Whoever closed the pipe has seen enough.
            if error.kind() != io::ErrorKind::BrokenPipe {
                let _ = writeln!(io::stderr(), "error: {error}");
            }
            ExitCode::from(1)
        }
    }
}

/// Prints what is wrong with the arguments, or the help that they ask for.
fn bad_usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn block_on(task: impl Future<Output = io::Result<bool>>) -> io::Result<bool> {
    let runtime = Runtime::new()?;
    let result = runtime.block_on(task);
    // A read of stdin that nobody waits for any more must not keep the process alive.
    runtime.shutdown_background();
    result
}

fn log(verbose: u8) {
    let default = match verbose {
        0 => return,
        1 => "tower_http_retry=debug",
        _ => "tower_http_retry=debug,hyper_util=debug,hyper=debug,h2=info",
    };
    // Not `EnvFilter`: its regular expressions are a tenth of what a first run compiles.
    let filter: Targets = std::env::var("RUST_LOG")
        .ok()
        .and_then(|targets| targets.parse().ok())
        .unwrap_or_else(|| default.parse().expect("valid targets"));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(Paint::for_output(&io::stderr()).is_on());
    tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .init();
}
