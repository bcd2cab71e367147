//! gRPC's ways to fail, and what the retry layer makes of them: `cargo run -p showcase --example grpc`.
//!
//! tonic's own server on this machine fails as trailers-only and in trailers, with pushback, GOAWAY
//! and REFUSED_STREAM. The report of each call is a timeline; the table at the end has what was
//! expected and seen. Exits with 1 if they differ.

use std::{
    io::{self, Write},
    process::ExitCode,
};

#[tokio::main]
async fn main() -> ExitCode {
    match showcase::grpc::run(&mut io::stdout()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(1)
        }
    }
}
