//! A service with a slow tail, and what hedges make of it: when it is well, when it slows down as a
//! whole, and when it answers nobody.
//!
//! The hedges are those of the library's own layer, in virtual time.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep_until, timeout},
};
use tower::{Layer, Service, ServiceExt, util::BoxCloneService};
use tower_http_retry::{BoxError, RetryLayer, hedge::HedgeLayer, policy::RetryPolicy};

/// First requests in a second, at random times.
const RATE: f64 = 500.0;
/// Requests that the service works at at once; the others queue.
const WORKERS: usize = 20;
/// Half of the requests take less time than this …
const MEDIAN: f64 = 0.010;
/// … and by how much they differ, as the standard deviation of the logarithm.
const SIGMA: f64 = 0.5;
/// One in so many takes a hundred times as long.
const SLOW: f64 = 0.01;
const SLOWER: f64 = 100.0;
/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// Before this time nothing is counted: the estimate is not there yet.
const WARM: Duration = Duration::from_secs(20);
const FAULT: Duration = Duration::from_secs(10);

/// What befalls the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Fair,
    /// For 10 seconds everything takes three times as long.
    Slow,
    /// For 10 seconds nothing is answered.
    Outage,
}

impl Weather {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fair, Self::Slow, Self::Outage];

    fn name(self) -> &'static str {
        match self {
            Self::Fair => "the tail alone",
            Self::Slow => "all servers slow for 10 s",
            Self::Outage => "no answer for 10 s",
        }
    }
}

/// Who sends what is late a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedger {
    /// Nobody.
    None,
    /// Whoever has read of it: after the 95th percentile of a good day, always.
    Naive,
    /// [`HedgeLayer`], as it is.
    Layer,
}

impl Hedger {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Naive, Self::Layer];

    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no hedges",
            Self::Naive => "a naive hedger",
            Self::Layer => "HedgeLayer",
        }
    }
}

/// What a second of a run was like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Second {
    /// Requests of callers.
    pub asked: u64,
    /// Requests that the service got.
    pub sent: u64,
    /// Those of callers that were answered in time.
    pub served: u64,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The seconds, by the time at which callers asked.
    pub seconds: Vec<Second>,
    /// How long each answer took that was asked for after the first 20 seconds, in order.
    pub times: Vec<Duration>,
    fault: std::ops::Range<usize>,
}

impl Measured {
    /// The time that this part of the answers took at most.
    pub fn percentile(&self, part: f64) -> Duration {
        let last = self.times.len().saturating_sub(1);
        let at = (part * last as f64).round() as usize;
        self.times.get(at).copied().unwrap_or_default()
    }

    fn extra(&self, seconds: std::ops::Range<usize>) -> f64 {
        let seconds = &self.seconds[seconds];
        let asked: u64 = seconds.iter().map(|second| second.asked).sum();
        let sent: u64 = seconds.iter().map(|second| second.sent).sum();
        sent as f64 / asked as f64 - 1.0
    }

    /// What was sent besides, as a part of what callers asked for, once there is an estimate.
    pub fn extra_load(&self) -> f64 {
        self.extra(WARM.as_secs() as usize..self.seconds.len())
    }

    /// The same while the fault lasts, and until the last client of that time has given up.
    pub fn extra_load_during(&self) -> f64 {
        self.extra(self.fault.start..self.fault.end + PATIENCE.as_secs() as usize)
    }

    /// The part of the requests that were answered in time in the last 10 seconds.
    pub fn served_after(&self) -> f64 {
        let last = &self.seconds[self.seconds.len() - 10..];
        let asked: u64 = last.iter().map(|second| second.asked).sum();
        let served: u64 = last.iter().map(|second| second.served).sum();
        served as f64 / asked as f64
    }
}

/// Lets callers ask for `seconds`, at least 60.
///
/// # Errors
///
/// There is no runtime for the clock.
pub fn run(weather: Weather, hedger: Hedger, seconds: usize, seed: u64) -> io::Result<Measured> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    let measured = runtime.block_on(callers(weather, hedger, seconds.max(60), seed));
    Ok(measured)
}

struct World {
    origin: Instant,
    weather: Weather,
    fault: std::ops::Range<Duration>,
    rng: fastrand::Rng,
    /// When each worker is free.
    free: BinaryHeap<Reverse<Duration>>,
    measured: Measured,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn second(&mut self, at: Duration) -> &mut Second {
        let last = self.measured.seconds.len() - 1;
        &mut self.measured.seconds[(at.as_secs() as usize).min(last)]
    }

    /// The time at which a request that arrives now is answered; `None` if it never is.
    fn answer(&mut self, now: Duration) -> Option<Duration> {
        let in_fault = self.fault.contains(&now);
        let mut work = MEDIAN * (SIGMA * normal(&mut self.rng)).exp();
        if self.rng.f64() < SLOW {
            work *= SLOWER;
        }
        match self.weather {
            Weather::Slow if in_fault => work *= 3.0,
            Weather::Outage if in_fault => return None,
            Weather::Fair | Weather::Slow | Weather::Outage => {}
        }
        let Reverse(free) = self.free.pop()?;
        let done = free.max(now) + Duration::from_secs_f64(work);
        self.free.push(Reverse(done));
        Some(done)
    }
}

/// A number of the standard normal distribution (Box and Muller).
fn normal(rng: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// The service: workers, and a queue in front of them. It does not notice that a client has gone.
#[derive(Clone)]
struct Server(Shared);

type Answering = Pin<Box<dyn Future<Output = Result<Response<String>, BoxError>> + Send>>;

impl Service<Request<String>> for Server {
    type Response = Response<String>;
    type Error = BoxError;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<String>) -> Answering {
        let mut world = self.0.lock();
        let (origin, now) = (world.origin, Instant::now());
        let now = now.duration_since(origin);
        world.second(now).sent += 1;
        let done = world.answer(now);
        Box::pin(async move {
            match done {
                Some(done) => sleep_until(origin + done).await,
                None => std::future::pending().await,
            }
            Ok(Response::new(String::new()))
        })
    }
}

/// Sends everything a second time that takes longer than a fixed time.
#[derive(Clone)]
struct Naive {
    server: Server,
    delay: Duration,
}

impl Service<Request<String>> for Naive {
    type Response = Response<String>;
    type Error = BoxError;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.server.poll_ready(cx)
    }

    fn call(&mut self, request: Request<String>) -> Answering {
        let (mut again, copy) = (self.server.clone(), request.clone());
        let mut first = self.server.call(request);
        let delay = self.delay;
        Box::pin(async move {
            match timeout(delay, &mut first).await {
                Ok(answer) => answer,
                Err(_) => {
                    let hedge = again.call(copy);
                    tokio::select! { answer = first => answer, answer = hedge => answer }
                }
            }
        })
    }
}

type Client = BoxCloneService<Request<String>, Response<String>, BoxError>;

fn client(hedger: Hedger, server: Server) -> Client {
    // Hedges alone: no retry, and no budget but their own.
    let never = RetryPolicy::builder().total(0).budget(None).build();
    let policy = RetryPolicy::builder().budget(None).build();
    let (Ok(never), Ok(policy)) = (never, policy) else {
        unreachable!("both are valid")
    };
    let patience = RetryLayer::new(never).attempt_timeout(PATIENCE);
    match hedger {
        Hedger::None => boxed(patience.layer(server)),
        Hedger::Naive => {
            // The 95th percentile when the service is well.
            let delay = Duration::from_millis(26);
            boxed(patience.layer(Naive { server, delay }))
        }
        Hedger::Layer => boxed(patience.layer(HedgeLayer::new(&policy).layer(server))),
    }
}

fn boxed<S>(service: S) -> Client
where
    S: Service<Request<String>, Response = Response<String>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    BoxCloneService::new(service.map_err(Into::into))
}

async fn callers(weather: Weather, hedger: Hedger, seconds: usize, seed: u64) -> Measured {
    let origin = Instant::now();
    let begin = seconds / 2;
    let fault = begin..begin + FAULT.as_secs() as usize;
    let shared = Shared(Arc::new(Mutex::new(World {
        origin,
        weather,
        fault: Duration::from_secs(fault.start as u64)..Duration::from_secs(fault.end as u64),
        rng: fastrand::Rng::with_seed(!seed),
        free: (0..WORKERS).map(|_| Reverse(Duration::ZERO)).collect(),
        measured: Measured {
            seconds: vec![Second::default(); seconds],
            times: Vec::new(),
            fault,
        },
    })));
    let client = client(hedger, Server(shared.clone()));
    let mut demand = fastrand::Rng::with_seed(seed);
    let mut at = 0.0;
    loop {
        at -= (1.0 - demand.f64()).ln() / RATE;
        if at >= seconds as f64 {
            break;
        }
        let asked = Duration::from_secs_f64(at);
        sleep_until(origin + asked).await;
        tokio::spawn(caller(client.clone(), shared.clone()));
    }
    tokio::time::sleep(2 * PATIENCE).await;
    let mut measured = shared.lock().measured.clone();
    measured.times.sort_unstable();
    measured
}

async fn caller(client: Client, shared: Shared) {
    let start = Instant::now();
    let asked = {
        let mut world = shared.lock();
        let asked = start.duration_since(world.origin);
        world.second(asked).asked += 1;
        asked
    };
    let mut request = Request::new(String::new());
    *request.uri_mut() = http::Uri::from_static("http://service.example/");
    let result = client.oneshot(request).await;
    let mut world = shared.lock();
    if result.is_ok() {
        world.second(asked).served += 1;
    }
    if asked >= WARM {
        // A client that gives up has waited, too.
        world.measured.times.push(start.elapsed());
    }
}

/// The runs of all hedgers under all weathers, as text.
pub struct Table<'a>(pub &'a [(Weather, Vec<(Hedger, Measured)>)]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (weather, runs) in self.0 {
            writeln!(f, "{}\n", weather.name())?;
            writeln!(
                f,
                "{:<16}{:>10}{:>10}{:>10}{:>13}{:>15}{:>14}",
                "", "p50", "p99", "p99.9", "extra load", "in the fault", "served after"
            )?;
            for (hedger, run) in runs {
                let ms = |part| format!("{} ms", run.percentile(part).as_millis());
                let percent = |part: f64| format!("{:.1} %", 100.0 * part);
                let during = match weather {
                    Weather::Fair => String::new(),
                    Weather::Slow | Weather::Outage => percent(run.extra_load_during()),
                };
                writeln!(
                    f,
                    "{:<16}{:>10}{:>10}{:>10}{:>13}{:>15}{:>14}",
                    hedger.name(),
                    ms(0.5),
                    ms(0.99),
                    ms(0.999),
                    percent(run.extra_load()),
                    during,
                    percent(run.served_after()),
                )?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
