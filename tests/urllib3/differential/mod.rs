//! Lets this crate and the real urllib3 decide the same random cases.
//!
//! Runs where `URLLIB3_PYTHON` is a Python with urllib3 2.8.0, and says so where it is not. Each
//! case is a policy, a method and a script of what the attempts end with. urllib3's side is
//! `tests/urllib3/differential/driver.py`; here the session of the policy decides, and the layer must do
//! what the session says. What may differ is what [`Rule`](crate::harness::Rule) names, as it is for the
//! recorded cases of `vectors`.
//!
//! The cases follow from a seed, which is printed. `URLLIB3_SEED` repeats a run, `URLLIB3_CASES`
//! makes it longer or shorter.

mod dice;
mod generate;
mod retry_after;

use std::{
    env,
    ffi::OsStr,
    fmt::Display,
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    process::{Command, Stdio},
    str::FromStr,
    thread,
    time::SystemTime,
};

use serde_json::Value;

use crate::harness::{Verdict, judged};
use crate::tally::{Tally, print};
use dice::Dice;

const CASES: usize = 20_000;

#[test]
fn decides_as_urllib3_does() {
    let name = "urllib3_differential";
    let Some(python) = env::var_os("URLLIB3_PYTHON") else {
        print(&format!(
            "{name}: SKIPPED: URLLIB3_PYTHON does not name a Python with urllib3 2.8.0\n"
        ));
        return;
    };
    let seed = number("URLLIB3_SEED").unwrap_or_else(any_seed);
    let cases = number("URLLIB3_CASES").unwrap_or(CASES);
    print(&format!(
        "{name}: URLLIB3_SEED={seed} URLLIB3_CASES={cases}\n"
    ));

    let mut tally = Tally::default();
    let mut answered = 0;
    ask(&python, seed, cases, |case| {
        answered += 1;
        let verdict = match judged(|| crate::vectors::decisions::case(&case)) {
            // Whoever looks into it needs the case as it was.
            Verdict::Failed(why) => Verdict::Failed(format!("{why}\n{case}")),
            verdict => verdict,
        };
        tally.count(&case["id"], verdict);
    });
    assert_eq!(answered, cases, "urllib3's side stopped early");
    tally.finish(name);
}

/// Sends random cases to urllib3 and hands each back with what it made of it.
fn ask(python: &OsStr, seed: u64, cases: usize, mut answer: impl FnMut(Value)) {
    let driver = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/urllib3/differential/driver.py"
    );
    let mut child = Command::new(python)
        .arg(driver)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{python:?}: {error}"));
    let mut input = BufWriter::new(child.stdin.take().unwrap());
    // Of its own, or both sides would wait with full pipes.
    let asking = thread::spawn(move || {
        let mut dice = Dice::new(seed);
        for id in 0..cases {
            let case = generate::case(id, &mut dice);
            // A process that has died shows in what it leaves unanswered.
            if writeln!(input, "{case}").is_err() {
                break;
            }
        }
    });
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        answer(serde_json::from_str(&line.unwrap()).unwrap());
    }
    asking.join().unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "urllib3's side: {status}");
}

/// A setting from the environment.
fn number<N: FromStr<Err: Display>>(name: &str) -> Option<N> {
    let value = env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|error| panic!("{name} is {value:?}: {error}")),
    )
}

/// A seed that is different each time, and short enough to be typed.
fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64 % 1_000_000_000)
}
