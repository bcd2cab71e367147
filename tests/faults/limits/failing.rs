//! Servers that never stop failing.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use tokio::time::{self, Instant};
use tower::{Layer, ServiceExt, service_fn};
use tower_http_retry::{
    NeverSent, RetryLayer, RetryReport,
    policy::{LimitKind, RetryPolicy, StopReason},
};

use super::{PRESETS, quick};

type Answer = io::Result<Response<Empty<Bytes>>>;

/// What a server does for ever.
#[derive(Clone, Copy, Debug)]
enum Failing {
    Answers,
    Refuses,
    Resets,
}

impl Failing {
    const ALL: [Self; 3] = [Self::Answers, Self::Refuses, Self::Resets];

    fn answer(self) -> Answer {
        match self {
            Self::Answers => {
                let mut response = Response::new(Empty::new());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                Ok(response)
            }
            Self::Refuses => {
                let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                Err(io::Error::other(NeverSent::new(refused)))
            }
            Self::Resets => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("http://a.test/")
        .body(Empty::new())
        .expect("a request")
}

/// The report of a request to a server that does this for ever, and how often it was asked.
async fn send(policy: RetryPolicy, failing: Failing) -> (RetryReport, u64) {
    let asked = AtomicU64::new(0);
    let server = service_fn(|_: Request<Empty<Bytes>>| {
        asked.fetch_add(1, Relaxed);
        async move { failing.answer() }
    });
    let report = match RetryLayer::new(policy).layer(server).oneshot(get()).await {
        Ok(response) => response.extensions().get().cloned().expect("a report"),
        Err(error) => error.report().clone(),
    };
    (report, asked.load(Relaxed))
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_after_one_attempt_and_total_retries() {
    for preset in PRESETS {
        for failing in Failing::ALL {
            for total in [0, 1, 3, 10, 1000] {
                // Without a budget, which would end it sooner.
                let policy = quick(preset).total(total).budget(None).build();
                let (report, asked) = send(policy.expect("valid"), failing).await;
                let case = format!("{preset:?}, {failing:?}, {total}: {}", report.stop);
                assert_eq!(asked, total as u64 + 1, "{case}");
                assert_eq!(report.attempt_count() as u64, asked, "{case}");
                let reason = StopReason::CountExhausted {
                    kind: LimitKind::Total,
                    limit: total,
                };
                assert_eq!(report.stop, reason, "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_what_has_no_count() {
    for preset in PRESETS {
        for failing in Failing::ALL {
            let policy = quick(preset).total(None).budget(None).build();
            let layer = RetryLayer::new(policy.expect("valid")).deadline(Duration::from_secs(1));
            let server = service_fn(|_: Request<Empty<Bytes>>| async move { failing.answer() });
            let started = Instant::now();
            let report: RetryReport = match layer.layer(server).oneshot(get()).await {
                Ok(response) => response.extensions().get().cloned().expect("a report"),
                Err(error) => error.report().clone(),
            };
            assert!(
                matches!(report.stop, StopReason::DeadlineTooClose { .. }),
                "{preset:?}, {failing:?}: {}",
                report.stop
            );
            assert!(started.elapsed() <= Duration::from_secs(1));
            // A wait of a millisecond and the clock's own between two attempts.
            assert!(report.attempt_count() > 400, "{}", report.attempt_count());
        }
    }
}

/// 5000 requests in 50 seconds: the budget allows for what it holds at first, and a tenth of them.
#[tokio::test(start_paused = true)]
async fn the_budget_bounds_what_a_server_gets_that_is_down() {
    for failing in Failing::ALL {
        let policy = RetryPolicy::default();
        let capacity = policy.budget().and_then(|budget| budget.capacity());
        let capacity = capacity.expect("its own") as u64;
        let asked = std::sync::Arc::new(AtomicU64::new(0));
        let refused = std::sync::Arc::new(AtomicU64::new(0));
        let started = Instant::now();
        let requests = 5000;
        let mut sending = tokio::task::JoinSet::new();
        for _ in 0..requests {
            time::sleep(Duration::from_millis(10)).await;
            let (policy, asked) = (policy.clone(), asked.clone());
            let refused = refused.clone();
            sending.spawn(async move {
                let server = service_fn(move |_: Request<Empty<Bytes>>| {
                    asked.fetch_add(1, Relaxed);
                    async move { failing.answer() }
                });
                let ended = RetryLayer::new(policy).layer(server).oneshot(get()).await;
                let report = match &ended {
                    Ok(response) => response.extensions().get().expect("a report"),
                    Err(error) => error.report(),
                };
                if matches!(report.stop, StopReason::BudgetExhausted(_)) {
                    refused.fetch_add(1, Relaxed);
                }
            });
        }
        sending.join_all().await;
        let seconds = started.elapsed().as_secs() + 1;
        assert!(seconds < 100, "one token in 200 seconds is not noticed");
        let retries = asked.load(Relaxed) - requests;
        let most = capacity + requests / 10 + 1;
        assert!(retries <= most, "{failing:?}: {retries} of {most}");
        // And it is the budget that does it, which uses what it has.
        assert!(retries >= most - 20, "{failing:?}: {retries} of {most}");
        assert!(refused.load(Relaxed) >= requests - most, "{failing:?}");
    }
}
