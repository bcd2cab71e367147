//! The run: ten steps, each with many requests at once, and the check between them.

use std::{
    future::poll_fn,
    io::{self, Write},
    ops::Range,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::BytesMut;
use http::Response;
use http_body::Body as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tower_http_retry::{BoxError, RetryReport};

use crate::{
    cli::{Cli, Sabotage},
    client::{self, AnyBody, Client, MOST_ATTEMPTS},
    dice::Dice,
    judge::{Breach, Judge},
    ledger::{Ledger, Told},
    memory::{self, Bytes, Memory},
    network::{Pitfalls, Way},
    order::{Attempt, Order},
    plan::Plan,
    tally::{Tally, grouped, per_second},
};
use test_support::net::fault::{FaultServer, Play, Protocol};

const STEPS: u64 = 10;

/// How many requests it takes until the allocator has what it needs. What is resident is not
/// judged after fewer.
const WARM_UP: u64 = 20_000;

/// Longer than any request, or the closing of any connection, can take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the rest of a response is waited for that does not come.
const MOMENT: Duration = Duration::from_millis(50);

/// The tasks that are always there: one for each server, one for each that looks for what stalls,
/// and one in each client's pool that closes connections.
const TASKS: usize = 7 + 2 + 2;

/// How much more memory there may be at the end than after the first step, as a part of what the
/// first step needed.
const GROWTH: f64 = 0.05;
/// What the allocator may keep resident besides: it depends on the worst moment so far.
const KEPT: u64 = 8 * 1024 * 1024;
/// The last steps, of which the least memory counts.
const LAST: usize = 3;

/// Why requests end here. None of them has a body that fails or cannot be made again, for
/// instance.
const EXPECTED: [&str; 10] = [
    "succeeded",
    "method_not_allowed",
    "status_not_listed",
    "count_exhausted",
    "body_not_replayable",
    "budget_exhausted",
    "deadline_too_close",
    "deadline_exceeded",
    "retry_after_too_long",
    "too_many_in_flight",
];

/// All that the requests share.
struct Soak {
    dice: Dice,
    client: Client,
    ledger: Arc<Ledger>,
    tally: Mutex<Tally>,
    progress: ProgressBar,
    sabotage: Option<Sabotage>,
}

/// Runs it all; `false` if a promise was broken.
///
/// # Errors
///
/// It cannot be run, or nobody reads what it prints.
pub(crate) async fn run(cli: &Cli) -> Result<bool, BoxError> {
    let dice = Dice::new(cli.seed);
    let judge = Judge::new(dice, cli.faults, MOST_ATTEMPTS);
    let step = cli.requests.div_ceil(STEPS).max(warm_up(cli));
    let ledger = Arc::new(Ledger::new(judge, step));
    let pitfalls = Arc::new(Pitfalls::new().await);
    let mut servers = Vec::new();
    let mut ways = Vec::new();
    for (protocol, part) in [
        (Protocol::Http1, cli.faults / 2.0),
        (Protocol::Http2, cli.faults),
    ] {
        let server = server(protocol, &ledger).await;
        ways.push(Way {
            server: server.connector(),
            pitfalls: Arc::clone(&pitfalls),
            part,
            dice: dice.of(ways.len() as u64),
            made: Arc::default(),
        });
        servers.push(server);
    }
    let ways = <[Way; 2]>::try_from(ways).map_err(|_| "two ways")?;
    let soak = Arc::new(Soak {
        dice,
        client: Client::new(ways, dice, cli.concurrency, cli.sabotage)?,
        ledger,
        tally: Mutex::default(),
        progress: progress(warm_up(cli) + cli.requests)?,
        sabotage: cli.sabotage,
    });
    let servers = Arc::new(servers);
    // What stalls is of no interest, and would be remembered.
    for at in 0..servers.len() {
        let servers = Arc::clone(&servers);
        tokio::spawn(async move {
            loop {
                servers[at].stalled().await;
            }
        });
    }
    soak.run(cli, &servers).await
}

/// How many requests are sent before memory is looked at.
fn warm_up(cli: &Cli) -> u64 {
    cli.requests.min(WARM_UP)
}

/// A server that tells the ledger what it sees.
async fn server(protocol: Protocol, ledger: &Arc<Ledger>) -> FaultServer {
    let planned = Arc::clone(ledger);
    let play = Play::by_head(move |_, uri, headers| {
        let attempt = Attempt::of(headers);
        let plan = Order::id_in(uri.path()).map(|id| planned.judge().plan(id, attempt));
        plan.map_or_else(Vec::new, |plan| plan.acts())
    });
    let ledger = Arc::clone(ledger);
    FaultServer::telling(
        protocol,
        None,
        move |_| play.clone(),
        move |attempt| ledger.seen(attempt),
    )
    .await
}

/// A bar on stderr, if that is a terminal.
fn progress(requests: u64) -> Result<ProgressBar, BoxError> {
    let bar = ProgressBar::new(requests);
    let template = "{bar:30} {percent} %  {per_sec}  {eta} left  {msg}";
    bar.set_style(ProgressStyle::with_template(template)?);
    bar.enable_steady_tick(Duration::from_millis(200));
    Ok(bar)
}

impl Soak {
    async fn run(self: &Arc<Self>, cli: &Cli, servers: &[FaultServer]) -> Result<bool, BoxError> {
        self.say(format_args!(
            "{} requests, and {} before them to warm up; {} at once, {} % of the attempts fail, \
             seed {}\n",
            grouped(cli.requests),
            grouped(warm_up(cli)),
            cli.concurrency,
            (100.0 * cli.faults).round(),
            cli.seed,
        ))?;
        self.say("after              requests       speed   allocated   left of it    resident")?;
        let started = Instant::now();
        let warm_up = warm_up(cli);
        self.step(0..warm_up, cli.concurrency).await;
        self.settle(servers).await;
        let mut memories = Vec::new();
        let mut next = 0;
        for step in 1..=STEPS {
            let end = cli.requests * step / STEPS;
            memory::begin();
            let step_started = Instant::now();
            let requests = warm_up + next..warm_up + end;
            self.step(requests, cli.concurrency).await;
            let took = step_started.elapsed();
            self.settle(servers).await;

            let memory = Memory::now();
            memories.push(memory);
            self.say(format_args!(
                "{:>3} %  {:>12} requests  {:>7}/s  {}",
                100 * step / STEPS,
                grouped(end),
                grouped(per_second(end - next, took)),
                Row(memory),
            ))?;
            next = end;
        }
        self.compare(&memories, warm_up)?;
        self.progress.finish_and_clear();
        self.conclude(cli, started.elapsed())
    }

    /// Sends these requests, so many at once.
    async fn step(self: &Arc<Self>, requests: Range<u64>, concurrency: u16) {
        let Range { start, end } = requests;
        self.ledger.begin(start);
        let next = Arc::new(AtomicU64::new(start));
        let mut tasks = JoinSet::new();
        for _ in 0..concurrency {
            let (soak, next) = (Arc::clone(self), Arc::clone(&next));
            tasks.spawn(async move {
                loop {
                    let id = next.fetch_add(1, Relaxed);
                    if id >= end {
                        break;
                    }
                    soak.ledger.open(id);
                    if timeout(PATIENCE, soak.request(id)).await.is_err() {
                        let judge = soak.ledger.judge();
                        judge.breach(Breach::Lost, id, "it does not end");
                    }
                    soak.progress.inc(1);
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                let judge = self.ledger.judge();
                judge.breach_of_all(Breach::Lost, format_args!("a request panicked: {error}"));
            }
        }
    }

    /// One request.
    async fn request(&self, id: u64) {
        let order = Order::new(self.dice, id);
        let judge = self.ledger.judge();
        let head = match order.request() {
            Ok(head) => head,
            Err(error) => return judge.breach(Breach::Lost, id, error),
        };
        let told = match self.client.send(&order, head).await {
            Ok(response) => {
                let report = response.extensions().get::<RetryReport>();
                let status = response.status();
                let told = report.map_or_else(|| Told::at_once(status.as_u16()), Told::by);
                self.tally().response(status, &told);
                let attempt = Attempt {
                    number: told.attempts.len() as u32,
                    is_hedge: told.hedged.last() == Some(&Some(true)),
                };
                self.content(&order, attempt, response).await;
                told
            }
            Err(error) => {
                let told = Told::by(error.report());
                self.tally().error(&error, &told);
                told
            }
        };
        if let Some(stop) = told.stop.filter(|stop| !EXPECTED.contains(stop)) {
            judge.breach(Breach::Lost, id, format_args!("it ended with {stop}"));
        }
        match self.sabotage {
            Some(Sabotage::Lose) if id % 100 == 7 => return,
            Some(Sabotage::Leak) => client::leak(),
            _ => {}
        }
        self.ledger.told(id, told);
    }

    /// Compares the content of a response with what the server sent.
    async fn content(&self, order: &Order, attempt: Attempt, response: Response<AnyBody>) {
        let judge = self.ledger.judge();
        let plan: Plan = judge.plan(order.id, attempt);
        let number = attempt.number;
        let expected = plan.content();
        let mut content = BytesMut::new();
        let patience = if plan.hangs() { MOMENT } else { PATIENCE };
        let reading = timeout(patience, read(response.into_body(), &mut content)).await;
        let whole = match reading {
            Ok(whole) => whole,
            Err(_) if plan.hangs() => false,
            Err(_) => return judge.breach(Breach::Lost, order.id, "its response does not end"),
        };
        let is_part = expected.starts_with(&content);
        // On a connection for many, another request's fault can cut it off.
        let may_be_cut = plan.is_cut() || order.protocol == Protocol::Http2;
        if whole && content != expected || !is_part {
            let what = format_args!("attempt {number}: another response arrived");
            judge.breach(Breach::Corrupted, order.id, what);
        } else if !whole && !may_be_cut {
            let what = format_args!("attempt {number}: the response was cut off");
            judge.breach(Breach::Lost, order.id, what);
        } else if !whole {
            self.tally().cut();
        }
    }

    /// Waits until nothing goes on any more, and looks whether all was given back.
    async fn settle(&self, servers: &[FaultServer]) {
        let judge = self.ledger.judge();
        for server in servers {
            if timeout(PATIENCE, server.closed()).await.is_err() {
                let what = format_args!("{} connections stay open", server.open());
                judge.breach_of_all(Breach::Leaked, what);
            }
        }
        // The client's ends of the connections end after the server's.
        let gone = async {
            let metrics = Handle::current().metrics();
            while metrics.num_alive_tasks() > TASKS {
                sleep(Duration::from_millis(1)).await;
            }
        };
        if timeout(PATIENCE, gone).await.is_err() {
            let tasks = Handle::current().metrics().num_alive_tasks();
            judge.breach_of_all(Breach::Leaked, format_args!("{tasks} tasks stay"));
        }
        self.ledger.settle();
        let in_flight = self.client.in_flight.in_flight();
        if in_flight > 0 {
            let what = format_args!("{in_flight} retries stay in flight");
            judge.breach_of_all(Breach::Leaked, what);
        }
    }

    /// Compares the memory after the last steps with that after the first.
    fn compare(&self, memories: &[Memory], warm_up: u64) -> io::Result<()> {
        let judge = self.ledger.judge();
        let grew = |what: &str, first: u64, last: Option<u64>, allowed: u64| {
            if let Some(last) = last.filter(|last| *last > first + allowed) {
                let (first, last) = (Bytes(first), Bytes(last));
                let what = format_args!("{what} memory grew from {first} to {last}");
                judge.breach_of_all(Breach::Leaked, what);
            }
        };
        let part = |bytes: u64| (bytes as f64 * GROWTH) as u64;
        let first = memories[0];
        let last = || memories.iter().rev().take(LAST);
        let allocated = last().map(|memory| memory.allocated).min();
        grew("allocated", first.allocated, allocated, part(first.peak));
        let Some(resident) = first.resident else {
            return self.say("resident memory is not known on this system, and not judged");
        };
        if warm_up < WARM_UP {
            let least = grouped(WARM_UP);
            return self.say(format_args!(
                "resident memory is not judged with fewer than {least} requests"
            ));
        }
        let last = last().filter_map(|memory| memory.resident).min();
        grew("resident", resident, last, part(resident) + KEPT);
        Ok(())
    }

    /// Prints what became of it all; `false` if a promise was broken.
    fn conclude(&self, cli: &Cli, took: Duration) -> Result<bool, BoxError> {
        let judge = self.ledger.judge();
        let tally = self.tally();
        self.say(&*tally)?;
        let (seen, anonymous, applied) = judge.server();
        let budget = self.client.budget.stats(Instant::now().into_std());
        self.say(format_args!(
            "{} attempts were told, {} arrived, {} of them without a head; {} were applied\n\
             the budget granted {} retries and refused {}\n\
             {} requests in {:.1} s: {}/s",
            grouped(tally.attempts()),
            grouped(seen),
            grouped(anonymous),
            grouped(applied),
            grouped(budget.granted),
            grouped(budget.refused),
            grouped(tally.requests()),
            took.as_secs_f64(),
            grouped(per_second(tally.requests(), took)),
        ))?;
        let all = warm_up(cli) + cli.requests;
        if tally.requests() != all {
            let what = format_args!("{} requests ended", tally.requests());
            judge.breach_of_all(Breach::Lost, what);
        }
        if judge.judged() != all {
            let what = format_args!("{} requests could be judged", judge.judged());
            judge.breach_of_all(Breach::Lost, what);
        }
        let (breaches, described) = judge.breaches();
        if breaches.is_empty() {
            self.say("nothing was lost, doubled, corrupted or leaked")?;
            return Ok(true);
        }
        let mut err = io::stderr().lock();
        for line in described {
            writeln!(err, "{line}")?;
        }
        for (breach, count) in breaches {
            writeln!(err, "BROKEN: {} {breach}", grouped(count))?;
        }
        Ok(false)
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints a line beside the bar.
    fn say(&self, line: impl std::fmt::Display) -> io::Result<()> {
        self.progress
            .suspend(|| writeln!(io::stdout().lock(), "{line}"))
    }
}

/// Reads the content of a response; whether it came to its end.
async fn read(mut body: AnyBody, content: &mut BytesMut) -> bool {
    loop {
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => return true,
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    content.extend_from_slice(data);
                }
            }
            Some(Err(_)) => return false,
        }
    }
}

/// The memory after a step.
struct Row(Memory);

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Memory {
            allocated,
            peak,
            resident,
        } = self.0;
        write!(f, "{:>10}  {:>10}", Bytes(peak), Bytes(allocated))?;
        match resident {
            Some(resident) => write!(f, "  {:>10}", Bytes(resident)),
            None => f.write_str("   not known"),
        }
    }
}
