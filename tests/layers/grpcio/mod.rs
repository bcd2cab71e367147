//! The gRPC policy against grpcio, gRPC's own client: the same server, the same service config, the
//! same calls. Both must send the same attempts, tell the same numbers of them, and end with the same
//! code.
//!
//! `GRPC_PYTHON` is a Python that has grpcio 1.70 (1.85 loses a retry that is due within a
//! millisecond or so, and with it the call); without it nothing is compared, and that is said.
//! `GRPC_CASES` is the number of random cases, `GRPC_SEED` the first of their seeds.
//!
//! # What is different, and left out
//!
//! | rule | gRFC A6, and what this crate does | grpcio |
//! | --- | --- | --- |
//! | a method without a policy | its successes pay into the throttling ("regardless of service or method invoked") | they do not |
//! | REFUSED_STREAM | is sent again once outside of the counts ("transparent retries") | is counted |
//! | a pushback that cannot be read | says never, and the call keeps its code | the call is UNKNOWN, and so are others of the connection |
//! | a pushback that says never, to a code that is not listed | is a failure to the throttling | is none |

mod script;
mod server;

use std::{
    collections::HashMap,
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use script::{Case, NAMES, Step};
use serde_json::{Value, json};
use server::Server;
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt};
use tower_http_retry::{
    AttemptOutcome, RetryError, RetryLayer,
    body::PeekedBody,
    config::import,
    grpc::{GrpcCode, GrpcLayer},
    policy::GrpcPolicies,
    reason::Cause,
};

/// So many cases run at a time.
const WORKERS: usize = 16;

type Hyper = Client<HttpConnector, Full<Bytes>>;

/// How each call of each case ended.
type Codes = HashMap<usize, Vec<String>>;

fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text}")),
        Err(_) => default,
    }
}

/// Whether the two are known to do different things with a case.
fn differs_by_rule(case: &Case) -> bool {
    // A pushback that says never, to a code that may not be listed, under a throttle.
    let throttled = case.config.get("retryThrottling").is_some();
    let mut steps = case.calls.iter().flat_map(|call| &call.steps);
    throttled
        && steps.any(|step| {
            matches!(step, Step::Fail { pushback: Some(value), .. }
                if value.starts_with('-'))
        })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcio_sends_the_same_attempts_and_ends_with_the_same_codes() {
    let Ok(python) = env::var("GRPC_PYTHON") else {
        println!("SKIPPED: GRPC_PYTHON names no Python that has grpcio");
        return;
    };
    let (cases, seed) = (number("GRPC_CASES", 200), number("GRPC_SEED", 1));
    let cases: Vec<_> = (0..usize::try_from(cases).expect("a number"))
        .map(|id| Case::random(id, &mut fastrand::Rng::with_seed(seed + id as u64)))
        .collect();
    let cases = Arc::new(cases);
    let (server, port) = Server::start(Arc::clone(&cases)).await;
    let of_grpcio = Arc::clone(&cases);
    let theirs = tokio::task::spawn_blocking(move || grpcio(&python, &of_grpcio, port));
    let theirs = theirs.await.expect("no panic");
    let ours = ours(&cases, port).await;

    let (mut compared, mut attempts, mut left_out) = (0, 0, 0);
    for case in &*cases {
        if differs_by_rule(case) {
            left_out += 1;
            continue;
        }
        for call in 0..case.calls.len() {
            let seen = |by| server.attempts(by, case.id, call);
            let context = || format!("seed {}, call {call}: {case:#?}", seed + case.id as u64);
            assert_eq!(seen("ours"), seen("grpcio"), "attempts, {}", context());
            let (our, their) = (&ours[&case.id][call], &theirs[&case.id][call]);
            assert_eq!(our, their, "code, {}", context());
            compared += 1;
            attempts += seen("ours").len();
        }
    }
    println!("{compared} calls with {attempts} attempts are alike; {left_out} cases by rule");
    assert!(compared > cases.len() / 2, "too few were compared");
}

/// A message as gRPC has it on the wire: not compressed, with its length before it.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("short");
    [&[0], &length.to_be_bytes()[..], message].concat().into()
}

/// Runs the cases through grpcio.
fn grpcio(python: &str, cases: &[Case], port: u16) -> Codes {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/layers/grpcio/client.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("GRPC_PYTHON is a Python");
    let mut stdin = child.stdin.take().expect("piped");
    let stdout = child.stdout.take().expect("piped");
    let mut text = String::new();
    for case in cases {
        // A name of its own for the server: the throttling goes by it.
        let [.., high, low] = u32::try_from(case.id).expect("few").to_be_bytes();
        let line = json!({
            "id": case.id,
            "target": format!("ipv4:127.1.{high}.{low}:{port}"),
            "config": case.config.to_string(),
            "calls": case.calls.iter().map(|call| &call.path).collect::<Vec<_>>(),
        });
        text += &format!("{line}\n");
    }
    let writing = thread::spawn(move || stdin.write_all(text.as_bytes()));
    let mut codes = Codes::new();
    for line in BufReader::new(stdout).lines() {
        let answer: Value = serde_json::from_str(&line.expect("a text")).expect("JSON");
        let id = answer["id"].as_u64().expect("a number");
        let of_case = serde_json::from_value(answer["codes"].clone()).expect("codes");
        codes.insert(usize::try_from(id).expect("a number"), of_case);
    }
    assert!(writing.join().expect("no panic").is_ok(), "it reads all");
    assert!(child.wait().expect("ended").success());
    assert_eq!(codes.len(), cases.len());
    codes
}

/// Runs the cases through this crate.
async fn ours(cases: &Arc<Vec<Case>>, port: u16) -> Codes {
    let hyper: Hyper = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (cases, hyper) = (Arc::clone(cases), hyper.clone());
        workers.spawn(async move {
            let mut codes = Codes::new();
            for case in cases.iter().skip(worker).step_by(WORKERS) {
                codes.insert(case.id, our_case(case, hyper.clone(), port).await);
            }
            codes
        });
    }
    workers.join_all().await.into_iter().flatten().collect()
}

async fn our_case(case: &Case, hyper: Hyper, port: u16) -> Vec<String> {
    let methods = import::grpc(&case.config).expect("grpcio takes it, too");
    let policies = GrpcPolicies::try_from(methods).expect("each name once");
    let layer = RetryLayer::new(policies).grpc_headers();
    let mut client = layer.layer(GrpcLayer::new().commit_on_head().layer(hyper));
    let mut codes = Vec::new();
    for (at, call) in case.calls.iter().enumerate() {
        let request = Request::post(format!("http://127.0.0.1:{port}{}", call.path))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("case-by", "ours")
            .header("case-call", at)
            .body(Full::new(framed(b"ping")))
            .expect("valid");
        let result = client.ready().await.expect("ready").call(request).await;
        let code = match result {
            Ok(response) => code_of(response).await,
            Err(error) => code_of_error(&error),
        };
        codes.push(NAMES[usize::from(code.number())].to_owned());
    }
    codes
}

/// The code that a gRPC client's caller gets of a response.
async fn code_of(response: Response<PeekedBody<hyper::body::Incoming>>) -> GrpcCode {
    let (head, body) = response.into_parts();
    let code = |fields: &http::HeaderMap| {
        let text = fields.get("grpc-status")?.to_str().ok()?;
        Some(GrpcCode::from_number(text.parse().unwrap_or(-1)))
    };
    if let Some(code) = code(&head.headers) {
        return code;
    }
    if head.status != 200 {
        return match head.status.as_u16() {
            400 => GrpcCode::Internal,
            401 => GrpcCode::Unauthenticated,
            403 => GrpcCode::PermissionDenied,
            404 => GrpcCode::Unimplemented,
            429 | 502..=504 => GrpcCode::Unavailable,
            _ => GrpcCode::Unknown,
        };
    }
    let body = body.collect().await.expect("a whole body");
    body.trailers().and_then(code).unwrap_or(GrpcCode::Unknown)
}

/// And of a stream that was reset ("gRPC over HTTP2", "Errors").
fn code_of_error(error: &RetryError) -> GrpcCode {
    let last = error.report().attempts.last().expect("an attempt");
    let AttemptOutcome::Failed { cause, .. } = &last.outcome else {
        panic!("{}", error.report())
    };
    match cause {
        Cause::RefusedStream => GrpcCode::Unavailable,
        Cause::EnhanceYourCalm => GrpcCode::ResourceExhausted,
        Cause::Http2(8) => GrpcCode::Cancelled,
        Cause::Http2(12) => GrpcCode::PermissionDenied,
        Cause::Http2(_) => GrpcCode::Internal,
        other => panic!("{other}: {}", error.report()),
    }
}
