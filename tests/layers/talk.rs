//! How the layers of one stack talk: what a layer below says of an answer reaches the policy, and
//! what a layer further out shares bounds the retries below it.

use std::{borrow::Cow, time::Duration};

use http::{Method, StatusCode};
use tokio::time::{self, Instant};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};
use tower_http_retry::{
    RequestDeadline, RetryErrorKind, RetryLayer,
    classify::Opinion,
    dry_run::ScriptedOutcome,
    policy::{Backoff, Gate, LimitKind, Note, RequestHead, RetryPolicy, StopReason, WaitReason},
    stack::{LayerError, LayerOutcome, RequestState},
};
use tower_test::mock;

use test_support::probe::{
    MS, Req, Res, answer, assert_nothing_sent, every, get, is_ok, report, sent, start,
};

fn said(status: u16, opinion: Opinion, wait: Option<Duration>) -> Res {
    let mut outcome = LayerOutcome::new("peek");
    outcome.opinion = opinion;
    outcome.wait = wait;
    let mut response = answer(status);
    response.extensions_mut().insert(outcome);
    response
}

#[tokio::test(start_paused = true)]
async fn a_success_that_a_layer_below_takes_for_a_failure_is_retried_when_it_says() {
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(every(100 * MS)));
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let slow_down = Opinion::Retry("SlowDown in the body".into());
    let wait = 700 * MS;
    let (_, respond) = sent(&mut handle);
    respond.send_response(said(200, slow_down, Some(wait)));
    assert_pending!(future.poll());
    time::advance(699 * MS).await;
    assert_pending!(future.poll());
    assert_nothing_sent(&mut handle);
    time::advance(MS).await;
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    let response = assert_ready_ok!(future.poll());
    let first = &report(&response).attempts[0];
    let planned = first.wait.as_ref().expect("a wait");
    let by: Cow<'static, str> = "peek".into();
    let why = WaitReason::Opinion { by: by.clone() };
    assert_eq!((planned.planned, &planned.why), (wait, &why));
    let because = "SlowDown in the body".into();
    assert_eq!(
        first.note.as_deref(),
        Some(&Note::Reclassified { by, because })
    );
}

#[tokio::test(start_paused = true)]
async fn a_success_that_a_layer_below_takes_for_final_failure_is_reported() {
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(every(100 * MS)));
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let (_, respond) = sent(&mut handle);
    respond.send_response(said(200, Opinion::Forbid("grpc-status 3".into()), None));
    let response = assert_ready_ok!(future.poll());
    assert!(is_ok(&response), "the response itself is handed on");
    let (by, because) = ("peek".into(), "grpc-status 3".into());
    assert_eq!(report(&response).stop, StopReason::Vetoed { by, because });
}

#[tokio::test(start_paused = true)]
async fn a_layer_below_that_says_nothing_changes_nothing() {
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(every(100 * MS)));
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let (_, respond) = sent(&mut handle);
    respond.send_response(said(200, Opinion::NoOpinion, None));
    let response = assert_ready_ok!(future.poll());
    assert!(
        response
            .extensions()
            .get::<tower_http_retry::RetryReport>()
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_layer_below_brings_its_opinion_and_its_attempts() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(100 * MS)));
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    let mut outcome = LayerOutcome::new("hedge");
    outcome.opinion = Opinion::Forbid("both were refused".into());
    outcome.attempts = Some(2);
    sent(&mut handle).1.send_error(LayerError::new(outcome));
    let error = assert_ready_err!(future.poll());
    let (by, because) = ("hedge".into(), "both were refused".into());
    assert_eq!(*error.stop_reason(), StopReason::Vetoed { by, because });
    assert_eq!(error.report().attempts[0].inner_attempts, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_layers_share_does_not_start_anew_with_each_hop() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Req, Res, _>(RetryLayer::new(every(100 * MS)).deadline(9000 * MS));
    let state = RequestState::new(Some(Instant::now() + 1000 * MS));
    // A first hop has taken most of it.
    time::advance(900 * MS).await;
    // Neither the layer's deadline nor the request's own makes it longer.
    for own in [None, Some(RequestDeadline::after(5000 * MS))] {
        let mut request = get();
        request.extensions_mut().insert(state.clone());
        if let Some(own) = own {
            request.extensions_mut().insert(own);
        }
        let mut future = start(&mut service, request);
        assert_pending!(future.poll());
        sent(&mut handle).1.send_response(answer(503));
        let response = assert_ready_ok!(future.poll());
        let (left, needed) = (100 * MS, 100 * MS);
        let stop = StopReason::DeadlineTooClose { left, needed };
        assert_eq!(report(&response).stop, stop, "{own:?}");
    }
    let mut request = get();
    request.extensions_mut().insert(state);
    request
        .extensions_mut()
        .insert(RequestDeadline::after(50 * MS));
    let mut future = start(&mut service, request);
    assert_pending!(future.poll());
    time::advance(50 * MS).await;
    let error = assert_ready_err!(future.poll());
    assert_eq!(error.kind(), RetryErrorKind::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn counts_that_layers_share_do_not_multiply() {
    let policy = RetryPolicy::builder().total(3).backoff(Backoff::none());
    let layer = RetryLayer::new(policy.budget(None).build().expect("valid"));
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let state = RequestState::new(None);
    state.charge(LimitKind::Redirect);
    let mut attempts = Vec::new();
    for _ in 0..3 {
        let mut request = get();
        request.extensions_mut().insert(state.clone());
        let mut future = start(&mut service, request);
        let mut count = 0;
        let response = loop {
            if let std::task::Poll::Ready(result) = future.poll() {
                break result.expect("the last response");
            }
            sent(&mut handle).1.send_response(answer(503));
            count += 1;
        };
        attempts.push((count, report(&response).stop.name()));
    }
    // Three retries in all: the redirect was one of them.
    let over = "count_exhausted";
    assert_eq!(attempts, [(3, over), (1, over), (1, over)]);
    let used = [LimitKind::Total, LimitKind::Status, LimitKind::Redirect].map(|k| state.used(k));
    assert_eq!(used, [3, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn where_a_layer_below_sent_an_attempt_is_in_its_record_and_known_to_the_next() {
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(every(100 * MS)));
    let mut future = start(&mut service, get());
    for (at, host) in ["http://one.test/x?key=1", "http://two.test/x"]
        .iter()
        .enumerate()
    {
        assert_pending!(future.poll());
        let (request, respond) = sent(&mut handle);
        let state = RequestState::of(request.extensions());
        assert_eq!(state.map_or(0, |state| state.tried().len()), at);
        let mut response = answer(503);
        let mut outcome = LayerOutcome::new("endpoints");
        outcome.url = Some(host.parse().expect("valid"));
        response.extensions_mut().insert(outcome);
        respond.send_response(response);
        assert_pending!(future.poll());
        time::advance(100 * MS).await;
    }
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(answer(200));
    let response = assert_ready_ok!(future.poll());
    let attempts = &report(&response).attempts;
    let urls: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt.url.as_deref())
        .collect();
    assert_eq!(
        urls,
        [Some("http://one.test/x"), Some("http://two.test/x"), None]
    );
}

/// The gate that a reason stands for.
fn gate(reason: &StopReason) -> Gate {
    match reason {
        StopReason::Vetoed { .. } => Gate::Classifiers,
        StopReason::StatusNotListed { .. } | StopReason::NotTransient { .. } => Gate::Transient,
        StopReason::MethodNotAllowed { .. } => Gate::Method,
        StopReason::CountExhausted { kind, .. } | StopReason::KindDisabled { kind } => match kind {
            LimitKind::Total => Gate::Total,
            _ => Gate::Count,
        },
        StopReason::RetryAfterTooLong { .. } | StopReason::ForbiddenByServer { .. } => Gate::Hint,
        StopReason::DeadlineTooClose { .. } => Gate::Deadline,
        other => panic!("no outcome here leads to {other:?}"),
    }
}

#[test]
fn the_reason_is_that_of_the_first_gate_that_says_no() {
    let mut seen = Vec::new();
    for total in [0, 1] {
        for status_limit in [0, 1] {
            for method in [Method::GET, Method::POST] {
                for status in [404, 503] {
                    for wait in [None, Some(30), Some(3000)] {
                        for forbidden in [false, true] {
                            let policy = RetryPolicy::builder()
                                .total(total)
                                .connect(9)
                                .status(status_limit)
                                .budget(None)
                                .build()
                                .expect("valid");
                            let layer = RetryLayer::new(policy).deadline(Duration::from_secs(20));
                            let status = StatusCode::from_u16(status).expect("valid");
                            let mut outcome = ScriptedOutcome::response(status);
                            if let Some(wait) = wait {
                                outcome = outcome.retry_after(Duration::from_secs(wait));
                            }
                            if forbidden {
                                outcome = outcome.judged("it", Opinion::Forbid("no".into()));
                            }
                            let request = http::Request::builder()
                                .method(method.clone())
                                .uri("http://a.test/")
                                .body(())
                                .expect("valid");
                            let played =
                                layer.explain_sequence(&RequestHead::of(&request), &[outcome]);
                            let report = played.report();
                            let [attempt] = &report.attempts[..] else {
                                panic!("{report}");
                            };
                            let first = attempt.gates.failed().next();
                            if played.goes_on() {
                                assert_eq!(first, None, "{report}");
                            } else {
                                assert_eq!(first, Some(gate(&report.stop)), "{report}");
                                seen.push(gate(&report.stop));
                            }
                        }
                    }
                }
            }
        }
    }
    for gate in [
        Gate::Classifiers,
        Gate::Transient,
        Gate::Method,
        Gate::Total,
        Gate::Count,
        Gate::Hint,
        Gate::Deadline,
    ] {
        assert!(seen.contains(&gate), "{gate} never said no");
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_below_that_sent_an_attempt_twice_is_told_also_after_a_success() {
    let hedged = Note::Hedged {
        after: 40 * MS,
        won: true,
    };
    let twice = |mut response: Res| {
        let mut outcome = LayerOutcome::new("hedge");
        outcome.attempts = Some(2);
        outcome.notes.push(hedged.clone());
        response.extensions_mut().insert(outcome);
        response
    };
    let (mut service, mut handle) = mock::spawn_layer(RetryLayer::new(every(100 * MS)));
    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(twice(answer(503)));
    assert_pending!(future.poll());
    time::advance(100 * MS).await;
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(twice(answer(200)));
    let response = assert_ready_ok!(future.poll());
    let story = report(&response);
    // Of each attempt one more may have been applied than its answer says.
    assert_eq!(story.effects(), 1..=4);
    for attempt in &story.attempts {
        assert_eq!(attempt.layer_notes, std::slice::from_ref(&hedged));
    }

    let mut future = start(&mut service, get());
    assert_pending!(future.poll());
    sent(&mut handle).1.send_response(twice(answer(200)));
    let response = assert_ready_ok!(future.poll());
    let story = report(&response);
    assert!(story.stop.is_success());
    assert_eq!(story.effects(), 1..=2);
    let text = story.to_string();
    let line = "note: sent a second time after 40 ms; the outcome is that of the second one";
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("retry layer further in"), "{text}");
}
