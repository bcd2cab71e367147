//! The snippets of the documentation that its own tests only compile, because they call hosts that
//! are not there: here they are run, word for word, against a server on this machine.
//!
//! `build.rs` finds them. One that is new has no test in the table below, and fails.

use std::cell::RefCell;

use test_support::net::fault::{Act, Answer, Attempt, FaultServer, Play, Protocol, in_turn};

type Failure = Box<dyn std::error::Error + Send + Sync>;

thread_local! {
    /// Where the hosts of the snippets are.
    static HOSTS: RefCell<Vec<(&'static str, String)>> = const { RefCell::new(Vec::new()) };
    static PRINTED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The URL with its host on this machine, if it is to be there.
fn here(url: &str) -> String {
    HOSTS.with_borrow(|hosts| {
        let found = hosts.iter().find_map(|(host, authority)| {
            let (_, rest) = url.split_once("://")?;
            let path = rest.strip_prefix(host)?;
            Some(format!("http://{authority}{path}"))
        });
        found.unwrap_or_else(|| url.to_owned())
    })
}

/// Keeps what a snippet prints.
macro_rules! kept {
    ($($text:tt)*) => {{
        let line = format!($($text)*);
        $crate::snippets::PRINTED.with_borrow_mut(|printed| {
            printed.push_str(&line);
            printed.push('\n');
        })
    }};
}
use kept;

#[allow(
    clippy::all,
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "as the documentation has it"
)]
mod taken {
    use super::{Failure, here, kept as println};

    #[cfg(feature = "reqwest")]
    fn client() -> tower_http_retry::reqwest::RetryClient {
        let layer = tower_http_retry::RetryLayer::new(Default::default());
        let builder = reqwest::Client::builder().no_proxy();
        tower_http_retry::reqwest::RetryClient::build(layer, builder).expect("a client")
    }

    include!(concat!(env!("OUT_DIR"), "/snippets.rs"));
}

/// Who runs which snippet.
const RUN_BY: &[(&str, &str)] = &[
    (
        "endpoints_1",
        "the_endpoints_snippet_goes_to_the_second_where_the_first_is_down",
    ),
    (
        "guide_migrating_1",
        "the_snippets_of_a_client_of_reqwests_retry_what_fails",
    ),
    (
        "guide_ordering_1",
        "the_stack_of_the_guide_follows_a_redirect_and_retries_behind_it",
    ),
    ("hedge_1", "the_hedging_snippet_retries_what_fails"),
    ("lib_1", "the_first_snippets_say_what_was_tried"),
    ("readme_1", "the_first_snippets_say_what_was_tried"),
    (
        "reqwest_1",
        "the_snippets_of_a_client_of_reqwests_retry_what_fails",
    ),
    (
        "reqwest_2",
        "the_snippet_of_reqwests_service_sends_its_body_again",
    ),
    (
        "reqwest_client_1",
        "the_snippets_of_a_client_of_reqwests_retry_what_fails",
    ),
    (
        "reqwest_request_1",
        "the_snippets_of_a_client_of_reqwests_retry_what_fails",
    ),
];

#[test]
fn every_snippet_that_is_not_run_where_it_stands_is_run_here() {
    let found: Vec<_> = taken::ALL.iter().map(|(name, _)| *name).collect();
    let mut run: Vec<_> = RUN_BY.iter().map(|(name, _)| *name).collect();
    run.sort_by_key(|name| found.iter().position(|f| f == name));
    assert_eq!(run, found, "{:?}", taken::ALL);
    let here = include_str!("snippets.rs");
    for (snippet, test) in RUN_BY {
        let (_, from) = here.split_once(&format!("async fn {test}(")).expect(test);
        let body = &from[..from.find("\n}\n").expect("it ends")];
        assert!(
            body.contains(&format!("taken::{snippet}::snippet()")),
            "{snippet}"
        );
    }
}

/// Starts a server in the place of a host.
async fn instead_of(host: &'static str, plays: impl Into<Vec<Play>>) -> FaultServer {
    let server = FaultServer::start(Protocol::Http1, None, in_turn(plays)).await;
    HOSTS.with_borrow_mut(|hosts| hosts.push((host, server.addr().to_string())));
    server
}

fn fails(status: u16) -> Play {
    Play::serve([Act::ReadAll, Act::answer(status)])
}

fn paths(log: &[Attempt]) -> Vec<&str> {
    log.iter().filter_map(|a| a.path.as_deref()).collect()
}

#[cfg(feature = "hyper")]
#[tokio::test]
async fn the_first_snippets_say_what_was_tried() -> Result<(), Failure> {
    for readme in [false, true] {
        let server = instead_of("example.com", [fails(503), Play::succeed()]).await;
        match readme {
            false => taken::lib_1::snippet().await?,
            true => taken::readme_1::snippet().await?,
        }
        assert_eq!(server.log().len(), 2);
        let printed = PRINTED.take();
        assert!(
            printed.contains("503") && printed.contains("succeeded"),
            "{printed}"
        );
        HOSTS.take();
    }
    Ok(())
}

#[cfg(feature = "hedge")]
#[tokio::test]
async fn the_hedging_snippet_retries_what_fails() -> Result<(), Failure> {
    let server = instead_of("example.com", [fails(503), Play::succeed()]).await;
    taken::hedge_1::snippet().await?;
    assert_eq!(server.log().len(), 2);
    Ok(())
}

#[cfg(feature = "hyper")]
#[tokio::test]
async fn the_stack_of_the_guide_follows_a_redirect_and_retries_behind_it() -> Result<(), Failure> {
    let moved = Answer::new(302).header("location", "/elsewhere");
    let moved = Play::serve([Act::ReadAll, Act::Answer(moved)]);
    let server = instead_of("example.com", [moved, fails(503), Play::succeed()]).await;
    taken::guide_ordering_1::snippet().await?;
    let log = server.log();
    assert_eq!(paths(&log), ["/", "/elsewhere", "/elsewhere"]);
    // One id over all hops and attempts, as the snippet says.
    let ids: Vec<_> = log.iter().map(|a| &a.headers["x-request-id"]).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    Ok(())
}

#[cfg(feature = "endpoints")]
#[tokio::test]
async fn the_endpoints_snippet_goes_to_the_second_where_the_first_is_down() -> Result<(), Failure> {
    let first = instead_of("10.0.0.7:8080", [fails(503)]).await;
    let second = instead_of("10.0.0.8:8080", [Play::succeed()]).await;
    let spare = instead_of("spare.example.com", [Play::succeed()]).await;
    taken::endpoints_1::snippet().await?;
    assert_eq!(paths(&first.log()), ["/7"]);
    assert_eq!(paths(&second.log()), ["/7"]);
    assert!(spare.log().is_empty());
    Ok(())
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn the_snippet_of_reqwests_service_sends_its_body_again() -> Result<(), Failure> {
    let welcome = Answer::new(200).content("welcome");
    let welcome = Play::serve([Act::ReadAll, Act::Apply, Act::Answer(welcome)]);
    let server = instead_of("example.com", [fails(503), welcome]).await;
    taken::reqwest_2::snippet().await?;
    let log = server.log();
    assert_eq!(paths(&log), ["/greeting", "/greeting"]);
    for attempt in log {
        assert!(attempt.whole && attempt.digest == Attempt::digest_of(b"hello"));
    }
    Ok(())
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn the_snippets_of_a_client_of_reqwests_retry_what_fails() -> Result<(), Failure> {
    for (snippet, path) in ["/", "/", "/", "/search"].into_iter().enumerate() {
        let server = instead_of("example.com", [fails(503), Play::succeed()]).await;
        match snippet {
            0 => taken::guide_migrating_1::snippet().await?,
            1 => taken::reqwest_1::snippet().await?,
            2 => taken::reqwest_client_1::snippet().await?,
            _ => taken::reqwest_request_1::snippet().await?,
        }
        assert_eq!(paths(&server.log()), [path, path]);
        HOSTS.take();
    }
    let printed = PRINTED.take();
    assert!(printed.contains("succeeded"), "{printed}");
    Ok(())
}
