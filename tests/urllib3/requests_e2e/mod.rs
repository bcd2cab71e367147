//! Sends what the real requests library sent, to the same scripted server, and compares what
//! became of it.
//!
//! `tests/urllib3/requests_e2e/data/` holds the server (`e2e.py`, which needs a `python3` and nothing
//! else), the cases, and what requests did with each. The environment variable `REQUESTS_E2E` puts
//! another folder in its place; the server is ours where that has none.
//!
//! A case is a policy, a request and what the server does with each attempt. It goes through
//! `RetryPolicy::urllib3` and hyper-util's client, below tower-http's `FollowRedirect`, since
//! requests follows redirects itself and starts its policy anew at each hop. What the server saw
//! (attempts, methods, bodies, the time between them), the planned waits and the end must be what
//! they were. What differs on purpose is excused by a [`Rule`](crate::harness::Rule); the cases that depend on
//! how a client parses HTTP are marked so, and excused with the reason.

#![cfg(feature = "hyper")]
mod case;
mod client;
mod judge;
mod redirects;
mod server;

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::harness::Verdict;
use crate::tally::{Tally, print};
use case::{Case, Cases};
use client::Client;
use judge::Finding;
use server::Server;

/// Cases that run at once: most of them wait most of the time, but more would be in each other's
/// way.
const AT_ONCE: usize = 8;

/// How often a case is run before its times count: on a busy machine they are anything.
const TRIES: usize = 6;

/// Where the server and the cases are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/urllib3/requests_e2e/data");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn does_what_requests_does() {
    let folder = env::var_os("REQUESTS_E2E").map_or_else(|| FOLDER.into(), PathBuf::from);
    run("requests_e2e", &folder).await;
}

/// Cases of this crate's own: redirects of every kind, numbers in place of policies, and what else
/// the others leave out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn does_what_requests_does_in_further_cases() {
    run("requests_e2e (more)", &Path::new(FOLDER).join("more")).await;
}

async fn run(name: &str, folder: &Path) {
    let skipped = |why: &str| print(&format!("{name}: SKIPPED: {why}\n"));
    // Packages come without them.
    if folder.starts_with(FOLDER) && !folder.exists() {
        skipped(&format!("there is no {}", folder.display()));
        return;
    }
    let Cases { cases, client } = case::read(folder);
    let program = [folder, Path::new(FOLDER)].map(|folder| folder.join("e2e.py"));
    let program = program.iter().find(|program| program.exists());
    let program = program.expect("the server's program");
    let Some(server) = Server::start(program, &folder.join(case::CASES)) else {
        skipped("there is no python3");
        return;
    };

    let run = Run {
        server: Arc::new(server),
        client,
        room: Arc::new(Semaphore::new(AT_ONCE)),
    };
    let mut running = JoinSet::new();
    for (at, case) in cases.iter().cloned().enumerate() {
        let run = run.clone();
        running.spawn(async move { (at, run.case(case).await) });
    }
    let mut findings = running.join_all().await;
    findings.sort_unstable_by_key(|(at, _)| *at);

    let mut tally = Tally::default();
    for (case, (_, mut finding)) in cases.into_iter().zip(findings) {
        for _ in 1..TRIES {
            if !matches!(finding, Finding::Untimely(_)) {
                break;
            }
            print(&format!("{name}: {} once more, for its times\n", case.id));
            finding = run.case(case.clone()).await;
        }
        let verdict = match finding {
            Finding::Agrees => Verdict::Passed,
            Finding::Excused(rule) => Verdict::Excused(rule),
            Finding::Differs(why) | Finding::Untimely(why) if case.transport_specific => {
                tally.excuse(format!("`transport` of {}: {why} ({})", case.id, case.note));
                continue;
            }
            Finding::Differs(why) | Finding::Untimely(why) => Verdict::Failed(why),
        };
        if case.transport_specific {
            print(&format!(
                "{name}: the transport-specific {} agrees\n",
                case.id
            ));
        }
        tally.count(case.id, verdict);
    }
    tally.finish(name);
}

/// What all cases share.
#[derive(Clone, Debug)]
struct Run {
    server: Arc<Server>,
    client: Client,
    room: Arc<Semaphore>,
}

impl Run {
    async fn case(&self, case: Case) -> Finding {
        let _room = self.room.acquire().await.unwrap();
        let run = self.clone();
        // In a task of its own, so that a case that panics does not hide the others.
        let task = tokio::spawn(async move {
            run.server.reset(&case.id).await;
            let observed = run.client.run(&case, run.server.address()).await?;
            let attempts = run.server.attempts(&case.id).await;
            Ok(judge::compare(&case, &observed, &attempts))
        });
        match task.await {
            Ok(Ok(finding)) => finding,
            Ok(Err(why)) => Finding::Differs(why),
            Err(panic) => Finding::Differs(panic.to_string()),
        }
    }
}
