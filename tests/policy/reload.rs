//! A policy is exchanged under a running service.
#![cfg(feature = "reload")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use allocation_counter::measure;
use http::Request;
use tokio_test::{assert_pending, assert_ready_ok};
use tower_http_retry::{
    RetryLayer,
    mounts::Mounts,
    policy::{
        Eligibility, Limit, LimitKind, Policy, Reloadable, RequestHead, RetryPolicy, Session,
    },
};
use tower_test::mock;

use test_support::probe::{
    MS, Req, Res, answer, assert_nothing_sent, every, get, is_ok, report, sent, start,
};

fn never() -> RetryPolicy {
    RetryPolicy::builder()
        .total(Limit::Never)
        .build()
        .expect("valid")
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_keep_the_policy_that_they_started_with() {
    let policy = Reloadable::new(every(50 * MS));
    let layer = RetryLayer::new(policy.clone());
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);

    let mut old = start(&mut service, get());
    sent(&mut handle).1.send_response(answer(503));
    assert_pending!(old.poll());

    // While it waits, all retries are switched off.
    assert_eq!(*policy.replace(never()), every(50 * MS));
    let mut new = start(&mut service, get());
    sent(&mut handle).1.send_response(answer(503));
    let response = assert_ready_ok!(new.poll());
    assert_eq!(report(&response).attempt_count(), 1);
    assert_nothing_sent(&mut handle);

    // The old one goes on as it began: three retries in all.
    for status in [503, 503, 200] {
        tokio::time::advance(60 * MS).await;
        assert_pending!(old.poll());
        sent(&mut handle).1.send_response(answer(status));
        if status != 200 {
            assert_pending!(old.poll());
        }
    }
    let response = assert_ready_ok!(old.poll());
    assert!(is_ok(&response));
    assert_eq!(report(&response).attempt_count(), 4);

    // And back again, for a service that has run all the time.
    policy.update(|current| {
        let builder = current.to_builder().total(1);
        let immediate = tower_http_retry::policy::Backoff::none();
        builder.backoff(immediate).build().expect("valid")
    });
    let mut again = start(&mut service, get());
    sent(&mut handle).1.send_response(answer(503));
    assert_pending!(again.poll());
    sent(&mut handle).1.send_response(answer(200));
    assert!(is_ok(&assert_ready_ok!(again.poll())));
}

#[test]
fn mounts_are_exchanged_as_a_whole() {
    let policy = Reloadable::new(Mounts::new().mount_all(every(Duration::ZERO)));
    let eligibility = || {
        let request = Request::get("http://a.test/").body(()).expect("valid");
        policy.session(&RequestHead::of(&request)).eligibility()
    };
    assert_eq!(eligibility(), Eligibility::Eligible);
    policy.replace(Mounts::new());
    assert!(matches!(eligibility(), Eligibility::Never(_)));
}

#[test]
fn the_old_policy_lives_as_long_as_its_requests() {
    let policy = Reloadable::new(every(Duration::ZERO));
    let request = Request::get("http://a.test/").body(()).expect("valid");
    let session = policy.session(&RequestHead::of(&request));
    let old = policy.replace(never());
    let weak = Arc::downgrade(&old);
    drop(old);
    // A session has what it needs of its own.
    assert!(weak.upgrade().is_none());
    assert_eq!(session.left(LimitKind::Total), Some(3));
    assert_eq!(*policy.current(), never());
}

#[test]
fn no_request_sees_parts_of_two_policies() {
    let of = |n: i64| {
        let builder = RetryPolicy::urllib3_builder();
        let builder = LimitKind::ALL
            .into_iter()
            .fold(builder, |builder, kind| match kind {
                LimitKind::Total => builder.total(n),
                LimitKind::Connect => builder.connect(n),
                LimitKind::Read => builder.read(n),
                LimitKind::Redirect => builder.redirect(n),
                LimitKind::Status => builder.status(n),
                _ => builder.other(n),
            });
        builder.build().expect("valid")
    };
    let policy = Reloadable::new(of(1));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let request = Request::get("http://a.test/").body(()).expect("valid");
                let mut seen = 0;
                while !stop.load(Relaxed) || seen == 0 {
                    let session = policy.session(&RequestHead::of(&request));
                    let total = session.left(LimitKind::Total);
                    for kind in LimitKind::ALL {
                        assert_eq!(session.left(kind), total);
                    }
                    seen += 1;
                }
            });
        }
        for n in 0..1000 {
            policy.replace(of(n));
        }
        stop.store(true, Relaxed);
    });
    assert_eq!(policy.current().total(), Limit::AtMost(999));
}

#[test]
fn changes_at_the_same_time_are_all_made() {
    let policy = Reloadable::new(RetryPolicy::builder().total(0).build().expect("valid"));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..100 {
                    policy.update(|current| {
                        let Limit::AtMost(n) = current.total() else {
                            panic!("it is a number")
                        };
                        current.to_builder().total(n + 1).build().expect("valid")
                    });
                }
            });
        }
    });
    assert_eq!(policy.current().total(), Limit::AtMost(200));
}

#[test]
fn starting_a_request_allocates_nothing_more() {
    let plain = RetryPolicy::default();
    let reloadable = Reloadable::new(plain.clone());
    let request = Request::get("http://a.test/").body(()).expect("valid");
    let head = RequestHead::of(&request);
    // The first use on a thread sets up what it needs.
    drop(reloadable.session(&head));
    let alone = measure(|| drop(plain.session(&head))).count_total;
    assert_eq!(
        measure(|| drop(reloadable.session(&head))).count_total,
        alone
    );
}

#[cfg(feature = "serde")]
#[test]
fn a_wrong_document_changes_nothing() {
    use tower_http_retry::config::RetryConfig;

    let policy = Reloadable::new(RetryPolicy::default());
    let reload = |document: &str| -> Result<(), Box<dyn std::error::Error>> {
        let config: RetryConfig = toml::from_str(document)?;
        policy.replace(config.build()?);
        Ok(())
    };
    assert!(reload("totl = 1").is_err());
    assert_eq!(*policy.current(), RetryPolicy::default());
    reload("total = 1").expect("a policy");
    assert_eq!(policy.current().total(), Limit::AtMost(1));
}
