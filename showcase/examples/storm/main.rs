//! What a retry policy does to a service that goes down, and to its recovery.
//!
//! `cargo run --release -p showcase --example storm` lets the same clients with different retry policies go
//! through the same fault of the same service, prints what came of it as tables, and draws it
//! (SVG, into `target/storm`). The policies, their budgets and throttles are the library's own
//! objects; only time is virtual and the network is not there. The same arguments always give the
//! same output; `-- --help` lists them.
//!
//! # What is assumed
//!
//! - The service answers one request after the other, in the order of their arrival, each with
//!   the same work: 12 500 a second when it is well. Its queue has room for 10 seconds of work.
//! - It does not notice that a client has given up, and works for it in vain. This is what keeps
//!   it down: once the queue is longer than the clients' patience, all its work is in vain, all
//!   requests fail, and if failures bring more than it can do, the queue never gets shorter.
//! - Callers ask at random times and independently of each other, 10 000 times a second together
//!   (`--load` is that as percent), and go on to do so whatever happens: they are many, and the
//!   ones who have failed are not missed. Clients that wait for an answer before they ask again
//!   would be kinder.
//! - An attempt is given up after one second. There is no deadline for all attempts together, no
//!   circuit breaker and no `Retry-After`; nothing takes time except queue, work and waits.
//! - The outage: everything is lost and refused (503) for 30 seconds. Then the service comes back
//!   with half of its capacity, which grows to all of it over 8 seconds. This is about the
//!   slowest return that it survives without any retry.
//! - The dip: for 3 seconds the service has 40 % of its capacity, and then all of it.
//! - The callers' requests go through 100 processes: 100 requests a second each, the size of a
//!   busy instance of a service. A process has one policy and one budget. The last table and plot
//!   are about other numbers, because much depends on it.
//!
//! Nothing in this is different from one policy to the next, down to the time of each request.
//! With less load more of them survive: exponential waits at 50 %, full jitter at 70 %. With more,
//! at 85 %, nobody is back at once, not even without retries.
//!
//! # Hedges
//!
//! With `--scenario tail` it is about a service that is well, and of which one request in a hundred
//! takes a hundred times as long: 20 workers with a queue in front of them, 500 requests a second
//! (56 % of what it can do), times that are log-normal with a median of 10 ms. Nobody hedges, or a
//! naive hedger does after 26 ms, always, or the library's `HedgeLayer`. Then all its work takes
//! three times as long for 10 seconds, or nothing is answered. A client waits for 2 seconds.
//!
//! # How much is simulated
//!
//! One process in 5 is simulated, in front of a service that is smaller in proportion: this is done
//! within a minute. `--quick` simulates one in 25, and `--full` all of them, of which the pictures
//! of the documentation are made; but never more than 100 000.
//!
//! # A service of one's own
//!
//! ```text
//! cargo run --release -p showcase --example storm -- --policy-file policy.toml \
//!     --rate 10 --processes 200 --capacity 2500 --curve 0:0,60:0,60:0.3,90:1
//! ```
//!
//! sets a policy from a document beside the default and the buckets of others, for a fleet and a
//! service of that size, through that fault.

mod cli;
mod progress;

use std::{
    fs,
    io::{self, Write},
    num::NonZero,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    cli::{Cli, Which},
    progress::Progress,
};
use showcase::storm::{
    plot,
    simulation::{Contender, Measured, Scenario, run},
    table::{Table, grouped},
    tail::{self, Hedger, Weather},
};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let compared = match cli.scenario {
        Which::Outage => compare(&cli),
        Which::Tail => compare_hedges(&cli),
    };
    match compared {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever closed the pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(cli: &Cli) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let contenders = cli.contenders();
    fs::create_dir_all(&cli.out)?;
    if cli.is_own() {
        return compare_own(cli, &contenders, &mut out);
    }

    // Two scenarios with all policies, seven with three, twelve with five.
    let progress = Progress::new(2 * contenders.len() + 7 * 3 + 12 * 5);
    let outage = all(&[cli.outage()], &contenders, &progress)?.remove(0);
    let scenario = cli.outage();
    writeln!(
        out,
        "{} callers through {} processes, {} requests/s; the service can do {}\n",
        grouped(scenario.clients),
        grouped(scenario.processes),
        grouped(scenario.demand as u64),
        grouped(scenario.capacity as u64),
    )?;
    writeln!(
        out,
        "An outage of {} s, then {} s from half to full capacity\n\n{}",
        scenario.fault.as_secs(),
        scenario.warming.as_secs(),
        Table::of_policies(&outage)
    )?;

    let dip = all(&[cli.dip()], &contenders, &progress)?.remove(0);
    let scenario = cli.dip();
    writeln!(
        out,
        "A dip to {} % of the capacity for {} s\n\n{}",
        100.0 * scenario.left,
        scenario.fault.as_secs(),
        Table::of_policies(&dip)
    )?;

    let kinds = [
        (10, 10),
        (1_000, 100),
        (1_000, 1_000),
        (100_000, 100),
        (100_000, 100_000),
        (10_000_000, 100),
        (10_000_000, 10_000_000),
    ]
    .map(|(clients, processes)| cli.outage().with(clients, processes, cli.thin()));
    let budgets = [Contender::Fixed, Contender::Budget, Contender::MinPerSecond];
    let runs = all(&kinds, &budgets, &progress)?;
    writeln!(
        out,
        "The same outage, by who shares a budget\n\n{}",
        Table::of_clients(&runs)
    )?;

    let numbers = [
        10, 20, 50, 100, 150, 200, 400, 1_000, 2_000, 4_000, 10_000, 100_000,
    ];
    let scenarios = numbers.map(|processes| cli.outage().with(100_000, processes, cli.thin()));
    let budgets = [
        Contender::Tower,
        Contender::Budget,
        Contender::MinPerSecond,
        Contender::Aws,
        Contender::Grpc,
    ];
    let processes = all(&scenarios, &budgets, &progress)?;

    for (name, svg) in [
        ("outage.svg", plot::loads(&panels(&outage), "outage")?),
        ("dip.svg", plot::loads(&panels(&dip), "dip")?),
        ("amplification.svg", plot::amplification(&outage, &dip)?),
        ("processes.svg", plot::processes(&processes)?),
    ] {
        let path = cli.out.join(name);
        fs::write(&path, svg)?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

fn compare_hedges(cli: &Cli) -> io::Result<()> {
    let mut out = io::stdout().lock();
    // Long enough for one request in a thousand to be a few hundred.
    let length = |weather| match (weather, cli.quick) {
        (Weather::Fair, false) => 420,
        (Weather::Fair | Weather::Slow | Weather::Outage, _) => 120,
    };
    let runs = Weather::ALL.map(|weather| {
        let each = Hedger::ALL.map(|hedger| {
            let run = tail::run(weather, hedger, length(weather), cli.seed)?;
            Ok((hedger, run))
        });
        let each: io::Result<Vec<_>> = each.into_iter().collect();
        Ok((weather, each?))
    });
    let runs: io::Result<Vec<_>> = runs.into_iter().collect();
    let runs = runs?;
    writeln!(out, "{}", tail::Table(&runs))?;
    fs::create_dir_all(&cli.out)?;
    let path = cli.out.join("tail.svg");
    fs::write(&path, plot::tail(&runs[0].1, &runs[1].1)?)?;
    writeln!(out, "{}", path.display())
}

/// One outage of a service of the user's own.
fn compare_own(cli: &Cli, contenders: &[Contender], out: &mut impl Write) -> io::Result<()> {
    let scenario = cli.outage();
    let progress = Progress::new(contenders.len());
    let runs = all(std::slice::from_ref(&scenario), contenders, &progress)?.remove(0);
    writeln!(
        out,
        "{} processes, each with {} requests/s; the service can do {}/s\n\n{}",
        grouped(scenario.processes),
        scenario.rate_per_process(),
        grouped(scenario.capacity as u64),
        Table::of_policies(&runs)
    )?;
    let path = cli.out.join("own.svg");
    fs::write(&path, plot::loads(&runs, "fault")?)?;
    writeln!(out, "{}", path.display())
}

/// Those that have a panel: the others look the same as their neighbours.
fn panels(runs: &[(Contender, Measured)]) -> Vec<(Contender, Measured)> {
    let same = [
        Contender::Budget100,
        Contender::Throttle,
        Contender::Aws,
        Contender::Grpc,
    ];
    let panels = runs
        .iter()
        .filter(|(contender, _)| !same.contains(contender));
    panels.cloned().collect()
}

/// Runs each scenario with each contender, on all processors.
fn all(
    scenarios: &[Scenario],
    contenders: &[Contender],
    progress: &Progress,
) -> io::Result<Vec<Vec<(Contender, Measured)>>> {
    let jobs: Vec<_> = scenarios
        .iter()
        .flat_map(|scenario| {
            contenders
                .iter()
                .map(move |contender| (scenario, *contender))
        })
        .enumerate()
        .collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some(&(i, (scenario, contender))) = jobs.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let result = run(scenario, contender);
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((i, contender, result));
            progress.step();
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, ..)| *i);
    let mut done = done.into_iter();
    scenarios
        .iter()
        .map(|_| {
            done.by_ref()
                .take(contenders.len())
                .map(|(_, contender, result)| Ok((contender, result?)))
                .collect()
        })
        .collect()
}
