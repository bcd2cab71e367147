//! Requests to a server that fails in every way there is.
//!
//! How often a future is polled depends here on when the system hands over what was sent. So it
//! is not counted in advance: a scenario is run again until it was over before its future was to
//! be dropped.
#![cfg(all(
    feature = "connection",
    feature = "endpoints",
    feature = "hedge",
    feature = "peek",
    feature = "redirect"
))]

use std::{sync::Arc, time::Duration};

use tokio::time::{self, Instant};
use tower_http_retry::{
    RetryLayer,
    budget::{InFlightLimit, RetryBudget},
    policy::{Preset, RetryPolicy},
};

use super::cut::{Cut, Cutting, When};
use crate::matrix::{
    cell::{Cell, Setting, Then, Verb},
    faults::{self, Identities},
    layers::Layers,
    uploads::{TemporaryFile, Upload},
};
use test_support::net::{clock, fault::Protocol};

/// Drops the request's future like this; whether it was there to be dropped.
async fn run(cell: &Cell, setting: &Setting, cut: Cut) -> bool {
    let capacity = 20_u32;
    let budget = RetryBudget::builder()
        .ratio(0.001)
        .min_per_second(0)
        .capacity(capacity)
        .build()
        .expect("valid");
    let policy = RetryPolicy::builder()
        .budget(budget.clone())
        .build()
        .expect("valid");
    let limit = InFlightLimit::new(1).expect("valid");
    let layer = RetryLayer::new(policy).max_retries_in_flight(limit.clone());
    let (sending, mut stage) = cell.begin(setting, layer).await;
    let watch = Arc::clone(&stage.watch);

    let mut cutting = Cutting::new(sending, cut);
    let ended = stage.drive(&mut cutting).await.is_some();
    let attempts = watch.attempts();

    // Nothing holds what it took, and what it took and did not spend is back.
    assert_eq!(limit.in_flight(), 0, "retries in flight");
    assert_eq!(watch.permits().available_permits(), 1, "permits");
    let now = Instant::now().into_std();
    let stats = budget.stats(now);
    let spent = u32::try_from(watch.charged_retries()).expect("few");
    assert_eq!(stats.granted - stats.refunded, u64::from(spent), "retries");
    assert!(stats.refunded <= u64::from(!ended), "given back twice");
    if !ended {
        let slot = budget.slot(&stage.server.uri("/"));
        let balance = budget.balance(slot, now).expect("a balance");
        assert_eq!(balance, f64::from(capacity - spent), "balance");
    }

    // Nothing more is sent, however long the client lives.
    tokio::task::yield_now().await;
    let read = watch.read();
    time::advance(Duration::from_secs(60)).await;
    stage.settle().await;
    assert_eq!(watch.attempts(), attempts, "attempts");
    // An upload whose answer is there already, where nobody has looked yet, is the client's affair
    // where its body is not recorded: the layer does not see what is read of it.
    let may_go_on = cell.faults[0].is_early
        && matches!(cell.upload, Upload::Full | Upload::File)
        && cell.protocol == Protocol::Http1
        && watch.retries() < watch.attempts();
    if !ended && !may_go_on {
        assert_eq!(watch.read(), read, "bytes read of the body");
    }
    let log = stage.server.log();
    assert!(log.len() <= attempts, "{} attempts arrived", log.len());
    assert_eq!(stage.end().await, 0, "tasks left");
    ended
}

/// Drops the request's future at every poll; how often.
fn cut_at_every_poll(cell: &Cell, setting: &Setting) -> usize {
    let mut cuts = 0;
    for when in [When::AtOnce, When::Woken] {
        for polls in 0.. {
            let cut = Cut { polls, when };
            let run = || clock::paused().block_on(run(cell, setting, cut));
            let Ok(ended) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) else {
                panic!("{cell}: {cut:?}");
            };
            if ended {
                break;
            }
            cuts += 1;
        }
    }
    cuts
}

#[test]
fn a_request_can_be_dropped_at_every_poll() {
    let file = TemporaryFile::new().expect("a file");
    let setting = Setting {
        identities: Identities::new(),
        file: file.path().to_owned(),
    };
    let mut cells = Vec::new();
    for fault in faults::faults(&setting.identities)
        .into_iter()
        .map(Arc::new)
    {
        for &protocol in fault.protocols {
            // Requests that are repeated whatever happens.
            for (verb, upload) in [
                (Verb::Put, Upload::Streamed),
                (Verb::Put, Upload::OverLimit),
                (Verb::PostWithKey, Upload::Full),
                (Verb::PostWithKey, Upload::File),
            ] {
                cells.push(Cell {
                    faults: vec![Arc::clone(&fault)],
                    then: Then::Well,
                    verb,
                    upload,
                    protocol,
                    preset: Preset::Default,
                    keeps: true,
                    layers: Layers::NONE,
                });
            }
        }
    }
    let mut cuts = 0;
    for cell in &cells {
        cuts += cut_at_every_poll(cell, &setting);
    }
    println!("{} scenarios, dropped {cuts} times", cells.len());
    assert!(cuts > 4 * cells.len(), "dropped only {cuts} times");
}
