//! Downloads that break: whatever a server that obeys RFC 9110 does to a body, and however it is cut
//! on its way, the caller gets its exact bytes, or the original error after some of them.
//!
//! All in one process and in simulated time; what stands on sockets is in `tests/layers`.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use tokio::time::{Instant, Sleep, sleep};
use tower::{Layer, Service, ServiceExt, util::BoxCloneService};
use tower_http_retry::{
    RetryLayer,
    policy::{Backoff, RetryPolicy},
    resume::{ResumeErrorKind, ResumeLayer},
};

use crate::{dice::Dice, for_each_seed, number};

/// The seeds of a plain `cargo test`.
const SEEDS: u64 = 10_000;
/// The wall clock when a run starts.
const EPOCH: u64 = 1_700_000_000;
const SECOND: Duration = Duration::from_secs(1);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Client = BoxCloneService<Request<Empty<Bytes>>, Response<CutBody>, BoxError>;

// --- the server ---

/// What it says of its files so that others can tell them apart.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Validator {
    Strong,
    Weak,
    Date,
    None,
}

/// What it does all the time.
#[derive(Clone, Debug)]
struct Habits {
    validator: Validator,
    /// The percentage of requests for a range that are answered with one.
    ranges: u32,
    says_none: bool,
    has_length: bool,
    encodes: bool,
    hides_total: bool,
    /// The most that it sends of a range.
    part: Option<usize>,
    /// Its ranges begin at a multiple of this.
    block: usize,
    /// How often something breaks, in percent.
    breaks: u32,
    fails: u32,
    /// Whether a change goes unnoticed: a server that does not obey.
    lies: bool,
}

/// What became of an answer, as far as the server knows.
struct Answer {
    /// The whole body that it began to send.
    bytes: Bytes,
    /// Whether its body failed with an error.
    failed: bool,
}

struct World {
    dice: Dice,
    habits: Habits,
    started: Instant,
    /// When the file is changed, from the start on, and how long it is then.
    versions: Vec<(Duration, usize)>,
    answers: Vec<Answer>,
    /// After so many faults everything goes well.
    faults: u32,
    seen: BTreeMap<&'static str, u64>,
}

#[derive(Clone)]
struct Server(Arc<Mutex<World>>);

impl Server {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no panic")
    }
}

fn content(version: usize, length: usize) -> Vec<u8> {
    let byte = |at: usize| {
        let at = (at as u32).wrapping_mul(0x9e37_79b1) >> 11;
        (at ^ (version as u32).wrapping_mul(0x85eb_ca6b)).to_le_bytes()[1]
    };
    (0..length).map(byte).collect()
}

impl World {
    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Whether something goes wrong now.
    fn breaks(&mut self, percent: u32) -> bool {
        let breaks = self.faults > 0 && self.dice.chance(percent);
        self.faults -= u32::from(breaks);
        breaks
    }

    fn version(&self) -> (usize, Duration, usize) {
        let now = self.started.elapsed();
        let past = self.versions.iter().enumerate();
        let (number, (since, length)) = past
            .take_while(|(_, (since, _))| *since <= now)
            .last()
            .expect("a first version");
        (number, *since, *length)
    }

    fn validators(&self) -> Vec<(header::HeaderName, String)> {
        let (version, since, _) = self.version();
        // A server that lies has one tag for all.
        let version = if self.habits.lies { 0 } else { version };
        let date = |offset: Duration| {
            // The first version was there for a while, or is new.
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH) + offset;
            httpdate::fmt_http_date(at)
        };
        match self.habits.validator {
            Validator::Strong => vec![(header::ETAG, format!("\"v{version}\""))],
            Validator::Weak => vec![(header::ETAG, format!("W/\"v{version}\""))],
            Validator::Date => vec![
                (header::LAST_MODIFIED, date(since)),
                (header::DATE, date(self.started.elapsed())),
            ],
            Validator::None => vec![],
        }
    }

    /// Whether the condition of a range holds (RFC 9110, section 13.1.5).
    fn is_same(&self, if_range: Option<&HeaderValue>) -> bool {
        let Some(asked) = if_range else {
            return true;
        };
        let validators = self.validators();
        match self.habits.validator {
            Validator::Strong => validators[0].1.as_bytes() == asked.as_bytes(),
            Validator::Date => {
                validators[0].1.as_bytes() == asked.as_bytes() && validators[0] != validators[1]
            }
            Validator::Weak | Validator::None => false,
        }
    }

    fn answer(&mut self, head: &HeaderMap) -> Response<CutBody> {
        if self.breaks(self.habits.fails) {
            self.see("failed heads");
            let mut response = Response::new(CutBody::empty());
            *response.status_mut() = self.dice.pick(&[
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::NOT_FOUND,
            ]);
            return response;
        }
        let (version, _, length) = self.version();
        let mut bytes = content(version, length);
        let mut response = Response::builder().header("x-answer", self.answers.len());
        for (name, value) in self.validators() {
            response = response.header(name, value);
        }
        if self.habits.says_none {
            response = response.header(header::ACCEPT_RANGES, "none");
        }
        if self.habits.encodes {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
            response = response.header(header::CONTENT_ENCODING, "gzip");
        }
        let range = head
            .get(header::RANGE)
            .and_then(|range| range.to_str().ok());
        let obeys = range.is_some()
            && self.dice.chance(self.habits.ranges)
            && self.is_same(head.get(header::IF_RANGE));
        match range.filter(|_| obeys).map(|range| wanted(range, length)) {
            Some(Some((first, end))) => {
                let first = first - first % self.habits.block;
                let most = self.habits.part.unwrap_or(usize::MAX);
                // A part that begins earlier has at least the byte that was asked for.
                let end = end.min(first.saturating_add(most.max(self.habits.block)));
                let total = if self.habits.hides_total {
                    "*".to_owned()
                } else {
                    length.to_string()
                };
                self.see("parts");
                response = response.status(StatusCode::PARTIAL_CONTENT).header(
                    header::CONTENT_RANGE,
                    format!("bytes {first}-{}/{total}", end - 1),
                );
                bytes = bytes[first..end].to_vec();
            }
            Some(None) => {
                self.see("ranges beyond the end");
                response = response
                    .status(StatusCode::RANGE_NOT_SATISFIABLE)
                    .header(header::CONTENT_RANGE, format!("bytes */{length}"));
                bytes.clear();
            }
            None if range.is_some() => self.see("the whole in place of a part"),
            None => {}
        }
        if self.habits.has_length {
            response = response.header(header::CONTENT_LENGTH, bytes.len());
        }
        let body = self.body(bytes.into());
        response.body(body).expect("a response")
    }

    /// A body that is cut where the dice say so.
    fn body(&mut self, bytes: Bytes) -> CutBody {
        let mut end = End::Whole;
        let mut left = bytes.clone();
        if self.breaks(self.habits.breaks) {
            let at = self.dice.size(0..=bytes.len());
            left.truncate(at);
            end = match self.dice.size(0..=2) {
                0 => End::Stall,
                // Without a length, an early end is seen by the framing.
                1 if self.habits.has_length && at < bytes.len() => End::Short,
                _ => End::Fail(self.answers.len()),
            };
            self.see(match end {
                End::Stall => "stalls",
                End::Short => "early ends",
                End::Fail(_) | End::Whole => "failed bodies",
            });
        }
        self.answers.push(Answer {
            bytes,
            failed: matches!(end, End::Fail(_)),
        });
        CutBody {
            left,
            chunk: self.dice.size(1..=400),
            pause: self.dice.maybe(30, |dice| dice.ms(1..=300)),
            sleep: None,
            end,
        }
    }
}

/// What a range asks for of a file of this length: its first byte, and the one behind its last.
fn wanted(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, length.min(last + 1)),
        (Ok(first), Err(_)) => (first, length),
        (Err(_), Ok(suffix)) => (length.saturating_sub(suffix), length),
        (Err(_), Err(_)) => return None,
    };
    (first < end).then_some((first, end))
}

impl Service<Request<Empty<Bytes>>> for Server {
    type Response = Response<CutBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let server = self.clone();
        let takes = self.world().dice.ms(0..=40);
        Box::pin(async move {
            sleep(takes).await;
            let mut world = server.world();
            let fails = world.habits.fails;
            if world.breaks(fails / 2) {
                world.see("failed connections");
                return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
            }
            Ok(world.answer(request.headers()))
        })
    }
}

enum End {
    Whole,
    Short,
    Stall,
    /// With the number of the answer.
    Fail(usize),
}

/// A body on its way, to its end or to where it is cut.
struct CutBody {
    left: Bytes,
    chunk: usize,
    pause: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    end: End,
}

impl CutBody {
    fn empty() -> Self {
        Self {
            left: Bytes::new(),
            chunk: 1,
            pause: None,
            sleep: None,
            end: End::Whole,
        }
    }
}

impl Body for CutBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(pause) = self.pause {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(pause)));
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        if !self.left.is_empty() {
            let chunk = self.chunk.min(self.left.len());
            return Poll::Ready(Some(Ok(Frame::data(self.left.split_to(chunk)))));
        }
        match self.end {
            End::Whole | End::Short => Poll::Ready(None),
            End::Stall => Poll::Pending,
            End::Fail(answer) => Poll::Ready(Some(Err(io::Error::other(answer.to_string())))),
        }
    }
}

// --- the run ---

/// What a seed stands for besides.
struct Plan {
    layer: ResumeLayer<RetryPolicy>,
    policy: RetryPolicy,
    has_retries: bool,
    deadline: Option<Duration>,
    range: Option<String>,
    /// Nothing that could not be continued happens: then it has to arrive.
    must_arrive: bool,
}

fn plan(dice: &mut Dice, lies: bool) -> (Plan, Habits, Vec<(Duration, usize)>, u32) {
    // Every third run has everything that a download needs.
    let good = lies || dice.chance(33);
    let rarely = |dice: &mut Dice| !good && dice.chance(15);
    let habits = Habits {
        validator: match dice.weighted(&[6, 1, 3, 1]) {
            _ if good => Validator::Strong,
            0 => Validator::Strong,
            1 => Validator::Weak,
            2 => Validator::Date,
            _ => Validator::None,
        },
        ranges: if good {
            100
        } else {
            dice.pick(&[0, 50, 100, 100])
        },
        says_none: rarely(dice),
        has_length: !rarely(dice),
        encodes: rarely(dice),
        hides_total: dice.chance(20),
        part: dice.maybe(30, |dice| dice.size(if good { 100 } else { 1 }..=900)),
        block: dice.pick(&[1, 1, 1, 64, 256]),
        breaks: dice.pick(&[20, 60, 95]),
        fails: if good && !lies {
            0
        } else {
            dice.pick(&[0, 10, 30])
        },
        lies,
    };
    let mut versions = vec![(Duration::ZERO, dice.size(0..=4000))];
    while lies && versions.len() < 3 || !good && dice.chance(30) {
        let (last, length) = versions[versions.len() - 1];
        // Often of the same length, and sometimes within the same second.
        let length = if lies || dice.chance(50) {
            length
        } else {
            dice.size(0..=4000)
        };
        versions.push((last + dice.ms(1..=3000), length));
    }
    let faults = dice.number(0..=12) as u32;
    let reads = if good { 100 } else { dice.number(0..=6) as u32 };
    let policy = RetryPolicy::builder()
        .total(reads)
        .budget(None)
        .backoff(Backoff::constant(dice.ms(0..=500)));
    let policy = policy.build().expect("valid");
    let deadline = dice.maybe(if good { 0 } else { 30 }, |dice| dice.ms(1..=20_000));
    let mut layer = ResumeLayer::new(policy.clone())
        .idle_timeout(dice.ms(400..=5000))
        .reset_after(dice.number(1..=2000));
    if let Some(deadline) = deadline {
        layer = layer.deadline(deadline);
    }
    let range = dice.maybe(25, |dice| {
        let (a, b) = (dice.size(0..=3000), dice.size(0..=3000));
        match dice.size(0..=2) {
            0 => format!("bytes={}-{}", a.min(b), a.max(b)),
            1 => format!("bytes={a}-"),
            _ => format!("bytes=-{a}"),
        }
    });
    let plan = Plan {
        layer,
        policy,
        has_retries: dice.chance(50),
        deadline,
        range,
        must_arrive: good && !lies,
    };
    (plan, habits, versions, faults)
}

/// Runs one seed. Returns what is wrong with it.
async fn run(
    seed: u64,
    lies: bool,
    seen: &Mutex<BTreeMap<&'static str, u64>>,
) -> Result<(), String> {
    let mut dice = Dice::with_seed(seed);
    let (plan, habits, versions, faults) = plan(&mut dice, lies);
    let started = Instant::now();
    let server = Server(Arc::new(Mutex::new(World {
        dice,
        habits,
        started,
        versions,
        answers: Vec::new(),
        faults,
        seen: BTreeMap::new(),
    })));
    // A file that is dated now has no strong validator yet.
    if seed % 2 == 0 {
        tokio::time::advance(5 * SECOND).await;
    }
    let asked = Instant::now();
    let client: Client = if plan.has_retries {
        let retries = RetryLayer::new(plan.policy.clone()).layer(server.clone());
        BoxCloneService::new(retries.map_err(Into::into))
    } else {
        BoxCloneService::new(server.clone())
    };
    let mut request = Request::get("http://files.test/big");
    if let Some(range) = &plan.range {
        request = request.header(header::RANGE, range);
    }
    let request = request.body(Empty::new()).expect("a request");
    let answer = plan.layer.layer(client).oneshot(request).await;
    // The layers below wait for the head.
    let head = asked.elapsed();
    let result = match answer {
        Ok(response) => read(response, &server).await,
        Err(_) => Ok("no response"),
    };
    let mut world = server.world();
    let result = result.and_then(|end| {
        world.see(end);
        let took = asked.elapsed();
        let late = plan.deadline.is_some_and(|deadline| {
            end == "its deadline" && took > deadline.max(head) + Duration::from_millis(1)
        });
        if late {
            return Err(format!("{took:?} is too late"));
        }
        if plan.must_arrive && end != "whole" && end != "not a download" {
            return Err(format!("could have arrived, and ended with {end}"));
        }
        Ok(())
    });
    let mut all = seen.lock().expect("no panic");
    for (what, count) in &world.seen {
        *all.entry(what).or_default() += count;
    }
    result
}

/// Reads a response to its end, and says how it ended, or what is wrong with it.
async fn read<B>(response: Response<B>, server: &Server) -> Result<&'static str, String>
where
    B: Body<Data = Bytes, Error = tower_http_retry::resume::ResumeError>,
{
    let Some(number) = response.headers().get("x-answer") else {
        return Ok("not a download");
    };
    let number: usize = number
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .expect("its own");
    let is_download = response.status().is_success();
    let mut body = pin!(response.into_body());
    let mut got = Vec::new();
    let end = loop {
        match body.frame().await {
            None => break None,
            Some(Err(error)) => break Some(error),
            Some(Ok(frame)) => got.extend(frame.into_data().unwrap_or_default()),
        }
    };
    let world = server.world();
    let expected = &world.answers[number].bytes;
    if !expected.starts_with(&got) {
        let at = expected.iter().zip(&got).position(|(a, b)| a != b);
        return Err(format!("other bytes, from {at:?} on, of {}", got.len()));
    }
    let Some(error) = end else {
        if got.len() != expected.len() {
            return Err(format!(
                "ended well after {} of {}",
                got.len(),
                expected.len()
            ));
        }
        return Ok(if is_download {
            "whole"
        } else {
            "not a download"
        });
    };
    if std::env::var_os("DOWNLOAD_SEED").is_some() {
        println!("{error}\n{}", error.report());
    }
    if !is_download {
        return Ok("not a download");
    }
    // The original error: that of the body which broke last.
    let failed = error.downcast_inner::<io::Error>().map(ToString::to_string);
    match (error.kind(), failed) {
        (ResumeErrorKind::Failed, Some(answer)) => {
            let answer = answer
                .parse::<usize>()
                .map_err(|_| format!("not the body's: {answer}"))?;
            let last = world.answers.iter().enumerate().take(answer + 1);
            if !last.last().is_some_and(|(_, answer)| answer.failed) {
                return Err(format!("no body failed as {answer} did"));
            }
            Ok("an error")
        }
        (ResumeErrorKind::Short | ResumeErrorKind::Idle { .. }, None) => Ok("an early end"),
        (ResumeErrorKind::Deadline { .. }, None) => Ok("its deadline"),
        (kind, source) => Err(format!("{kind:?} with {source:?}")),
    }
}

fn simulate(
    seed: u64,
    lies: bool,
    seen: &Mutex<BTreeMap<&'static str, u64>>,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let mut runtime = runtime;
    let runtime = runtime.enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    fastrand::seed(seed);
    runtime.block_on(async {
        let all = tokio::time::timeout(3600 * SECOND, run(seed, lies, seen));
        all.await
            .unwrap_or_else(|_| Err("it never ends".to_owned()))
    })
}

/// What must happen among the seeds, or nothing is shown by them.
const EXPECTED: [&str; 12] = [
    "an early end",
    "an error",
    "early ends",
    "failed bodies",
    "failed connections",
    "failed heads",
    "its deadline",
    "parts",
    "ranges beyond the end",
    "stalls",
    "the whole in place of a part",
    "whole",
];

#[test]
fn a_download_is_exact_or_ends_with_the_original_error_however_it_is_cut() {
    let seen = Mutex::new(BTreeMap::new());
    if let Some(seed) = number("DOWNLOAD_SEED") {
        let result = simulate(seed, false, &seen);
        println!("{:?}", seen.into_inner());
        assert_eq!(result, Ok(()), "seed {seed}");
        return;
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS).max(SEEDS);
    let failed = Mutex::new(BTreeMap::new());
    for_each_seed(seeds, |seed| {
        let result = simulate(seed, false, &seen);
        let mut failed = failed.lock().expect("no panic");
        if let Err(why) = result {
            failed.insert(seed, why);
        }
        failed.len() < 5
    });
    let seen = seen.into_inner().expect("no panic");
    println!("{seeds} downloads: {seen:#?}");
    let failed = failed.into_inner().expect("no panic");
    assert!(
        failed.is_empty(),
        "to be replayed with DOWNLOAD_SEED: {failed:#?}"
    );
    let missing = |what: &&&str| !seen.contains_key(**what);
    let missing: Vec<_> = EXPECTED.iter().filter(missing).collect();
    assert!(
        missing.is_empty(),
        "in {seeds} seeds there was no {missing:?}"
    );
}

#[test]
fn a_server_that_changes_a_file_under_the_same_etag_is_noticed_by_the_check() {
    let seen = Mutex::new(BTreeMap::new());
    let wrong = (0..300)
        .filter(|seed| simulate(*seed, true, &seen).is_err())
        .count();
    assert!(wrong > 0, "the check finds nothing");
}
