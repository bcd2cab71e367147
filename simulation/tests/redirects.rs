//! Redirects that are followed above the retries, with hedges and endpoints below them: whatever the
//! servers answer, nothing is applied twice that must not be, one set of limits and one budget bound
//! hops, retries and hedges together, nobody sees what is not theirs, and every request ends.
//!
//! All in one process and in simulated time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};
use tower_http_retry::{
    BoxError, RetryError, RetryLayer, RetryReport,
    budget::RetryBudget,
    classify::{FailureKind, Opinion, Sent},
    endpoints::EndpointsLayer,
    hedge::{HedgeInfo, HedgeLayer},
    policy::{Backoff, Methods, Note, RetryPolicy, WaitReason},
    redirect::RedirectLayer,
    stack::{LayerError, LayerOutcome},
};

use crate::{dice::Dice, for_each_seed, number};

/// The seeds of a plain `cargo test`.
const SEEDS: u64 = 3_000;
/// The resolution of the runtime's timers.
const TIMER: Duration = Duration::from_millis(2);
const START: &str = "https://a.test/0";
const ENDPOINTS: [&str; 2] = ["https://a1.test", "https://a2.test"];
const CONTENT: &str = "what is sent";
const CAPACITY: u32 = 2;

/// What a server does with an arrival.
#[derive(Clone, Debug)]
enum Reply {
    Status(u16),
    Redirect {
        status: u16,
        to: &'static str,
        wait: Option<u64>,
        cookie: bool,
    },
    /// Nothing is sent.
    Refused,
    /// No answer comes, whether it is applied or not.
    Lost {
        applied: bool,
    },
}

#[derive(Clone, Debug)]
struct Scenario {
    method: Method,
    replies: Vec<(Duration, Reply)>,
    total: u32,
    redirect: Option<u32>,
    deadline: Duration,
    hedges: Option<Duration>,
    endpoints: bool,
}

/// Defects, each of which must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sabotage {
    NoDeadline,
    RepeatsEverything,
    OneTooMany,
    TellsSecrets,
    Downgrades,
    KeepsBodies,
    ForgetsAttempts,
    WastesBudget,
    SendsAfterTheEnd,
    ComesBackEarly,
    GoesInCircles,
}

impl Sabotage {
    const ALL: [(Self, Invariant); 11] = [
        (Self::NoDeadline, Invariant::EndsInTime),
        (Self::RepeatsEverything, Invariant::AtMostOnce),
        (Self::OneTooMany, Invariant::Counts),
        (Self::TellsSecrets, Invariant::Secrets),
        (Self::Downgrades, Invariant::NoDowngrade),
        (Self::KeepsBodies, Invariant::Bodies),
        (Self::ForgetsAttempts, Invariant::Reports),
        (Self::WastesBudget, Invariant::Budget),
        (Self::SendsAfterTheEnd, Invariant::NothingAfterTheEnd),
        (Self::ComesBackEarly, Invariant::Waits),
        (Self::GoesInCircles, Invariant::NoCircles),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Invariant {
    /// The request ends within its deadline.
    EndsInTime,
    /// A POST is applied once at most.
    AtMostOnce,
    /// Hops and retries together stay within `total`, hops within `redirect`.
    Counts,
    /// Credentials go to the service's own servers only, and stay away once they were left.
    Secrets,
    /// What began with `https` stays there.
    NoDowngrade,
    /// The body is sent whole, or not at all once a redirect has dropped it.
    Bodies,
    /// The report has every attempt, hop and hedge, and its bound of effects holds.
    Reports,
    /// The budget paid for each retry and each hedge, and not for hops.
    Budget,
    NothingAfterTheEnd,
    /// Nobody comes back before a redirect says.
    Waits,
    /// No hop leads to where the request was.
    NoCircles,
}

impl Scenario {
    fn of(seed: u64) -> Self {
        let mut dice = Dice::with_seed(seed);
        let dice = &mut dice;
        let replies = dice.number(0..=7);
        Self {
            method: dice.pick(&[Method::GET, Method::PUT, Method::POST, Method::POST]),
            replies: (0..replies)
                .map(|_| (dice.ms(0..=80), reply(dice)))
                .collect(),
            total: dice.pick(&[0, 1, 2, 3, 5]),
            redirect: dice.maybe(30, |dice| dice.pick(&[0, 1, 2])),
            deadline: dice.ms(50..=6000),
            hedges: dice.maybe(50, |dice| dice.ms(5..=60)),
            endpoints: dice.chance(50),
        }
    }
}

fn reply(dice: &mut Dice) -> Reply {
    match dice.weighted(&[2, 4, 10, 2, 3]) {
        0 => Reply::Status(dice.pick(&[200, 404])),
        1 => Reply::Status(dice.pick(&[500, 503, 429])),
        2 => Reply::Redirect {
            status: dice.pick(&[301, 302, 303, 307, 307, 308]),
            to: dice.pick(&[
                "/1",
                "2?x=1",
                "/0",
                "https://a.test/3",
                "https://b.test/4",
                "https://b.test/5",
                "//a.test/6#part",
                "http://a.test/7",
                "https://a.test:444/8",
            ]),
            wait: dice.maybe(15, |dice| dice.number(1..=2)),
            cookie: dice.chance(15),
        },
        3 => Reply::Refused,
        _ => Reply::Lost {
            applied: dice.chance(60),
        },
    }
}

/// What arrived.
#[derive(Clone, Debug)]
struct Arrival {
    at: Duration,
    method: Method,
    uri: Uri,
    secret: bool,
    body: Bytes,
    is_hedge: bool,
    reply: Reply,
    applied: bool,
}

struct Run {
    arrivals: Vec<Arrival>,
    ended: Option<(Duration, usize)>,
    status: Option<u16>,
    report: Option<RetryReport>,
    paid: u64,
}

type Client = BoxCloneService<Request<Full<Bytes>>, Response<Full<Bytes>>, RetryError>;
type Log = Arc<Mutex<Vec<Arrival>>>;

fn lost() -> BoxError {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
}

/// Answers as the scenario says.
fn servers(
    scenario: &Scenario,
    log: &Log,
    begin: Instant,
) -> BoxCloneService<Request<Full<Bytes>>, Response<Full<Bytes>>, BoxError> {
    let (replies, log) = (scenario.replies.clone(), Arc::clone(log));
    BoxCloneService::new(service_fn(move |request: Request<Full<Bytes>>| {
        let (head, body) = request.into_parts();
        let mut all = log.lock().expect("no panic");
        let well = (Duration::ZERO, Reply::Status(200));
        let (takes, reply) = replies.get(all.len()).cloned().unwrap_or(well);
        let applied = match reply {
            Reply::Status(status) => status == 200 || status == 500,
            Reply::Lost { applied } => applied,
            Reply::Redirect { .. } | Reply::Refused => false,
        };
        let index = all.len();
        all.push(Arrival {
            at: begin.elapsed(),
            secret: head.headers.contains_key(header::AUTHORIZATION),
            is_hedge: head.extensions.get::<HedgeInfo>().is_some(),
            method: head.method,
            uri: head.uri,
            body: Bytes::new(),
            reply: reply.clone(),
            applied,
        });
        drop(all);
        let log = Arc::clone(&log);
        async move {
            let body = body.collect().await.map_err(BoxError::from)?.to_bytes();
            log.lock().expect("no panic")[index].body = body;
            sleep(takes).await;
            let mut response = Response::new(Full::default());
            match reply {
                Reply::Status(status) => {
                    *response.status_mut() = StatusCode::from_u16(status)?;
                }
                Reply::Redirect {
                    status,
                    to,
                    wait,
                    cookie,
                } => {
                    *response.status_mut() = StatusCode::from_u16(status)?;
                    let headers = response.headers_mut();
                    headers.insert(header::LOCATION, HeaderValue::from_static(to));
                    if let Some(wait) = wait {
                        headers.insert(header::RETRY_AFTER, wait.into());
                    }
                    if cookie {
                        headers.insert(header::SET_COOKIE, HeaderValue::from_static("a=b"));
                    }
                }
                Reply::Refused => {
                    let mut outcome = LayerOutcome::new("refuses");
                    outcome.opinion = Opinion::Retry("refused".into());
                    outcome.sent = Some(Sent::Never);
                    return Err(LayerError::new(outcome).into());
                }
                Reply::Lost { .. } => return Err(lost()),
            }
            Ok(response)
        }
    }))
}

fn client(
    scenario: &Scenario,
    log: &Log,
    begin: Instant,
    budget: &RetryBudget,
    sabotage: Option<Sabotage>,
) -> Result<Client, BoxError> {
    let is = |defect| sabotage == Some(defect);
    let mut policy = RetryPolicy::builder()
        .total(scenario.total + 3 * u32::from(is(Sabotage::OneTooMany)))
        .redirect(scenario.redirect)
        .backoff(Backoff::constant(Duration::from_millis(10)))
        .retry_after_jitter(0.0)
        .respect_retry_after_header(!is(Sabotage::ComesBackEarly))
        .budget(budget.clone());
    if is(Sabotage::RepeatsEverything) {
        policy = policy.allowed_methods(Methods::any());
    }
    let policy = policy.build()?;
    let mut redirects = RedirectLayer::new(&policy);
    if !is(Sabotage::NoDeadline) {
        redirects = redirects.deadline(scenario.deadline);
    }
    let mut below = servers(scenario, log, begin);
    if scenario.endpoints {
        let endpoints = EndpointsLayer::ordered("https://a.test", ENDPOINTS)?;
        below = BoxCloneService::new(endpoints.layer(below));
    }
    if let Some(delay) = scenario.hedges {
        let hedges = HedgeLayer::builder(&policy).fixed_delay(delay).elsewhere();
        below = BoxCloneService::new(hedges.build()?.layer(below));
    }
    let spoil = move |mut request: Request<Full<Bytes>>| {
        match sabotage {
            Some(Sabotage::TellsSecrets) => {
                let secret = HeaderValue::from_static("secret");
                request.headers_mut().insert(header::AUTHORIZATION, secret);
            }
            Some(Sabotage::KeepsBodies) => *request.body_mut() = Full::from(CONTENT),
            Some(Sabotage::Downgrades) if request.uri().path() != "/0" => {
                let plain = request.uri().to_string().replace("https", "http");
                *request.uri_mut() = plain.parse().expect("a URI");
            }
            _ => {}
        }
        request
    };
    let forgets = move |mut response: Response<Full<Bytes>>| {
        if sabotage == Some(Sabotage::GoesInCircles) && response.status().is_redirection() {
            let cookie = HeaderValue::from_static("a=b");
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    };
    let retries = RetryLayer::new(policy).layer(below);
    let spoiled = ServiceBuilder::new()
        .map_request(spoil)
        .map_response(forgets)
        .service(retries);
    Ok(BoxCloneService::new(redirects.layer(spoiled)))
}

async fn run(scenario: &Scenario, sabotage: Option<Sabotage>) -> Run {
    let (log, begin) = (Log::default(), Instant::now());
    let budget = RetryBudget::builder()
        .capacity(CAPACITY)
        .min_per_second(0)
        .ratio(0.001);
    let budget = budget.build().expect("valid");
    let client = client(scenario, &log, begin, &budget, sabotage).expect("valid");
    let request = || {
        let request = Request::builder()
            .method(scenario.method.clone())
            .uri(START)
            .header(header::AUTHORIZATION, "secret");
        let body = match scenario.method {
            Method::GET => Full::default(),
            _ => Full::from(CONTENT),
        };
        request.body(body).expect("a request")
    };
    let sent = client.clone().oneshot(request());
    let result = timeout(Duration::from_secs(60), sent).await.ok();
    let at_end = log.lock().expect("no panic").len();
    let ended = result.is_some().then(|| (begin.elapsed(), at_end));
    if sabotage == Some(Sabotage::SendsAfterTheEnd) {
        drop(client.clone().oneshot(request()).await);
    }
    if sabotage == Some(Sabotage::WastesBudget) {
        let slot = budget.slot(&Uri::from_static(START));
        let now = Instant::now().into_std();
        let _ = budget.withdraw(slot, FailureKind::Read, false, now);
    }
    sleep(Duration::from_secs(5)).await;
    let (status, mut report) = match &result {
        Some(Ok(response)) => {
            let report = response.extensions().get().cloned();
            (Some(response.status().as_u16()), report)
        }
        Some(Err(error)) => (None, Some(error.report().clone())),
        None => (None, None),
    };
    if let (Some(Sabotage::ForgetsAttempts), Some(report)) = (sabotage, &mut report) {
        report.attempts.pop();
    }
    let stats = budget.stats(Instant::now().into_std());
    let arrivals = log.lock().expect("no panic").clone();
    Run {
        arrivals,
        ended,
        status,
        report,
        paid: stats.granted - stats.refunded,
    }
}

/// What is wrong with a run, from what the servers saw.
fn check(scenario: &Scenario, run: &Run) -> Vec<(Invariant, String)> {
    let mut found = Vec::new();
    let mut that = |invariant, holds: bool, what: String| {
        if !holds {
            found.push((invariant, what));
        }
    };
    let Some((took, until)) = run.ended else {
        return vec![(Invariant::EndsInTime, "it never ends".into())];
    };
    that(
        Invariant::EndsInTime,
        took <= scenario.deadline + TIMER,
        format!("{took:?} of {:?}", scenario.deadline),
    );
    let late = run.arrivals.len() - until;
    that(
        Invariant::NothingAfterTheEnd,
        late == 0,
        format!("{late} arrivals"),
    );
    let arrivals = &run.arrivals[..until];
    let posts = arrivals
        .iter()
        .filter(|it| it.method == Method::POST && it.applied);
    let posts = posts.count();
    that(Invariant::AtMostOnce, posts <= 1, format!("{posts} times"));

    let sent: Vec<_> = arrivals.iter().filter(|it| !it.is_hedge).collect();
    let hedges = arrivals.len() - sent.len();
    // Nothing is reported of what succeeds at once.
    let attempts = run.report.as_ref().map_or(1, |it| it.attempts.len());
    that(
        Invariant::Reports,
        attempts == sent.len(),
        format!("{attempts} attempts told, {} sent", sent.len()),
    );
    let told = run.report.iter().flat_map(|report| &report.attempts);
    let notes: Vec<_> = told.clone().flat_map(|it| it.layer_notes.iter()).collect();
    let hops = notes
        .iter()
        .filter(|it| matches!(it, Note::Redirected { .. }))
        .count();
    let told_hedges = notes
        .iter()
        .filter(|it| matches!(it, Note::Hedged { .. }))
        .count();
    that(
        Invariant::Reports,
        told_hedges == hedges,
        format!("{told_hedges} hedges told, {hedges} sent"),
    );
    if let Some(report) = &run.report {
        let applied = arrivals.iter().filter(|it| it.applied).count() as u32;
        let effects = report.effects();
        that(
            Invariant::Reports,
            effects.contains(&applied),
            format!("applied {applied} times, told {effects:?}"),
        );
        let good = run.status.is_some_and(|status| status < 300);
        that(
            Invariant::Reports,
            report.stop.is_success() == good,
            format!("{:?} ended with {}", run.status, report.stop),
        );
    }
    let free = told
        .clone()
        .filter_map(|it| it.wait.as_ref())
        .filter(|wait| wait.why == WaitReason::NeverProcessed)
        .count();
    let again = sent.len().saturating_sub(1);
    that(
        Invariant::Counts,
        again - free.min(again) <= scenario.total as usize,
        format!(
            "{again} hops and retries, {free} free, total {}",
            scenario.total
        ),
    );
    let most = scenario.redirect.map_or(20, |most| most as usize);
    that(
        Invariant::Counts,
        hops <= most,
        format!("{hops} hops of {most}"),
    );
    let retries = again.saturating_sub(hops + free);
    that(
        Invariant::Budget,
        run.paid == (retries + hedges) as u64 && run.paid <= 5 * u64::from(CAPACITY) + 1,
        format!("{} paid, {retries} retries and {hedges} hedges", run.paid),
    );

    let (mut left, mut dropped) = (false, scenario.method == Method::GET);
    let mut method = scenario.method.clone();
    let mut been: Vec<(Method, String)> = Vec::new();
    let mut not_before = Duration::ZERO;
    let mut at = START.to_owned();
    for arrival in arrivals {
        let host = arrival.uri.host().unwrap_or_default();
        let port = arrival.uri.port_u16().unwrap_or(443);
        let own = ["a.test", "a1.test", "a2.test"].contains(&host) && port == 443;
        // A hop begins where the method, or the path, is another than before.
        let here = arrival.uri.path_and_query().map_or("", |it| it.as_str());
        let is_hop = !arrival.is_hedge && !at.ends_with(here) || method != arrival.method;
        if is_hop {
            dropped |= method != arrival.method;
        }
        left |= !own;
        let secret = arrival.secret;
        that(
            Invariant::Secrets,
            !(secret && left),
            format!("told to {}", arrival.uri),
        );
        that(
            Invariant::NoDowngrade,
            arrival.uri.scheme_str() == Some("https"),
            format!("sent to {}", arrival.uri),
        );
        let body = if dropped { "" } else { CONTENT };
        that(
            Invariant::Bodies,
            arrival.body == body || arrival.body.is_empty() && body.is_empty(),
            format!(
                "{} with {:?}, dropped: {dropped}",
                arrival.method, arrival.body
            ),
        );
        that(
            Invariant::Waits,
            arrival.at >= not_before,
            format!("at {:?}, asked for {not_before:?}", arrival.at),
        );
        method = arrival.method.clone();
        at = arrival.uri.to_string();
        let key = (
            method.clone(),
            here.to_owned() + if own { "" } else { host },
        );
        if is_hop {
            that(
                Invariant::NoCircles,
                !been.contains(&key),
                format!("{key:?} again after {been:?}"),
            );
        }
        if let Reply::Redirect { wait, cookie, .. } = arrival.reply {
            if wait.is_some() || cookie {
                been.clear();
            } else {
                been.push(key);
            }
        }
        if let (
            Reply::Redirect {
                wait: Some(wait), ..
            },
            false,
        ) = (&arrival.reply, hedges > 0)
        {
            not_before = arrival.at + Duration::from_secs(*wait);
        }
    }
    found
}

fn simulate(seed: u64, sabotage: Option<Sabotage>) -> (Scenario, Run, Vec<(Invariant, String)>) {
    let scenario = Scenario::of(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let run = runtime
        .expect("a runtime")
        .block_on(run(&scenario, sabotage));
    let found = check(&scenario, &run);
    (scenario, run, found)
}

#[test]
fn redirects_keep_every_promise() {
    let seen = Mutex::new(BTreeMap::<String, u64>::new());
    let failed = Mutex::new(Vec::new());
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    for_each_seed(seeds, |seed| {
        let (scenario, run, found) = simulate(seed, None);
        let mut seen = seen.lock().expect("no panic");
        let mut count = |what: String| *seen.entry(what).or_default() += 1;
        let hops = |it: &&Arrival| matches!(it.reply, Reply::Redirect { .. });
        count(format!(
            "{} redirects",
            run.arrivals.iter().filter(hops).count().min(4)
        ));
        if run.arrivals.iter().any(|it| it.is_hedge) {
            let elsewhere = if scenario.endpoints {
                "elsewhere"
            } else {
                "there"
            };
            count(format!("hedged {elsewhere}"));
        }
        if let Some(report) = &run.report {
            count(format!("stop {}", report.stop.name()));
        }
        let mut failed = failed.lock().expect("no panic");
        if !found.is_empty() {
            failed.push(format!(
                "seed {seed}: {found:#?}\n{scenario:?}\n{:#?}",
                run.arrivals
            ));
        }
        failed.len() < 3
    });
    let seen = seen.into_inner().expect("no panic");
    println!("{seen:#?}");
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    for what in [
        "4 redirects",
        "hedged elsewhere",
        "hedged there",
        "stop budget_exhausted",
        "stop count_exhausted",
        "stop deadline_exceeded",
        "stop deadline_too_close",
        "stop method_not_allowed",
        "stop redirect_refused",
        "stop succeeded",
    ] {
        assert!(
            seen.contains_key(what),
            "in {seeds} seeds there was no {what}"
        );
    }
}

#[test]
fn each_promise_of_redirects_can_break() {
    for (sabotage, invariant) in Sabotage::ALL {
        let broken = Mutex::new(false);
        for_each_seed(SEEDS, |seed| {
            let (_, _, found) = simulate(seed, Some(sabotage));
            let mut broken = broken.lock().expect("no panic");
            *broken |= found.iter().any(|(broken, _)| *broken == invariant);
            !*broken
        });
        let broken = broken.into_inner().expect("no panic");
        assert!(broken, "{sabotage:?} goes unnoticed: {invariant:?} holds");
    }
}
