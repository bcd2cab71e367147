//! The examples, run as a user would run them, each in a process of its own.

mod explain;
mod fetch;
mod readme;
mod small;
mod snippets;
mod tours;

use std::path::PathBuf;

use test_support::program;

/// An example's binary, built with the features of this test.
fn example(name: &str) -> PathBuf {
    let all = [
        ("h2", cfg!(feature = "h2")),
        ("hyper", cfg!(feature = "hyper")),
        ("idna", cfg!(feature = "idna")),
        ("ratelimit", cfg!(feature = "ratelimit")),
        ("reload", cfg!(feature = "reload")),
        ("reqwest", cfg!(feature = "reqwest")),
        ("rustls", cfg!(feature = "rustls")),
        ("serde", cfg!(feature = "serde")),
        ("tls", cfg!(feature = "tls")),
        ("tower", cfg!(feature = "tower")),
        ("tower-http", cfg!(feature = "tower-http")),
        ("uuid", cfg!(feature = "uuid")),
    ];
    let on: Vec<_> = all.iter().filter(|(_, on)| *on).map(|(f, _)| *f).collect();
    program::example(
        name,
        &["--no-default-features", "--features", &on.join(",")],
    )
}
