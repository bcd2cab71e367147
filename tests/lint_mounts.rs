//! What is found to be wrong with mounts, and what is not.

use tower_http_retry::policy::{
    Mounts, Policy, RetryPolicy, SharedPolicy,
    lint::{Finding, LintCode, LintContext, Severity},
};

/// Policies without mistakes at these prefixes.
fn mounts(prefixes: &[&str]) -> Mounts<RetryPolicy> {
    prefixes.iter().fold(Mounts::new(), |mounts, prefix| {
        mounts.mount(prefix, RetryPolicy::default()).expect(prefix)
    })
}

fn places(findings: &[Finding]) -> Vec<(LintCode, Severity, &str)> {
    findings
        .iter()
        .map(|found| {
            let place = found.place.as_deref().expect("a place");
            (found.code, found.severity, place)
        })
        .collect()
}

#[test]
fn one_scheme_alone_is_a_mistake() {
    let only = LintCode::MountOnlyOneScheme;
    for (prefixes, expected) in [
        (&["http://"][..], &[(only, Severity::Warn, "http://")][..]),
        (&["https://"], &[(only, Severity::Warn, "https://")]),
        // What the whole scheme lacks is not told of each host.
        (
            &["https://", "https://a.test"],
            &[(only, Severity::Warn, "https://")],
        ),
        (
            &["http://a.test/v1"],
            &[(only, Severity::Warn, "http://a.test/v1")],
        ),
        // The other scheme has only a part of it.
        (
            &["http://a.test", "https://a.test/v1"],
            &[(only, Severity::Warn, "http://a.test")],
        ),
        // Most services have `https` alone.
        (
            &["https://a.test"],
            &[(only, Severity::Note, "https://a.test")],
        ),
        (
            &["https://a.test", "http://b.test"],
            &[
                (only, Severity::Note, "https://a.test"),
                (only, Severity::Warn, "http://b.test"),
            ],
        ),
    ] {
        assert_eq!(places(&mounts(prefixes).lint()), expected, "{prefixes:?}");
    }
    let finding = &mounts(&["http://"]).lint()[0];
    assert_eq!(
        finding.what,
        "requests with `https` have no mount and are not retried"
    );
    assert!(finding.mend.contains("`mount_all`"), "{finding}");
}

#[test]
fn both_schemes_or_a_fallback_are_none() {
    for prefixes in [
        &[][..],
        &["http://", "https://"],
        &["http://", "https://", "https://a.test"],
        &["http://a.test", "https://a.test"],
        &["http://a.test/", "https://a.test"],
        // A port has one scheme.
        &["https://a.test:8443", "http://localhost:3000/x"],
        &["ftp://a.test", "ftp://"],
    ] {
        assert_eq!(mounts(prefixes).lint(), [], "{prefixes:?}");
    }
    assert_eq!(Mounts::new().mount_all(RetryPolicy::default()).lint(), []);
    let fallback = mounts(&["http://"]).fallback(RetryPolicy::default());
    assert_eq!(fallback.lint(), []);
}

#[test]
fn a_mount_that_is_never_reached_is_a_mistake() {
    let shadowed = |prefixes: &[&str]| {
        let mounts = mounts(prefixes).fallback(RetryPolicy::default());
        let findings = mounts.lint();
        let found = places(&findings);
        assert!(found.iter().all(|found| found.0 == LintCode::MountShadowed));
        found
            .into_iter()
            .map(|found| found.2.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shadowed(&["http://a.test", "http://a.test/"]),
        ["http://a.test"]
    );
    assert_eq!(
        shadowed(&["http://a.test:81/", "http://A.test:81"]),
        ["http://a.test:81"]
    );
    // Each of these has URLs of its own.
    assert_eq!(
        shadowed(&["http://a.test/v1", "http://a.test/v1/", "http://a.test/"]),
        [""; 0]
    );
    assert_eq!(
        shadowed(&["http://a.test", "http://a.test/v1", "http://"]),
        [""; 0]
    );
}

#[test]
fn findings_of_policies_say_where_they_are() {
    let bad = RetryPolicy::builder()
        .total(0)
        .connect(1)
        .build()
        .expect("valid");
    let mounts = Mounts::new()
        .mount_all(RetryPolicy::default())
        .mount("https://a.test", bad.clone())
        .expect("a prefix")
        .fallback(bad.clone());
    let findings = mounts.lint();
    assert_eq!(
        places(&findings),
        [(
            LintCode::TotalZero,
            Severity::Error,
            "https://a.test, the fallback"
        )],
    );

    // The same mistake of many is one finding.
    let mut many = Mounts::new().mount_all(RetryPolicy::default());
    for tenant in 0..1000 {
        let prefix = format!("https://tenant-{tenant}.test");
        many = many.mount(&prefix, bad.clone()).expect("a prefix");
    }
    let findings = many.lint();
    assert_eq!(
        places(&findings),
        [(
            LintCode::TotalZero,
            Severity::Error,
            "https://tenant-0.test, https://tenant-1.test, https://tenant-2.test and 997 more",
        )],
    );
}

#[test]
fn mounts_pass_on_what_is_known_and_lint_behind_pointers() {
    let mut context = LintContext::default();
    context.methods = vec![http::Method::POST];
    let mounts = Mounts::new().mount_all(RetryPolicy::default());
    let findings = mounts.lint_with(&context);
    let expected = [(
        LintCode::MethodNotAllowed,
        Severity::Warn,
        "http://, https://",
    )];
    assert_eq!(places(&findings), expected);
    assert_eq!(SharedPolicy::new(mounts).lint_with(&context), findings);
}

#[cfg(feature = "reload")]
#[test]
fn a_reloadable_policy_lints_as_the_one_it_has() {
    use tower_http_retry::policy::Reloadable;

    let policy = Reloadable::new(RetryPolicy::default());
    assert_eq!(policy.lint(), []);
    policy.replace(RetryPolicy::urllib3());
    assert_eq!(policy.lint(), RetryPolicy::urllib3().lint());
}
