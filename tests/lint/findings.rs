//! Every lint, once where it must be found and once where it must not.

use std::{sync::Arc, time::Duration};

use http::Method;
use tower_http_retry::{
    RetryLayer,
    budget::RetryBudget,
    lint::{Finding, Lint, LintCode, LintContext, Severity},
    mounts::Mounts,
    policy::{
        Backoff, DynPolicy, Jitter, Limit, Methods, Part, Policy, RequestHead, RetryAfterMode,
        RetryPolicy, RetryPolicyBuilder, RetrySession, SharedPolicy, policy_fn,
    },
};

#[cfg(feature = "reload")]
use tower_http_retry::policy::Reloadable;

use allocation_counter::measure;

const SECOND: Duration = Duration::from_secs(1);

fn policy(change: impl FnOnce(RetryPolicyBuilder) -> RetryPolicyBuilder) -> RetryPolicy {
    change(RetryPolicy::builder())
        .build()
        .expect("a valid policy")
}

fn urllib3(change: impl FnOnce(RetryPolicyBuilder) -> RetryPolicyBuilder) -> RetryPolicy {
    // What requests' users usually write.
    let usual = RetryPolicy::urllib3_builder()
        .status_forcelist([502, 503, 504])
        .backoff_factor(0.5)
        .backoff_jitter(0.5);
    change(usual).build().expect("a valid policy")
}

/// The default policy with time limits that suit it.
fn layer(policy: RetryPolicy) -> RetryLayer<RetryPolicy> {
    RetryLayer::new(policy)
        .attempt_timeout(5 * SECOND)
        .deadline(90 * SECOND)
}

fn codes(findings: &[Finding]) -> Vec<LintCode> {
    findings.iter().map(|finding| finding.code).collect()
}

fn only(findings: Vec<Finding>) -> Finding {
    let [finding] = findings.as_slice() else {
        panic!("one finding was expected: {findings:#?}")
    };
    finding.clone()
}

#[track_caller]
fn found(findings: Vec<Finding>, code: LintCode, severity: Severity, fields: &[&str]) {
    let finding = only(findings);
    assert_eq!(finding.code, code);
    assert_eq!(finding.severity, severity);
    assert_eq!(finding.fields, fields);
    assert!(!finding.message.is_empty() && !finding.help.is_empty());
}

#[test]
fn the_default_policy_is_clean() {
    assert_eq!(RetryPolicy::default().lint(), []);
    assert_eq!(layer(RetryPolicy::default()).lint(), []);
    assert_eq!(urllib3(|usual| usual).lint(), []);
}

#[test]
fn the_defaults_of_urllib3_are_not() {
    let findings = RetryPolicy::urllib3().lint();
    assert_eq!(
        codes(&findings),
        [LintCode::NoStatusListed, LintCode::NoBackoff]
    );
}

#[test]
fn a_wanted_method_must_be_allowed() {
    let default = RetryPolicy::default();
    let wanted = default.lint_with(&LintContext::wanting(&[
        Method::GET,
        Method::POST,
        Method::PATCH,
    ]));
    let what = only(wanted.clone()).message;
    assert!(what.starts_with("POST and PATCH are not allowed"), "{what}");
    found(
        wanted,
        LintCode::MethodNotAllowed,
        Severity::Warn,
        &["allowed_methods"],
    );
    assert_eq!(
        default.lint_with(&LintContext::wanting(&[Method::GET, Method::PUT])),
        []
    );
}

#[test]
fn a_wanted_method_may_have_keys_instead() {
    let wanting = layer(RetryPolicy::default()).wanted_methods([Method::POST]);
    assert_eq!(codes(&wanting.lint()), [LintCode::MethodNotAllowed]);
    let keyed = wanting.idempotency_keys_with(|| "key".into());
    assert_eq!(keyed.lint(), []);
    // Keys are for POST and PATCH only.
    let other = keyed.wanted_methods([Method::CONNECT]);
    assert_eq!(codes(&other.lint()), [LintCode::MethodNotAllowed]);
}

#[test]
fn an_empty_set_of_methods_is_not_any_method() {
    found(
        policy(|p| p.allowed_methods(Methods::none())).lint(),
        LintCode::NoMethodAllowed,
        Severity::Warn,
        &["allowed_methods"],
    );
    found(
        urllib3(|p| p.allowed_methods(Methods::none()).status_forcelist([])).lint(),
        LintCode::NoMethodAllowed,
        Severity::Warn,
        &["allowed_methods"],
    );
    // Neither methods nor statuses: connect failures only, on purpose.
    let connect_only = policy(|p| p.allowed_methods(Methods::none()).status_forcelist([]));
    assert_eq!(connect_only.lint(), []);
    assert_eq!(policy(|p| p.allowed_methods(["GET"])).lint(), []);
}

#[test]
fn methods_without_statuses_retry_no_answer() {
    let none = policy(|p| p.status_forcelist([]));
    let what = only(none.lint()).message;
    assert!(what.contains("except 413, 429 and 503 with `Retry-After`"));
    found(
        none.lint(),
        LintCode::NoStatusListed,
        Severity::Warn,
        &["status_forcelist"],
    );
    let deaf = policy(|p| p.status_forcelist([]).respect_retry_after_header(false));
    assert_eq!(only(deaf.lint()).message, "no status is retried");
    // urllib3 does not obey `Retry-After` either when `total` is `None`.
    let endless = urllib3(|p| {
        p.status_forcelist([])
            .total(None)
            .connect(1)
            .read(1)
            .other(1)
            .redirect(1)
            .status(1)
    });
    assert_eq!(only(endless.lint()).message, "no status is retried");

    assert_eq!(policy(|p| p.status_forcelist([503])).lint(), []);
    let on_purpose = policy(|p| p.status_forcelist([]).status(Limit::Never));
    assert_eq!(on_purpose.lint(), []);
}

#[test]
fn statuses_that_never_go_away_need_not_be_listed() {
    for status in [400, 401, 403, 404, 405, 410, 422, 501, 505] {
        let listed = policy(|p| p.status_forcelist([status, 503]));
        found(
            listed.lint(),
            LintCode::StatusNeverTransient,
            Severity::Warn,
            &["status_forcelist"],
        );
    }
    // Locks go away, and so do overload, conflicts and misdirected connections.
    let transient = [408, 409, 413, 421, 423, 425, 429, 500, 502, 503, 504, 507];
    assert_eq!(policy(|p| p.status_forcelist(transient)).lint(), []);
}

#[test]
fn what_is_said_of_a_status_that_is_not_retried_has_no_effect() {
    let fields = ["once_statuses", "unprocessed_statuses"];
    let code = LintCode::StatusWithoutEffect;
    for idle in [
        policy(|p| p.once_statuses([401])),
        policy(|p| p.unprocessed_statuses([417, 425])),
        urllib3(|p| p.status_forcelist([503]).once_statuses([503])),
    ] {
        found(idle.lint(), code, Severity::Warn, &fields);
    }
    // The standard's are there for whoever lists them.
    let listed = policy(|p| {
        p.status_forcelist([421, 425, 503])
            .once_statuses([421, 503])
    });
    assert_eq!(listed.lint(), []);
    // A hook may get another token; a second 401 is the last.
    let token = policy(|p| p.status_forcelist([401, 503]).once_statuses([401]));
    assert_eq!(token.lint(), []);
}

#[test]
fn a_status_that_comes_after_processing_too_is_not_to_be_taken_for_unprocessed() {
    for status in [200, 303, 500, 502, 503, 504, 520] {
        let bold = policy(|p| {
            p.status_forcelist([425, status])
                .unprocessed_statuses([425, status])
        });
        let findings = bold.lint();
        let code = LintCode::StatusMayBeProcessed;
        let finding = findings.iter().find(|finding| finding.code == code);
        let finding = finding.unwrap_or_else(|| panic!("{status}: {findings:?}"));
        assert_eq!(finding.severity, Severity::Error);
        assert_eq!(finding.fields, ["unprocessed_statuses"]);
    }
    let usual = policy(|p| {
        p.status_forcelist([408, 417, 425, 429])
            .once_statuses([417])
            .unprocessed_statuses([408, 417, 421, 425, 429])
    });
    assert_eq!(usual.lint(), []);
}

#[test]
fn a_success_is_not_to_be_repeated() {
    found(
        policy(|p| p.status_forcelist([200, 202, 503])).lint(),
        LintCode::SuccessListed,
        Severity::Warn,
        &["status_forcelist"],
    );
    assert_eq!(policy(|p| p.status_forcelist([302, 503])).lint(), []);
}

#[test]
fn a_total_of_zero_makes_the_others_vain() {
    found(
        policy(|p| p.total(0).read(2).connect(3)).lint(),
        LintCode::TotalZero,
        Severity::Error,
        &["total", "connect", "read"],
    );
    found(
        urllib3(|p| p.total(false).connect(3)).lint(),
        LintCode::TotalZero,
        Severity::Error,
        &["total", "connect"],
    );
    for off in [policy(|p| p.total(0)), policy(|p| p.total(0).read(0))] {
        assert_eq!(off.lint(), []);
    }
}

#[test]
fn a_limit_above_total_is_never_reached() {
    found(
        policy(|p| p.total(3).connect(5).read(3)).lint(),
        LintCode::LimitUnreachable,
        Severity::Warn,
        &["total", "connect"],
    );
    assert_eq!(policy(|p| p.total(3).connect(3).read(1)).lint(), []);
    assert_eq!(policy(|p| p.total(3).read(Limit::Never)).lint(), []);
}

#[test]
fn something_must_end_the_retries() {
    let endless = policy(|p| p.total(None).connect(3));
    found(
        endless.lint(),
        LintCode::UnlimitedRetries,
        Severity::Error,
        &["total", "read", "redirect", "status", "other"],
    );
    found(
        layer(endless).lint(),
        LintCode::UnlimitedRetries,
        Severity::Warn,
        &["total", "read", "redirect", "status", "other"],
    );
    let each = policy(|p| {
        p.total(None)
            .connect(3)
            .read(2)
            .redirect(0)
            .status(2)
            .other(1)
    });
    assert_eq!(each.lint(), []);
    assert_eq!(policy(|p| p.total(9)).lint(), []);
}

#[test]
fn retries_must_not_all_be_sent_at_once() {
    found(
        policy(|p| p.backoff(Backoff::none())).lint(),
        LintCode::NoBackoff,
        Severity::Warn,
        &["backoff_factor"],
    );
    // Under urllib3's rules the first retry never waits.
    let once = urllib3(|p| p.total(1));
    let finding = only(once.lint());
    assert_eq!(finding.code, LintCode::NoBackoff);
    assert!(finding.help.contains("more retries"), "{finding}");
    assert_eq!(urllib3(|p| p.total(2)).lint(), []);
    // Jitter alone spreads them.
    let jitter = Backoff::none().jitter(Jitter::Additive(SECOND));
    assert_eq!(policy(|p| p.backoff(jitter)).lint(), []);
}

#[test]
fn clients_must_not_wait_in_step() {
    for backoff in [
        Backoff::exponential(SECOND),
        Backoff::constant(SECOND),
        Backoff::list([SECOND, 2 * SECOND]).jitter(Jitter::Additive(Duration::ZERO)),
    ] {
        found(
            policy(|p| p.backoff(backoff)).lint(),
            LintCode::NoJitter,
            Severity::Warn,
            &["backoff_jitter"],
        );
    }
    for jitter in [
        Jitter::Full,
        Jitter::Equal,
        Jitter::Decorrelated,
        Jitter::Additive(SECOND),
    ] {
        let backoff = Backoff::exponential(SECOND).jitter(jitter);
        assert_eq!(policy(|p| p.backoff(backoff)).lint(), [], "{jitter:?}");
    }
}

#[test]
fn a_seed_is_for_tests() {
    found(
        policy(|p| p.seed(7)).lint(),
        LintCode::FixedSeed,
        Severity::Warn,
        &["seed"],
    );
}

#[test]
fn a_repeated_post_needs_a_key() {
    let post = policy(|p| p.allowed_methods(["GET", "PUT", "POST"]));
    let what = only(post.lint()).message;
    assert!(what.starts_with("POST is repeated"), "{what}");
    found(
        post.lint(),
        LintCode::NonIdempotentWithoutKey,
        Severity::Warn,
        &["allowed_methods"],
    );
    let any = policy(|p| p.allowed_methods(Methods::any()));
    assert!(
        only(any.lint())
            .message
            .starts_with("every method is repeated")
    );

    for policy in [post, any] {
        let keyed = layer(policy).idempotency_keys_with(|| "key".into());
        assert_eq!(keyed.lint(), []);
    }
    let webdav = policy(|p| p.allowed_methods(["GET", "PROPFIND", "MKCOL", "QUERY"]));
    assert_eq!(webdav.lint(), []);
    let lock = policy(|p| p.allowed_methods(["GET", "LOCK", "get"]));
    assert!(
        only(lock.lint())
            .message
            .starts_with("LOCK and get are repeated")
    );
}

#[test]
fn a_budget_must_grant_one_retry() {
    for (tokens, enough) in [(1, false), (2, false), (3, true)] {
        let budget = RetryBudget::grpc(tokens, 0.1).expect("a valid budget");
        let findings = policy(|p| p.budget(budget)).lint();
        if enough {
            assert_eq!(findings, []);
        } else {
            found(
                findings,
                LintCode::BudgetTooSmall,
                Severity::Error,
                &["budget"],
            );
        }
    }
    for budget in [RetryBudget::aws(), RetryBudget::shared()] {
        assert_eq!(policy(|p| p.budget(budget)).lint(), []);
    }
}

#[test]
fn linting_takes_nothing_from_a_budget() {
    let budget = RetryBudget::builder()
        .min_per_second(0)
        .capacity(1)
        .build()
        .expect("a valid budget");
    let policy = policy(|p| p.budget(budget.clone()));
    assert_eq!(policy.lint(), []);
    let stats = budget.stats(tokio::time::Instant::now().into_std());
    assert_eq!((stats.granted, stats.refused), (0, 0));
}

#[cfg(feature = "tower")]
#[test]
fn a_budget_of_towers_is_not_asked() {
    let budget = tower::retry::budget::TpsBudget::new(10 * SECOND, 0, 0.0);
    let budget = RetryBudget::from_tower(Arc::new(budget));
    assert_eq!(policy(|p| p.budget(budget)).lint(), []);
}

#[test]
fn something_must_bound_the_time() {
    let unbounded = RetryLayer::new(RetryPolicy::default());
    found(
        unbounded.lint(),
        LintCode::NoTimeLimit,
        Severity::Warn,
        &["attempt_timeout", "deadline"],
    );
    assert_eq!(unbounded.clone().attempt_timeout(SECOND).lint(), []);
    assert_eq!(unbounded.deadline(90 * SECOND).lint(), []);
}

#[test]
fn an_attempt_must_time_out_before_the_deadline() {
    let layer = layer(RetryPolicy::default());
    for timeout in [90 * SECOND, 91 * SECOND] {
        found(
            layer.clone().attempt_timeout(timeout).lint(),
            LintCode::AttemptTimeoutOverDeadline,
            Severity::Error,
            &["attempt_timeout", "deadline"],
        );
    }
    assert_eq!(layer.attempt_timeout(89 * SECOND).lint(), []);
}

#[test]
fn a_server_must_not_ask_for_more_than_the_deadline_allows() {
    let capped = |seconds, mode| {
        let policy = policy(|p| p.retry_after_max(seconds).retry_after_mode(mode));
        layer(policy).lint()
    };
    for (mode, severity) in [
        (RetryAfterMode::Clamp, Severity::Warn),
        // It stops either way, so no harm is done.
        (RetryAfterMode::GiveUp, Severity::Note),
    ] {
        found(
            capped(91, mode),
            LintCode::RetryAfterCapOverDeadline,
            severity,
            &["retry_after_max", "deadline"],
        );
        assert_eq!(capped(90, mode), []);
    }
    let deaf = policy(|p| p.retry_after_max(600).respect_retry_after_header(false));
    assert_eq!(layer(deaf).lint(), []);
}

#[test]
fn the_last_retry_must_come_before_the_deadline() {
    let lint = |policy, deadline_ms: u64, least_ms| {
        RetryLayer::new(policy)
            .deadline(Duration::from_millis(deadline_ms))
            .min_attempt(Duration::from_millis(least_ms))
            .allow(LintCode::RetryAfterCapOverDeadline)
            .lint()
    };
    let fields = ["backoff_factor", "total", "deadline"];
    let code = LintCode::ScheduleOverDeadline;

    // 1 + 2 + 4 seconds, to the second.
    let exact = || {
        let backoff = Backoff::exponential(SECOND).jitter(Jitter::Additive(SECOND / 1000));
        policy(|p| p.backoff(backoff))
    };
    found(lint(exact(), 7_000, 0), code, Severity::Error, &fields);
    assert_eq!(lint(exact(), 7_003, 0), []);
    // The last attempt takes time as well.
    found(lint(exact(), 7_003, 20), code, Severity::Error, &fields);

    // 0 to 700 milliseconds, usually about 350.
    let random = RetryPolicy::default;
    found(lint(random(), 300, 0), code, Severity::Warn, &fields);
    assert_eq!(lint(random(), 450, 0), []);

    // Retries without end are ended by the deadline as they should be.
    let endless = policy(|p| {
        p.total(None)
            .backoff(Backoff::constant(SECOND).jitter(Jitter::Equal))
    });
    assert_eq!(
        codes(&lint(endless, 5_000, 0)),
        [LintCode::UnlimitedRetries]
    );
}

#[test]
fn some_of_a_body_must_be_kept() {
    let none = layer(RetryPolicy::default()).replay_bodies(0);
    found(
        none.lint(),
        LintCode::BodyLimitZero,
        Severity::Warn,
        &["replay_bodies", "allowed_methods"],
    );
    assert_eq!(none.replay_bodies(1).lint(), []);

    let get_only = policy(|p| p.allowed_methods(["GET"]));
    let get_only = layer(get_only).replay_bodies(0);
    assert_eq!(get_only.lint(), []);
    let keyed = get_only.idempotency_keys_with(|| "key".into());
    assert_eq!(codes(&keyed.lint()), [LintCode::BodyLimitZero]);
    let reopened = keyed.reopen_bodies(|_| Ok::<_, std::io::Error>(()));
    assert_eq!(reopened.lint(), []);
}

fn mounted(prefixes: &[&str]) -> Mounts<RetryPolicy> {
    let mount = |mounts: Mounts<_>, prefix: &&str| mounts.mount(prefix, RetryPolicy::default());
    let mounts = prefixes.iter().try_fold(Mounts::new(), mount);
    mounts.expect("valid prefixes")
}

#[test]
fn both_schemes_must_be_mounted() {
    for (prefixes, severity) in [
        (&["https://"][..], Severity::Warn),
        (&["http://"], Severity::Warn),
        (&["http://a.test/v1"], Severity::Warn),
        // Most hosts are there for one scheme only.
        (&["https://a.test"], Severity::Note),
    ] {
        let lint = mounted(prefixes).lint();
        assert_eq!(only(lint.clone()).place.as_deref(), Some(prefixes[0]));
        found(lint, LintCode::MountOnlyOneScheme, severity, &["mounts"]);
    }
    let what = only(mounted(&["http://a.test/v1"]).lint()).message;
    assert!(
        what.starts_with("`https://a.test/v1` has no mount"),
        "{what}"
    );

    assert_eq!(Mounts::new().mount_all(RetryPolicy::default()).lint(), []);
    assert_eq!(mounted(&["http://a.test", "https://a.test/"]).lint(), []);
    // The host is fine: `https://` is mounted for it. Other hosts are not.
    let lint = mounted(&["http://a.test", "https://"]).lint();
    assert_eq!(only(lint).place.as_deref(), Some("https://"));
    // Neither another scheme nor a port of one's own has a counterpart.
    assert_eq!(mounted(&["ftp://", "http://a.test:8080"]).lint(), []);
    let fallback = mounted(&["http://a.test"]).fallback(RetryPolicy::default());
    assert_eq!(fallback.lint(), []);
}

#[test]
fn every_mount_must_be_reached() {
    let all = |prefixes| mounted(prefixes).fallback(RetryPolicy::default());
    found(
        all(&["https://a.test", "https://a.test/"]).lint(),
        LintCode::MountShadowed,
        Severity::Warn,
        &["mounts"],
    );
    for prefixes in [
        &[
            "https://",
            "https://a.test",
            "https://a.test/v1",
            "https://a.test/v1/",
        ][..],
        &["https://a.test/v1/", "https://a.test/v1"],
        &["http://", "https://"],
        &[
            "http://[::1]",
            "http://[::1]:8080/x",
            "http://b.test/%7Ejoe",
        ],
    ] {
        assert_eq!(all(prefixes).lint(), [], "{prefixes:?}");
    }
}

#[test]
fn findings_about_mounted_policies_say_where() {
    let once = urllib3(|p| p.total(1));
    let mounts = Mounts::new()
        .mount_all(RetryPolicy::default())
        .mount("https://a.test", policy(|p| p.total(0).read(1)))
        .expect("a valid prefix")
        .fallback(once);
    let layer = RetryLayer::new(mounts).deadline(90 * SECOND);
    let places: Vec<_> = layer
        .lint()
        .into_iter()
        .map(|finding| (finding.code, finding.place))
        .collect();
    assert_eq!(
        places,
        [
            (LintCode::TotalZero, Some("https://a.test".to_owned())),
            (LintCode::NoBackoff, Some("fallback".to_owned())),
            (
                LintCode::RetryAfterCapOverDeadline,
                Some("fallback".to_owned())
            ),
        ]
    );
}

#[test]
fn a_policy_without_retries_has_no_such_mistakes() {
    let off = policy(|p| {
        p.total(0)
            .allowed_methods(["POST"])
            .status_forcelist([200, 404])
            .backoff(Backoff::none())
    });
    assert_eq!(layer(off).lint(), []);
}

#[test]
fn the_gravest_come_first() {
    let layer = RetryLayer::new(policy(|p| {
        p.allowed_methods(["GET", "POST"])
            .retry_after_max(600)
            .total(None)
    }))
    .attempt_timeout(SECOND)
    .deadline(SECOND);
    let severities: Vec<_> = layer
        .lint()
        .iter()
        .map(|finding| finding.severity)
        .collect();
    assert_eq!(
        severities,
        [
            Severity::Error,
            Severity::Warn,
            Severity::Warn,
            Severity::Note
        ]
    );
}

#[test]
fn an_allowed_finding_is_not_listed() {
    let layer = RetryLayer::new(RetryPolicy::urllib3())
        .allow(LintCode::NoTimeLimit)
        .allow(LintCode::NoBackoff);
    assert_eq!(codes(&layer.lint()), [LintCode::NoStatusListed]);
}

#[test]
fn every_pointer_to_a_policy_lints_as_the_policy() {
    fn lint(policy: impl Policy) -> Vec<Finding> {
        let mut context = LintContext::wanting(&[Method::POST]);
        context.in_layer = true;
        policy.lint_with(&context)
    }

    let policy = RetryPolicy::urllib3();
    let expected = lint(policy.clone());
    assert_eq!(expected.len(), 3);
    assert_eq!(lint(&policy), expected);
    assert_eq!(lint(Arc::new(policy.clone())), expected);
    assert_eq!(lint(SharedPolicy::new(policy.clone())), expected);
    let shared: Arc<dyn DynPolicy> = Arc::new(policy.clone());
    assert_eq!(lint(shared), expected);
    #[cfg(feature = "reload")]
    assert_eq!(lint(Reloadable::new(policy.clone())), expected);
    let boxed: Box<dyn DynPolicy> = Box::new(policy);
    assert_eq!(lint(boxed), expected);
}

#[test]
fn the_layer_knows_its_own_mistakes_whatever_the_policy() {
    let closure = policy_fn(|_| tower_http_retry::policy::Decision::Accept);
    let layer = RetryLayer::new(closure);
    assert_eq!(codes(&layer.lint()), [LintCode::NoTimeLimit]);
}

#[test]
fn a_policy_of_ones_own_is_linted_by_the_parts_that_it_shows() {
    #[derive(Clone)]
    struct Nightly {
        day: RetryPolicy,
        night: RetryPolicy,
    }

    impl Policy for Nightly {
        type Session = RetrySession;

        fn session(&self, request: &RequestHead<'_>) -> RetrySession {
            self.night.session(request)
        }

        fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
            self.day.parts(visit);
            self.night
                .parts(&mut |part| visit(part.within("the inner one").within("night")));
        }
    }

    let policy = Nightly {
        day: RetryPolicy::default(),
        night: policy(|p| p.seed(1)),
    };
    let findings = RetryLayer::new(policy).deadline(90 * SECOND).lint();
    assert_eq!(codes(&findings), [LintCode::FixedSeed]);
    assert!(
        findings[0]
            .to_string()
            .starts_with("warning[fixed-seed] night, the inner one: `seed`: every process")
    );
}

#[test]
fn mounts_of_a_policy_that_chooses_between_several_are_looked_at_apart() {
    #[derive(Clone)]
    struct Two([Mounts<RetryPolicy>; 2]);

    impl Policy for Two {
        type Session = <Mounts<RetryPolicy> as Policy>::Session;

        fn session(&self, request: &RequestHead<'_>) -> Self::Session {
            self.0[usize::from(request.method().is_safe())].session(request)
        }

        fn parts(&self, visit: &mut dyn FnMut(Part<'_>)) {
            self.0.iter().for_each(|mounts| mounts.parts(visit));
        }
    }

    // Each of them has what the other lacks.
    let two = Two([mounted(&["http://a.test"]), mounted(&["https://a.test"])]);
    let found = two.lint();
    assert_eq!(codes(&found), [LintCode::MountOnlyOneScheme; 2]);
    assert_eq!(found[0].place.as_deref(), Some("http://a.test"));
}

#[cfg(feature = "serde")]
#[test]
fn findings_can_be_serialised() {
    let finding = only(policy(|p| p.total(0).read(2)).lint());
    assert_eq!(
        serde_json::to_value(&finding).expect("JSON"),
        serde_json::json!({
            "code": "total-zero",
            "severity": "error",
            "fields": ["total", "read"],
            "message": "`total` allows no retry, so `read` = 2 never counts",
            "help": "raise `total`, or leave the other limits out",
        })
    );
}

#[test]
fn statuses_that_say_never_or_not_modified_are_found() {
    for status in [412, 511] {
        let policy = policy(|p| p.status_forcelist([status, 503]));
        let finding = only(policy.lint());
        assert_eq!(finding.code, LintCode::StatusNeverTransient);
        assert!(finding.message.contains(&status.to_string()), "{finding}");
    }
    let policy = policy(|p| p.status_forcelist([304, 503]));
    assert_eq!(only(policy.lint()).code, LintCode::SuccessListed);
}

#[test]
fn a_shorter_base_after_throttling() {
    let base = |usual, throttled| {
        let backoff = Backoff::exponential(usual).throttle_base(throttled);
        policy(|p| p.backoff(backoff.jitter(Jitter::Full))).lint()
    };
    let fields = ["throttle_base", "backoff_factor"];
    let code = LintCode::ThrottleBaseBelowBase;
    found(base(SECOND, SECOND / 2), code, Severity::Warn, &fields);
    assert!(base(SECOND / 20, SECOND).is_empty());
    assert!(base(SECOND, SECOND).is_empty());
}

#[test]
fn new_kinds_of_backoff_are_looked_at_like_others() {
    let lint = |backoff| codes(&policy(|p| p.backoff(backoff)).lint());
    assert_eq!(
        lint(Backoff::from_fn(|_| Duration::ZERO)),
        [LintCode::NoBackoff]
    );
    let line = || Backoff::from_fn(|n| SECOND * n);
    assert_eq!(lint(line()), [LintCode::NoJitter]);
    assert_eq!(
        lint(line().jitter(Jitter::Around(0.0))),
        [LintCode::NoJitter]
    );
    assert_eq!(lint(line().jitter(Jitter::Around(0.2))), []);
}

#[test]
fn a_budget_that_limits_hardly_anything() {
    let lint = |share| {
        let budget = RetryBudget::builder()
            .min_ratio(share)
            .build()
            .expect("valid");
        policy(|p| p.budget(budget)).lint()
    };
    found(
        lint(0.6),
        LintCode::BudgetTooLarge,
        Severity::Warn,
        &["budget"],
    );
    assert!(lint(0.5).is_empty());
}

// What it costs.

/// The allocations of a look at a layer with so many mounts, each with its own mistakes.
fn allocations_of_lint(count: u64) -> u64 {
    let mut mounts = Mounts::new();
    for n in 0..count {
        let policy = policy(|b| {
            b.total(n as u32 % 7 + 1)
                .backoff(Backoff::constant(SECOND * 9))
        });
        let prefix = format!("https://t{}.test/v{n}", n % 1000);
        mounts = mounts.mount(&prefix, policy).expect("a prefix");
    }
    let layer = RetryLayer::new(mounts).deadline(40 * SECOND);
    let mut findings = Vec::new();
    let info = measure(|| findings = layer.lint());
    assert!(findings.len() as u64 >= 2 * count);
    info.count_total
}

#[test]
fn the_work_grows_with_the_number_of_mounts_and_not_faster() {
    let (few, many) = (allocations_of_lint(210), allocations_of_lint(21_000));
    assert!(many <= 101 * few, "{few} and {many}");
    // The schedule of a policy is drawn without a request that is made for each draw.
    assert!(many / 21_000 < 80, "{} for each mount", many / 21_000);
}
