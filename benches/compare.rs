//! How long each candidate takes.
//!
//! criterion measures the candidates one after the other and keeps its statistics; then all
//! candidates of a group take turns, which is what the printed ratios are from: on a machine with
//! other work, two measurements that are a minute apart cannot be compared.

mod common;

use std::{hint::black_box, sync::Barrier, thread, time::Duration};

use common::{Group, Run, median};
use criterion::Criterion;
use tokio::time::Instant;
use tower::retry::budget::Budget as _;
use tower_http_retry::budget::RetryBudget;

/// Turns that each candidate takes.
const ROUNDS: usize = 501;
/// Shorter than what a scheduler gives to another process, so that most turns are undisturbed.
const TURN: Duration = Duration::from_micros(300);

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args();
    for group in common::groups() {
        let mut benchmarks = criterion.benchmark_group(group.name.replace(':', ""));
        for candidate in group.candidates {
            let mut run = (candidate.make)();
            benchmarks.bench_function(candidate.name, |bencher| bencher.iter(&mut run));
        }
        benchmarks.finish();
    }
    criterion.final_summary();
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("\nMedians of {ROUNDS} rounds in which all take turns.");
    for group in common::groups() {
        let medians = take_turns(&group);
        group.print("ns", &medians);
    }
    deposits_on_two_threads();
}

/// Nanoseconds that each candidate takes for one job.
fn take_turns(group: &Group) -> Vec<f64> {
    let candidates = group.candidates.iter();
    let mut runs: Vec<Run> = candidates.map(|candidate| (candidate.make)()).collect();
    let jobs: Vec<u32> = runs.iter_mut().map(|run| jobs_in(TURN, run)).collect();
    let mut times = vec![Vec::with_capacity(ROUNDS); group.candidates.len()];
    let mut order: Vec<usize> = (0..group.candidates.len()).collect();
    for _ in 0..ROUNDS {
        // In a fixed order, a disturbance that comes at regular times always hits the same one.
        fastrand::shuffle(&mut order);
        for &index in &order {
            let run = &mut runs[index];
            let mut elapsed = Duration::ZERO;
            deeper(fastrand::u32(0..64), &mut || {
                let start = Instant::now();
                for _ in 0..jobs[index] {
                    run();
                }
                elapsed = start.elapsed();
            });
            times[index].push(elapsed.as_secs_f64() * 1e9 / f64::from(jobs[index]));
        }
    }
    times.iter_mut().map(|times| median(times)).collect()
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

/// About how many jobs fit into `time`.
fn jobs_in(time: Duration, run: &mut Run) -> u32 {
    let mut jobs = 16;
    loop {
        let start = Instant::now();
        for _ in 0..jobs {
            run();
        }
        if start.elapsed() >= time || jobs >= 1 << 20 {
            return jobs;
        }
        jobs *= 2;
    }
}

fn deposits_on_two_threads() {
    let tower = common::roomy_budget();
    let ours = RetryBudget::default();
    let slot = ours.slot(&http::Uri::from_static("http://api.example.com/"));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS / 10 {
        times[0].push(on_two_threads(|| black_box(&tower).deposit()));
        times[1].push(on_two_threads(|| black_box(&ours).deposit(slot)));
    }
    let [tower, ours] = times.map(|mut times| median(&mut times));
    println!("\na deposit, budget full, on two threads at once");
    println!("| | ns | against TpsBudget |");
    println!("| --- | ---: | ---: |");
    println!("| TpsBudget | {tower:.1} | 1.00 |");
    println!("| ours | {ours:.2} | {:.4} |", ours / tower);
}

/// Nanoseconds for one job while another thread does the same.
fn on_two_threads(job: impl Fn() + Sync) -> f64 {
    const JOBS: u32 = 20_000;
    let barrier = Barrier::new(2);
    let work = || {
        barrier.wait();
        let start = Instant::now();
        for _ in 0..JOBS {
            job();
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(JOBS)
    };
    thread::scope(|scope| {
        let other = scope.spawn(work);
        let own = work();
        own.max(other.join().expect("the thread ends"))
    })
}
