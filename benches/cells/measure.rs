//! The three measures.

use std::{
    collections::BTreeMap,
    env, fs,
    hint::black_box,
    mem,
    path::Path,
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

/// Instructions for one request.
pub(crate) struct Instructions {
    pub(crate) all: Measures,
    /// Without those of the allocator, which depend on the shape of the heap.
    pub(crate) without_heap: Measures,
    /// Those of each function, without the functions that it calls, for a request through ours.
    pub(crate) ours: Vec<(String, f64)>,
}

/// Of each of so many cells, those whose name has `only` in it; `None` without valgrind.
pub(crate) fn instructions(cells: usize, only: &str) -> Option<Vec<Instructions>> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is not installed: no instructions are counted");
        return None;
    }
    let folder = env::temp_dir().join(format!("tower-http-retry-{}", process::id()));
    fs::create_dir_all(&folder).expect("a folder for what is counted");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*::measured*"])
        .args(["--dump-before=*::counted*", "--combine-dumps=no"])
        .args(["--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}/out", folder.display()))
        .arg(env::current_exe().expect("a path"))
        .args([UNDER_CALLGRIND, only])
        .output()
        .expect("valgrind runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let all = (0..cells)
        .map(|cell| {
            let dumps = [0, 1, 2].map(|at| {
                let dump = cell * CANDIDATES.len() + at + 1;
                Dump::read(&folder.join(format!("out.{dump}")))
            });
            let [_, _, ours] = &dumps;
            Instructions {
                all: [0, 1, 2].map(|at| per_request(dumps[at].total)),
                without_heap: [0, 1, 2].map(|at| per_request(dumps[at].total - dumps[at].heap)),
                ours: ours.functions(),
            }
        })
        .collect();
    fs::remove_dir_all(&folder).expect("removed");
    Some(all)
}

fn per_request(counted: u64) -> f64 {
    counted as f64 / COUNTED as f64
}

/// What was counted until a dump and since the one before.
#[derive(Default)]
struct Dump {
    total: u64,
    /// In the C library's allocator, with all that it calls.
    heap: u64,
    /// In each function, without those that it calls.
    functions: BTreeMap<String, u64>,
}

/// By which names the allocator is called.
const HEAP: [&str; 6] = [
    "malloc",
    "free",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
];

impl Dump {
    fn read(path: &Path) -> Self {
        let text =
            fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut dump = Self::default();
        let (mut function, mut called) = ("", "");
        // The line after one of calls is what they cost, and no cost of the function itself.
        let mut calls = false;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                function = name;
            } else if let Some(name) = line.strip_prefix("cfn=") {
                called = name;
            } else if line.starts_with("calls=") {
                calls = true;
            } else if let Some(total) = line.strip_prefix("totals: ") {
                dump.total = total.trim().parse().expect("a total");
            } else if let Some(cost) = cost(line) {
                if !mem::take(&mut calls) {
                    *dump.functions.entry(function.to_owned()).or_default() += cost;
                } else if HEAP.contains(&called) && !HEAP.contains(&function) {
                    dump.heap += cost;
                }
            }
        }
        assert!(dump.total > 0, "{} has no totals", path.display());
        dump
    }

    /// The dearest first.
    fn functions(&self) -> Vec<(String, f64)> {
        let all = self.functions.iter();
        let mut all: Vec<_> = all
            .map(|(name, cost)| (name.clone(), per_request(*cost)))
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }
}

/// The cost in a line of a place and a cost.
fn cost(line: &str) -> Option<u64> {
    let (place, cost) = line.split_once(' ')?;
    place.parse::<u64>().ok()?;
    cost.parse().ok()
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
