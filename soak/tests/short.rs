//! A short soak, run as a user would run it.

use std::path::Path;

use test_support::program::{finish, has, start};

fn soak_binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_soak"))
}

/// What a short run prints to stdout and stderr, and how it ends.
fn soak(sabotage: &[&str]) -> (Option<i32>, String, String) {
    let short = ["--requests", "1000", "--concurrency", "64"];
    let output = finish(start(soak_binary(), &[&short, sabotage].concat()));
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_soak_without_findings_ends_well() {
    let (code, stdout, stderr) = soak(&[]);
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    has(
        &stdout,
        &[
            "1 000 requests, and 1 000 before them to warm up; 64 at once",
            "\n100 %         1 000 requests",
            "\nwhy it ended\n  ",
            "\n  succeeded at once",
            "\n2 000 requests in",
            "nothing was lost, doubled, corrupted or leaked",
        ],
    );
    assert_eq!(stderr, "");
}

#[track_caller]
fn notices(sabotage: &str, breach: &str) {
    let (code, stdout, stderr) = soak(&["--sabotage", sabotage]);
    assert_eq!(code, Some(1), "{stdout}\n{stderr}");
    assert!(!stdout.contains("nothing was lost"), "{stdout}");
    let broken = |line: &str| line.starts_with("BROKEN: ") && line.ends_with(breach);
    assert!(stderr.lines().any(broken), "not {breach}: {stderr}");
    has(&stderr, &[&format!("{breach}: ")]);
}

#[test]
fn the_soak_notices_that_an_outcome_is_lost() {
    notices("lose", "lost");
}

#[test]
fn the_soak_notices_that_a_request_is_doubled() {
    notices("double", "doubled");
}

#[test]
fn the_soak_notices_that_content_is_corrupted() {
    notices("corrupt", "corrupted");
}

#[test]
fn the_soak_notices_that_memory_grows() {
    notices("leak", "leaked");
}

#[test]
fn the_soak_refuses_arguments_that_make_no_sense() {
    for args in [
        ["--faults", "1.5"],
        ["--faults", "NaN"],
        ["--requests", "0"],
        ["--concurrency", "0"],
    ] {
        let output = finish(start(soak_binary(), &args));
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        has(&stderr, &[args[0]]);
    }
}
