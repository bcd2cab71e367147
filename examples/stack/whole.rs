//! All of the layers in one stack, in the order that most clients want.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, StatusCode};
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::{follow_redirect::FollowRedirectLayer, trace::TraceLayer};
use tower_http_retry::{BoxError, RetryReport};

use super::{Body, Measured, Server, get, http, measured, orders::request_id, retries};

/// Requests at the same time, each with a hop that fails once and a page that fails once.
const REQUESTS: usize = 8;

pub(crate) async fn measure(server: &Server) -> Result<Vec<Measured>, BoxError> {
    let spans = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&spans);
    let stack = ServiceBuilder::new()
        // One id over all hops and attempts: the server's log can be joined by it.
        .layer(request_id())
        // One span for each request; the retries are logged inside of it.
        .layer(TraceLayer::new_for_http().on_request(
            move |_: &Request<Body>, _: &tracing::Span| {
                counting.fetch_add(1, Ordering::Relaxed);
            },
        ))
        // Each hop has all of the retries, and a hop that cannot connect does not send the POST
        // before it again.
        .layer(FollowRedirectLayer::new())
        // The deadline bounds all attempts and waits of a hop, and keeps the report.
        .layer(retries(3)?.deadline(Duration::from_secs(20)))
        // Free while the layer above waits: four requests, not four that sleep.
        .concurrency_limit(4)
        // Shared through the buffer, and counts attempts: what the server's quota counts, too.
        .buffer(64)
        .rate_limit(1000, Duration::from_secs(1))
        // Below the queue, so that the time in it is not held against the server.
        .timeout(Duration::from_secs(5))
        .service(http());

    let mut requests = JoinSet::new();
    for i in 0..REQUESTS {
        let request = get(server.url(&format!("/whole/{i}/hop/fail/1")))?;
        requests.spawn(stack.clone().oneshot(request));
    }
    let mut well = 0;
    let mut sample = None;
    while let Some(result) = requests.join_next().await {
        let response = result??;
        well += usize::from(response.status() == StatusCode::OK);
        sample = response.extensions().get::<RetryReport>().cloned();
    }

    let sent = server.count("/whole/");
    let ids = server.ids("/whole/").len();
    let spans = spans.load(Ordering::Relaxed);
    let sample = sample.ok_or("a response without a report")?;
    Ok(vec![
        measured(
            well == REQUESTS,
            format!("{well} of {REQUESTS} requests went well"),
        ),
        measured(
            sent == 4 * REQUESTS,
            format!("{sent} attempts reached the server"),
        ),
        measured(
            ids == REQUESTS && spans == REQUESTS,
            format!("{ids} ids, {spans} spans"),
        ),
        measured(
            sample.attempt_count() == 2,
            format!("the last hop of one of them: {sample}").replace('\n', "\n  "),
        ),
    ])
}
