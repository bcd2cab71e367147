//! A gateway: an axum server whose handlers call a flaky upstream through one shared client.
//!
//! Without arguments it starts an upstream that misbehaves, drives itself with a few requests,
//! prints what each one came to, and exits; the logs go to stderr:
//!
//! ```text
//! cargo run --example axum_gateway
//! ```
//!
//! With these two it is a gateway until Ctrl-C:
//!
//! ```text
//! cargo run --example axum_gateway -- --listen 127.0.0.1:8080 --upstream http://127.0.0.1:9000
//! ```

mod caller;
mod gateway;
mod tour;
mod upstream;

use std::{io::IsTerminal, net::SocketAddr, process::ExitCode, time::Duration};

use clap::Parser;
use http::Uri;
use tokio::net::TcpListener;
use tower_http_retry::BoxError;
use tracing_subscriber::EnvFilter;

use self::gateway::Limits;

#[derive(Debug, Parser)]
#[command(about = "Forwards HTTP requests to an upstream, and repeats the ones that fail")]
struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", requires = "upstream")]
    listen: Option<SocketAddr>,
    /// Where requests go, as scheme://host:port
    #[arg(long, value_name = "URL", requires = "listen")]
    upstream: Option<Uri>,
    /// Retries after the first attempt
    #[arg(long, value_name = "N", default_value_t = 3, requires = "listen")]
    retries: u32,
    /// Seconds that one attempt may take
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds, requires = "listen")]
    attempt_timeout: Duration,
    /// Seconds that all attempts and waits may take
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds, requires = "listen")]
    deadline: Duration,
    /// Bytes of a request body that are kept for a retry
    #[arg(long, value_name = "BYTES", default_value_t = 256 * 1024, requires = "listen")]
    replay_limit: u64,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // RUST_LOG=tower_http_retry=debug shows each retry while it happens.
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| "axum_gateway=info".into()),
        )
        .init();
    match run(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything went as it should.
async fn run(args: Args) -> Result<bool, BoxError> {
    let limits = Limits {
        retries: args.retries,
        attempt_timeout: args.attempt_timeout,
        deadline: args.deadline,
        replay: args.replay_limit,
    };
    let (Some(listen), Some(upstream)) = (args.listen, args.upstream) else {
        return tour::drive(limits).await;
    };
    let router = gateway::router(&upstream, limits)?;
    let listener = TcpListener::bind(listen).await?;
    println!("http://{} -> {upstream}", listener.local_addr()?);
    axum::serve(listener, router)
        .with_graceful_shutdown(async {
            if tokio::signal::ctrl_c().await.is_err() {
                // Without a handler, Ctrl-C ends the process anyway.
                std::future::pending::<()>().await;
            }
        })
        .await?;
    println!("stopped");
    Ok(true)
}
