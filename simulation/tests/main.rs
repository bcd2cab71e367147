//! Deterministic simulation: the whole stack, from the layer down to hyper on both sides, over a
//! simulated network on which everything goes wrong.
//!
//! A seed stands for a scenario: clients, requests, policies, a server's behaviour, latencies,
//! partitions, losses, crashes and clock jumps. Each is run in simulated time, and what must hold
//! always is told from its trace. A seed that breaks an invariant is printed, and replays exactly:
//!
//! ```text
//! SIMULATION_SEED=17 cargo test -p simulation -- --nocapture
//! SIMULATION_SEEDS=10000 cargo test --release --test simulation
//! ```
//!
//! Downloads that go on, and redirects that are followed, have simulations of their own, in one
//! process: [`downloads`], [`redirects`].

mod body;
mod client;
mod dice;
mod downloads;
mod invariants;
mod log;
mod net;
mod redirects;
mod run;
mod sabotage;
mod scenario;
mod server;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use tower_http_retry::{AttemptOutcome, policy::Note};

use crate::{
    invariants::{Invariant, check},
    log::{Asked, End, Event, Received},
    run::{Run, run},
    sabotage::Sabotage,
    scenario::MISDIRECTED,
};

/// The seeds of a plain `cargo test`.
const SEEDS: u64 = 300;
/// After so many failing seeds it is clear that something is wrong.
const ENOUGH: usize = 5;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is {value:?}, not a number")))
}

/// Runs `each` for every seed, on all cores, until it says that it has seen enough.
fn for_each_seed(seeds: u64, each: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds || !each(seed) {
                        next.fetch_max(seeds, Relaxed);
                        return;
                    }
                }
            });
        }
    });
}

/// How often each thing happened, so that a simulation in which nothing happens is noticed.
#[derive(Default)]
struct Seen(BTreeMap<String, u64>);

/// What must be among it.
const EXPECTED: [&str; 49] = [
    "answer with a date",
    "body again, clone",
    "body again, reopen",
    "body again, replay",
    "cause HTTP/2 error 0x2",
    "cause attempt timed out",
    "cause connect timed out",
    "cause connection closed before the response",
    "cause connection refused",
    "cause connection reset",
    "cause could not connect",
    "cause refused unprocessed (REFUSED_STREAM)",
    "cause throttled (ENHANCE_YOUR_CALM)",
    "end AttemptTimeout",
    "end DeadlineExceeded",
    "end Failed",
    "end Status",
    "end cancelled",
    "end response",
    "fault ClientClock",
    "fault Crash",
    "fault Deafen",
    "fault Drain",
    "fault Hold",
    "fault Lose",
    "fault Mute",
    "fault Partition",
    "fault ServerClock",
    "fault Slow",
    "hint for one endpoint",
    "left a connection",
    "misdirected, sent again",
    "sent to an endpoint",
    "hedges, clone",
    "hedges, replay",
    "hedges, reopen",
    "hedges at the other endpoint",
    "hedges, connections are left",
    "stop body_not_replayable",
    "stop budget_exhausted",
    "stop count_exhausted",
    "stop deadline_exceeded",
    "stop deadline_too_close",
    "stop method_not_allowed",
    "stop retry_after_too_long",
    "stop succeeded",
    "wait backoff",
    "wait immediate, the request was never processed",
    "wait retry-after",
];

impl Seen {
    fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    fn add(&mut self, run: &Run) {
        for (_, event) in &run.trace {
            match event {
                Event::Called { attempt, .. } => {
                    self.count(if *attempt == 1 { "requests" } else { "retries" });
                }
                Event::Hedged { request, .. } => {
                    let plan = &run.scenario.requests[*request as usize];
                    let rewind = run.scenario.client_of(plan).rewind;
                    self.count(format!("hedges, {}", rewind.name()));
                    let client = run.scenario.client_of(plan);
                    if client.two_names {
                        self.count("hedges at the other endpoint");
                    }
                    if client.leaves {
                        self.count("hedges, connections are left");
                    }
                }
                Event::Applied { .. } => self.count("applied"),
                Event::Received {
                    request,
                    attempt: 2..,
                    body: Received::Whole,
                } => {
                    let plan = &run.scenario.requests[*request as usize];
                    if plan.content.len() > 0 {
                        let rewind = run.scenario.client_of(plan).rewind;
                        self.count(format!("body again, {}", rewind.name()));
                    }
                }
                Event::Answered { answer, .. } => {
                    if let Some(Asked::At(_)) = answer.asked {
                        self.count("answer with a date");
                    }
                }
                Event::Fault(fault) => {
                    let name = format!("{fault:?}");
                    let name = name.split('(').next().unwrap_or_default();
                    self.count(format!("fault {name}"));
                }
                Event::Retrying { record, .. } => {
                    if record.layer_notes.contains(&Note::ConnectionLeft) {
                        self.count("left a connection");
                    }
                    if record.layer_notes.contains(&Note::HintElsewhere) {
                        self.count("hint for one endpoint");
                    }
                    if record.url.is_some() {
                        self.count("sent to an endpoint");
                    }
                    if matches!(record.outcome, AttemptOutcome::Response(it) if it == MISDIRECTED) {
                        self.count("misdirected, sent again");
                    }
                    if let AttemptOutcome::Failed { cause, .. } = &record.outcome {
                        self.count(format!("cause {cause}"));
                    }
                    if let Some(wait) = &record.wait {
                        self.count(format!("wait {}", wait.why));
                    }
                }
                Event::Told { report, .. } => self.count(format!("stop {}", report.stop.name())),
                Event::Ended { end, .. } => self.count(match end {
                    End::Response { .. } => "end response".to_owned(),
                    End::Error { kind, .. } => format!("end {kind:?}"),
                    End::Cancelled => "end cancelled".to_owned(),
                }),
                _ => {}
            }
        }
    }
}

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("SIMULATION_SEED") {
        return replay(seed);
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let seen = Mutex::new(Seen::default());
    let failed = Mutex::new(BTreeMap::new());
    for_each_seed(seeds, |seed| {
        let run = run(seed, None);
        seen.lock().unwrap().add(&run);
        let violations = check(&run);
        let mut failed = failed.lock().unwrap();
        if !violations.is_empty() {
            let texts: Vec<_> = violations.iter().map(ToString::to_string).collect();
            failed.insert(seed, texts.join("\n"));
        }
        failed.len() < ENOUGH
    });
    println!("{seeds} seeds");
    let seen = seen.into_inner().unwrap().0;
    for (what, count) in &seen {
        println!("{count:9} {what}");
    }
    let failed = failed.into_inner().unwrap();
    for (seed, violations) in &failed {
        println!(
            "\nseed {seed}, to be replayed with\n  SIMULATION_SEED={seed} cargo test -p simulation -- --nocapture\n{violations}"
        );
    }
    assert!(
        failed.is_empty(),
        "seeds {:?} break invariants",
        failed.keys()
    );
    if seeds >= SEEDS {
        let missing = |what: &&&str| !seen.contains_key(**what);
        let missing: Vec<_> = EXPECTED.iter().filter(missing).collect();
        assert!(
            missing.is_empty(),
            "in {seeds} seeds there was no {missing:?}"
        );
    }
}

/// Prints everything about one seed.
fn replay(seed: u64) {
    let run = run(seed, None);
    println!("{:#?}", run.scenario);
    for (at, event) in &run.trace {
        println!("{:>9.3} ms  {event:?}", at.as_secs_f64() * 1000.0);
    }
    let violations = check(&run);
    for violation in &violations {
        println!("{violation}");
    }
    assert!(violations.is_empty(), "seed {seed} breaks invariants");
}

#[test]
fn a_seed_gives_the_same_trace_each_time() {
    for_each_seed(40, |seed| {
        let first = run(seed, None);
        // On a thread of its own: nothing may depend on what ran there before.
        let second = thread::scope(|scope| scope.spawn(|| run(seed, None)).join());
        let second = second.expect("the panics of a run are caught");
        let differs = first.trace.iter().zip(&second.trace).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
        true
    });
}

#[test]
fn each_invariant_can_break() {
    for invariant in Invariant::ALL {
        let breaks = |sabotage: Sabotage| sabotage.breaks().contains(&invariant);
        assert!(
            Sabotage::ALL.into_iter().any(breaks),
            "nothing breaks {invariant:?}"
        );
    }
    for sabotage in Sabotage::ALL {
        let breaks = sabotage.breaks();
        let broken = Mutex::new(Vec::new());
        for_each_seed(SEEDS, |seed| {
            let violations = check(&run(seed, Some(sabotage)));
            let mut broken = broken.lock().unwrap();
            broken.extend(violations.iter().map(|violation| violation.invariant));
            !breaks.iter().all(|invariant| broken.contains(invariant))
        });
        let broken = broken.into_inner().unwrap();
        println!(
            "{sabotage:?} breaks {:?}",
            broken.iter().collect::<BTreeSet<_>>()
        );
        for invariant in breaks {
            assert!(
                broken.contains(invariant),
                "{sabotage:?} goes unnoticed: {invariant:?} holds in {SEEDS} seeds"
            );
        }
    }
}
