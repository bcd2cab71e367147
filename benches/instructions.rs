//! How many instructions each candidate takes: exact, and so checked against the limits.
//!
//! Runs itself under `valgrind --tool=callgrind` with two numbers of iterations; the difference
//! leaves out what starting up costs. Without valgrind it says so and does nothing.

mod common;

use std::{
    env,
    process::{Command, ExitCode},
};

const ITERATIONS: u32 = 400;

/// At most this much of what the peer adds: what was reached, so that it is not lost again. What
/// it should be is in `RESULTS.md`.
const LIMITS: [(&str, f64); 6] = [
    ("happy path, GET with 8 headers", 0.6),
    ("happy path, POST of 1 KiB", 0.6),
    ("happy path, GET with a wait for the answer", 0.7),
    ("a GET that is never retried", 6.2),
    ("retry path: 503, 503, 200 without a wait", 2.2),
    ("a deposit, budget full", 0.2),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    match &arguments[..] {
        [_, flag, group, candidate, iterations] if flag == "--one" => {
            run(group, candidate, iterations.parse().expect("a number"));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test` runs benchmarks too.
        for group in common::groups() {
            for candidate in group.candidates {
                (candidate.make)()();
            }
        }
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is not installed: no instructions counted");
        return ExitCode::SUCCESS;
    }
    let mut code = ExitCode::SUCCESS;
    for group in common::groups() {
        let counts: Vec<f64> = group
            .candidates
            .iter()
            .map(|candidate| {
                let few = count(group.name, candidate.name, ITERATIONS);
                let many = count(group.name, candidate.name, 2 * ITERATIONS);
                (many - few) as f64 / f64::from(ITERATIONS)
            })
            .collect();
        group.print("instructions", &counts);
        let limit = LIMITS.iter().find(|(name, _)| *name == group.name);
        let over = limit.zip(group.ratio(&counts));
        if let Some(((_, limit), _)) = over.filter(|((_, limit), ratio)| ratio > limit) {
            println!("over the limit of {limit}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn run(group: &str, candidate: &str, iterations: u32) {
    let mut groups = common::groups().into_iter();
    let group = groups.find(|it| it.name == group).expect("a group");
    let mut candidates = group.candidates.into_iter();
    let candidate = candidates.find(|it| it.name == candidate);
    let mut run = (candidate.expect("a candidate").make)();
    for _ in 0..iterations {
        run();
    }
}

/// The instructions of a whole process.
fn count(group: &str, candidate: &str, iterations: u32) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().expect("a path"))
        .args(["--one", group, candidate, &iterations.to_string()])
        .output()
        .expect("valgrind runs");
    let text = String::from_utf8_lossy(&output.stderr);
    let (_, rest) = text
        .split_once("Collected :")
        .unwrap_or_else(|| panic!("valgrind counted nothing: {text}"));
    let number = rest.split_whitespace().next().expect("a number");
    number.parse().expect("a number")
}
