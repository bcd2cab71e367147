//! Downloads that go on where they broke.
//!
//! ```text
//! cargo run -p showcase --example download
//! cargo run -p showcase --example download -- URL -o FILE [--idle SECONDS] [--deadline SECONDS]
//! ```
//!
//! Without arguments it shows what becomes of downloads from a server that cuts them, lets them
//! stall and changes the file in between. With a URL it fetches that, over HTTP or HTTPS: FILE is
//! there if, and only if, all of it has arrived, and the last line is its SHA-256. Otherwise the
//! original error is shown, and why it could not go on, and the exit code is 1.

mod connect;
mod fetch;
mod file;
mod server;
mod tour;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use http::Uri;

use crate::fetch::Job;

/// Downloads a file, and goes on where it broke.
#[derive(Parser)]
#[command(name = "download")]
struct Cli {
    /// What to download: http:// or https://. Without it, a tour is shown
    #[arg(value_parser = url, requires = "output")]
    url: Option<Uri>,

    /// Where to write it
    #[arg(short, long, value_name = "FILE", requires = "url")]
    output: Option<PathBuf>,

    /// A body of which nothing arrives for this long is asked for anew
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    idle: Duration,

    /// All of it may take this long
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    deadline: Option<Duration>,

    /// Trust the certificate authorities in this PEM file, in place of the system's
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

fn url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    match url.scheme_str() {
        Some("http" | "https") => Ok(url),
        _ => Err("it must begin with http:// or https://".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "it must be a number".to_owned())?;
    match Duration::try_from_secs_f64(number) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("it must be above 0, and not too large".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let (Some(url), Some(file)) = (cli.url, cli.output) else {
        return match tour::run().await {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        };
    };
    let job = Job {
        url,
        file,
        idle: cli.idle,
        deadline: cli.deadline,
        cacert: cli.cacert,
    };
    let ended = tokio::select! {
        ended = fetch::fetch(&job) => ended,
        signal = interrupted() => Err(fetch::Failed::because(signal)),
    };
    match ended {
        Ok(got) => {
            if let Some(report) = &got.report {
                eprintln!("{report}");
            }
            println!("{} bytes", got.bytes);
            println!("{}  {}", got.sha256, job.file.display());
            ExitCode::SUCCESS
        }
        Err(failed) => {
            eprintln!("{failed}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until somebody wants the program to end.
async fn interrupted() -> &'static str {
    #[cfg(unix)]
    let asked_to_end = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let asked_to_end = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => "interrupted",
        () = asked_to_end => "asked to end",
    }
}
