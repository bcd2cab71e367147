//! The three measures.

use std::{
    env, fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::{self, Command},
};

use tokio::time::Instant;

use crate::cells::{CANDIDATES, Cell, Job};

/// A measure of the three candidates, in their order.
pub(crate) type Measures = [f64; 3];

/// Times that a job is run before anything is measured: what is recycled is there then.
const WARM_UP: usize = 8;

fn warm<'a>(cell: &'a Cell, at: usize) -> Job<'a> {
    let mut job = cell.job(CANDIDATES[at]);
    for _ in 0..WARM_UP {
        job.prepare(1);
        job.run();
    }
    job
}

// ===== allocations =====

pub(crate) fn allocations(cell: &Cell) -> Measures {
    [0, 1, 2].map(|at| {
        let mut job = warm(cell, at);
        job.prepare(1);
        allocation_counter::measure(|| job.run()).count_total as f64
    })
}

// ===== instructions =====

pub(crate) const UNDER_CALLGRIND: &str = "--under-callgrind";

/// Requests of which the instructions are counted.
const COUNTED: usize = 32;

/// Callgrind counts from the entry into this function to its end.
#[inline(never)]
fn measured(job: &mut Job<'_>) {
    black_box(job).run();
}

/// Callgrind writes down what it has counted before this function.
#[inline(never)]
fn counted() {
    black_box(());
}

/// Runs every candidate of every cell.
pub(crate) fn run_for_callgrind(cells: &[Cell]) {
    // A heap that has been used takes other ways than a new one, which the first cells would have.
    for cell in cells {
        for at in 0..CANDIDATES.len() {
            drop(warm(cell, at));
        }
    }
    for cell in cells {
        for at in 0..CANDIDATES.len() {
            let mut job = warm(cell, at);
            for _ in 0..COUNTED {
                job.prepare(1);
                measured(&mut job);
            }
            counted();
        }
    }
}

/// Instructions for one request, of each cell; `None` without valgrind.
pub(crate) fn instructions(cells: usize) -> Option<Vec<Measures>> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is not installed: no instructions are counted");
        return None;
    }
    let folder = env::temp_dir().join(format!("tower-http-retry-{}", process::id()));
    fs::create_dir_all(&folder).expect("a folder for what is counted");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*::measured*"])
        .args(["--dump-before=*::counted*", "--combine-dumps=no"])
        .arg(format!("--callgrind-out-file={}/out", folder.display()))
        .arg(env::current_exe().expect("a path"))
        .arg(UNDER_CALLGRIND)
        .output()
        .expect("valgrind runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let all = (0..cells)
        .map(|cell| {
            [0, 1, 2].map(|at| {
                let dump = cell * CANDIDATES.len() + at + 1;
                let total = total(&folder.join(format!("out.{dump}")));
                total as f64 / COUNTED as f64
            })
        })
        .collect();
    fs::remove_dir_all(&folder).expect("removed");
    Some(all)
}

/// What was counted until this dump and since the one before.
fn total(dump: &Path) -> u64 {
    let text = fs::read_to_string(PathBuf::from(dump))
        .unwrap_or_else(|error| panic!("{}: {error}", dump.display()));
    text.lines()
        .find_map(|line| {
            let number = line.strip_prefix("totals: ")?;
            number.trim().parse().ok()
        })
        .unwrap_or_else(|| panic!("{} has no totals", dump.display()))
}

// ===== time =====

/// Rounds in which each candidate has a turn.
const ROUNDS: usize = 201;
/// Requests in a turn: so few that most turns are undisturbed.
const TURN: usize = 64;

/// Nanoseconds for one request.
pub(crate) fn time(cell: &Cell) -> Measures {
    let mut jobs = [0, 1, 2].map(|at| warm(cell, at));
    let mut times = [(); 3].map(|()| Vec::with_capacity(ROUNDS));
    let mut order = [0, 1, 2];
    for _ in 0..ROUNDS {
        // In a fixed order, a disturbance that comes at regular times always hits the same one.
        fastrand::shuffle(&mut order);
        for at in order {
            let job = &mut jobs[at];
            job.prepare(TURN);
            let mut elapsed = 0.0;
            deeper(fastrand::u32(0..64), &mut || {
                let start = Instant::now();
                for _ in 0..TURN {
                    job.run();
                }
                elapsed = start.elapsed().as_secs_f64();
            });
            times[at].push(elapsed * 1e9 / TURN as f64);
        }
    }
    times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

/// Runs `job` this much further down the stack. Where the stack happens to be can make a third of
/// the time of a short job, and must not be the same for all turns of a candidate.
fn deeper(levels: u32, job: &mut dyn FnMut()) {
    let room = black_box([0_u8; 48]);
    if levels == 0 {
        job();
    } else {
        deeper(levels - 1, job);
    }
    black_box(room);
}
