//! Very many requests to servers that fail in every way, and a check of every one of them.
//!
//! `cargo run --release -p soak -- --requests 1000000 --faults 0.3` sends requests of all
//! kinds over HTTP/1.1 and HTTP/2 through the whole layer and hyper-util's client, on real sockets
//! of this process; every other one with the other layers of the family in its stack (redirects,
//! hedges, two names of the server, connections that are left). The server writes down what arrives of each attempt, and when a request has
//! come to its end that is compared with what its caller was told:
//!
//! - lost: a request without an outcome, an outcome without an attempt, a success that the server
//!   knows nothing of, an answer that the caller was not told of;
//! - doubled: an attempt, or a hedge, that is not in the report, one that was sent twice, one that arrived and
//!   was told as never sent, a request that was applied more often than the report's
//!   `effects()` says, and a POST without a key that was applied twice;
//! - corrupted: content (by its SHA-256), trailers, method or key that are not those of the
//!   request, and content of a response that is not what the server sent;
//! - leaked: memory, connections or places in the layer's limits that are not given back.
//!
//! # Memory
//!
//! It is compared in ten steps, at whose end nothing is on its way: no request, no connection, no
//! task, no entry of the check's own. Client and server are one process, so it is the memory of
//! both. Up to 20 000 requests come before the first step, so that pools and the allocator have
//! what they need.
//!
//! What is allocated is counted to the byte. What is left of it after a step may have grown, since
//! the first one, by 5 % of the most that the first one needed. What is resident may have grown by
//! 5 % and 8 MiB: the allocator keeps what it needed in the worst moment so far, and when that
//! comes is chance. With fewer than 20 000 requests, and where the system does not say what is
//! resident, that is not judged, and the output says so.

mod cli;
mod client;
mod dice;
mod judge;
mod ledger;
mod memory;
mod network;
mod order;
mod plan;
mod run;
mod tally;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run::run(&cli)));
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
