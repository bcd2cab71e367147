//! Policies by URL prefix: what matches, what is an error, and what a report says of a URL
//! without a mount.

use std::time::Duration;

use allocation_counter::measure;
use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::Full;
use proptest::{prelude::*, sample::select};
use tokio_test::assert_ready;
use tower_http_retry::{
    RetryLayer,
    mounts::{InvalidMount, Mounts},
    policy::{
        Eligibility, Idempotent, Limit, Note, Policy, RequestHead, RetryDisabled, RetryPolicy,
        Session, StopReason, policy_fn,
    },
};
use tower_test::mock;

use test_support::probe::{Req, Res, answer, every, get, report, sent, start};

/// Mounts each prefix with itself for a policy.
fn mounts<'a>(prefixes: &[&'a str]) -> Mounts<&'a str> {
    prefixes.iter().fold(Mounts::new(), |mounts, prefix| {
        mounts.mount(prefix, *prefix).expect(prefix)
    })
}

/// The prefix that a URL is judged by, as it was mounted.
#[track_caller]
fn found<'a>(mounts: &Mounts<&'a str>, url: &str) -> Option<&'a str> {
    let uri: Uri = url.parse().expect(url);
    mounts.get(&uri).map(|mount| *mount.policy())
}

fn refused(prefix: &str) -> InvalidMount {
    match Mounts::new().mount(prefix, ()) {
        Ok(mounts) => panic!("{prefix} was mounted as {mounts:?}"),
        Err(error) => error,
    }
}

#[test]
fn the_longest_prefix_wins_whatever_the_order() {
    let mut prefixes = [
        "https://",
        "http://",
        "https://a.test",
        "https://a.test/v1",
        "https://a.test/v1/users",
    ];
    for _ in 0..prefixes.len() {
        prefixes.rotate_left(1);
        let mounts = mounts(&prefixes);
        for (url, prefix) in [
            ("https://b.test/v1/users", "https://"),
            ("http://a.test/v1/users", "http://"),
            ("https://a.test", "https://a.test"),
            ("https://a.test/v2/users", "https://a.test"),
            ("https://a.test/v1", "https://a.test/v1"),
            ("https://a.test/v1/other/users", "https://a.test/v1"),
            ("https://a.test/v1/users?x=/y", "https://a.test/v1/users"),
            ("https://a.test/v1/users/7", "https://a.test/v1/users"),
        ] {
            assert_eq!(found(&mounts, url), Some(prefix), "{url}");
        }
        assert_eq!(found(&mounts, "ftp://a.test/v1"), None);
    }
}

#[test]
fn a_host_is_matched_as_a_whole() {
    let mounts = mounts(&["https://api.example.com"]);
    for url in [
        "https://api.example.com",
        "https://api.example.com/x",
        "https://API.Example.COM/",
        "HTTPS://api.example.com/",
        "https://api.example.com:443/",
        "https://api.example.com:/",
        "https://user:secret@api.example.com/",
        "https://other.test:80@api.example.com/",
    ] {
        assert!(found(&mounts, url).is_some(), "{url}");
    }
    for url in [
        "https://api.example.com.evil.test/",
        "https://api.example.comevil/",
        "https://api.example.com@evil.test/",
        "https://api.example.com:8443/",
        "https://api.example.com:44/",
        "https://api.example.com:4430/",
        "https://api.example.com:65979/",
        "https://api.example.com./",
        "https://xapi.example.com/",
        "https://example.com/",
        "http://api.example.com/",
        "http://api.example.com:443/",
        "httpsx://api.example.com/",
        "/api.example.com",
        "api.example.com:443",
    ] {
        assert_eq!(found(&mounts, url), None, "{url}");
    }
}

#[test]
fn a_port_that_is_not_named_is_the_schemes() {
    let mounts = mounts(&[
        "http://a.test:80",
        "https://a.test:8443/x",
        "custom://a.test:9",
    ]);
    for (url, prefix) in [
        ("http://a.test/", Some("http://a.test:80")),
        ("http://a.test:080/", Some("http://a.test:80")),
        ("https://a.test:8443/x/y", Some("https://a.test:8443/x")),
        ("https://a.test/x/y", None),
        ("custom://a.test:9/", Some("custom://a.test:9")),
        ("CUSTOM://A.TEST:9/", Some("custom://a.test:9")),
        ("custom://a.test/", None),
    ] {
        assert_eq!(found(&mounts, url), prefix, "{url}");
    }
    assert_eq!(mounts.iter().next().expect("one").prefix(), "http://a.test");
}

#[test]
fn addresses_match_in_any_spelling() {
    let mounts = mounts(&["http://[2001:DB8:0::1]/", "http://127.0.0.1:8080"]);
    assert!(found(&mounts, "http://[2001:db8::1]:80/x").is_some());
    assert!(found(&mounts, "http://[2001:db8:0:0:0:0:0:1]/").is_some());
    assert!(found(&mounts, "http://user@[2001:db8::0.0.0.1]/").is_some());
    assert!(found(&mounts, "http://[2001:db8::2]/").is_none());
    assert!(found(&mounts, "http://[2001:db8::1]:81/").is_none());
    assert!(found(&mounts, "http://127.0.0.1:8080/").is_some());
    assert!(found(&mounts, "http://127.0.0.10:8080/").is_none());
    let canonical = mounts.iter().next().expect("one").prefix();
    assert_eq!(canonical, "http://[2001:db8::1]/");
}

#[test]
fn segments_match_as_a_whole_and_in_their_case() {
    let mounts = mounts(&["http://a.test/v1", "http://a.test/Docs/"]);
    for (url, prefix) in [
        ("http://a.test/v1", Some("http://a.test/v1")),
        ("http://a.test/v1/", Some("http://a.test/v1")),
        ("http://a.test/v1?v2", Some("http://a.test/v1")),
        ("http://a.test/v1//x", Some("http://a.test/v1")),
        ("http://a.test/v1beta", None),
        ("http://a.test/V1", None),
        ("http://a.test//v1", None),
        ("http://a.test/v", None),
        // What is below a slash, and not what is before it.
        ("http://a.test/Docs/", Some("http://a.test/Docs/")),
        ("http://a.test/Docs/x", Some("http://a.test/Docs/")),
        ("http://a.test/Docs", None),
    ] {
        assert_eq!(found(&mounts, url), prefix, "{url}");
    }
}

#[test]
fn a_prefix_with_a_slash_is_longer_than_the_one_without() {
    let mounts = mounts(&[
        "http://a.test/v1/",
        "http://a.test/v1",
        "http://a.test/",
        "http://a.test",
    ]);
    for (url, prefix) in [
        ("http://a.test/v1", "http://a.test/v1"),
        ("http://a.test/v1/", "http://a.test/v1/"),
        ("http://a.test/v1/x", "http://a.test/v1/"),
        ("http://a.test/v2", "http://a.test/"),
        ("http://a.test", "http://a.test/"),
    ] {
        assert_eq!(found(&mounts, url), Some(prefix), "{url}");
    }
}

#[test]
fn needless_encoding_makes_no_difference() {
    let mounts = mounts(&["http://a.test/%7Euser/a%2fb", "http://a.test/caf%C3%A9"]);
    for url in [
        "http://a.test/~user/a%2Fb/x",
        "http://a.test/%7e%75ser/%61%2fb",
    ] {
        assert_eq!(
            found(&mounts, url),
            Some("http://a.test/%7Euser/a%2fb"),
            "{url}"
        );
    }
    // An encoded slash is no slash.
    assert_eq!(found(&mounts, "http://a.test/~user/a/b"), None);
    assert!(found(&mounts, "http://a.test/caf%c3%a9").is_some());
    // What only looks like an encoding stays as it is.
    assert_eq!(found(&mounts, "http://a.test/caf%C3%A"), None);
    assert_eq!(found(&mounts, "http://a.test/%"), None);
    assert_eq!(
        mounts
            .iter()
            .map(|mount| mount.prefix())
            .collect::<Vec<_>>(),
        ["http://a.test/~user/a%2Fb", "http://a.test/caf%C3%A9"],
    );
}

#[test]
fn dot_segments_are_resolved() {
    let mounts = mounts(&[
        "http://a.test/v1/",
        "http://a.test/admin",
        "http://a.test/x/../y/./z",
    ]);
    for (url, prefix) in [
        ("http://a.test/v1/../admin", Some("http://a.test/admin")),
        ("http://a.test/v1/%2e%2E/admin", Some("http://a.test/admin")),
        (
            "http://a.test/other/deep/../../v1/x",
            Some("http://a.test/v1/"),
        ),
        ("http://a.test/../../v1/", Some("http://a.test/v1/")),
        ("http://a.test/./v1/./x", Some("http://a.test/v1/")),
        ("http://a.test/v1/.", Some("http://a.test/v1/")),
        ("http://a.test/v1/x/..", Some("http://a.test/v1/")),
        ("http://a.test/v1/..", None),
        ("http://a.test/v1/../other", None),
        ("http://a.test/v1/...", Some("http://a.test/v1/")),
        ("http://a.test/y/z", Some("http://a.test/x/../y/./z")),
    ] {
        assert_eq!(found(&mounts, url), prefix, "{url}");
    }
}

#[test]
fn two_spellings_of_a_prefix_are_one_mount() {
    let mounts = mounts(&["https://a.test/~x", "http://", "HTTPS://A.Test:443/%7ex"]);
    assert_eq!(mounts.len(), 2);
    assert_eq!(
        found(&mounts, "https://a.test/~x"),
        Some("HTTPS://A.Test:443/%7ex")
    );
    let prefixes: Vec<_> = mounts.iter().map(|mount| mount.prefix()).collect();
    assert_eq!(prefixes, ["https://a.test/~x", "http://"]);
}

#[test]
fn mount_all_covers_both_schemes_and_shares_the_policy() {
    let mounts = Mounts::new()
        .mount_all("all")
        .mount("http://", "plain")
        .expect("a prefix");
    assert_eq!(found(&mounts, "https://a.test/"), Some("all"));
    assert_eq!(found(&mounts, "http://a.test/"), Some("plain"));
    assert_eq!(found(&mounts, "ws://a.test/"), None);
}

#[test]
fn a_copy_is_not_changed_by_later_mounts() {
    let first = mounts(&["http://"]);
    let second = first
        .clone()
        .mount("https://", "https://")
        .expect("a prefix");
    assert_eq!((first.len(), second.len()), (1, 2));
    assert_eq!(found(&first, "https://a.test/"), None);
    assert_ne!(first, second);
    // The order says nothing.
    assert_eq!(second, mounts(&["https://", "http://"]));
}

#[test]
fn what_is_no_url_prefix_is_an_error_that_says_what_is() {
    for (prefix, problem) in [
        ("", "it is empty"),
        ("http", "it has no scheme"),
        ("api.example.com", "it has no scheme"),
        ("//api.example.com", "it has no scheme"),
        ("mock:", "it has no scheme"),
        ("all://api.example.com", "`all` is no scheme"),
        ("1http://a.test", "its scheme is none"),
        ("://a.test", "its scheme is none"),
        ("ht tp://a.test", "it contains white space"),
        (" https://a.test", "it contains white space"),
        ("https://a.test/a b", "it contains white space"),
        ("https:///path", "it has a path but no host"),
        ("https://:443", "it has a port but no host"),
        ("https://user@a.test", "it has user information"),
        ("https://*.example.com", "it has a wildcard"),
        ("https://a.test:port", "its port is no port number"),
        ("https://a.test:+80", "its port is no port number"),
        ("https://a.test:65536", "its port is no port number"),
        ("https://a.test?x=1", "it has a query"),
        ("https://a.test/#frag", "it has a query or a fragment"),
        ("https://a%2Etest", "its host is none"),
        ("https://a<b", "its host is none"),
        ("https://[", "its host is none"),
        ("https://[::1", "its host is none"),
        ("https://[::1]x", "its port is no port number"),
        ("https://[]", "its IPv6 address is none"),
        ("https://[fe80::1%25eth0]", "its IPv6 address is none"),
        ("https://[1.2.3.4]", "its IPv6 address is none"),
        (
            "https://a.test/%",
            "its path has a `%` that begins no encoded octet",
        ),
        ("https://a.test/%7", "its path has a `%`"),
        ("https://a.test/%zz", "its path has a `%`"),
        ("https://a.test/é", "its path is not ASCII"),
        ("https://a.test/<", "its path has a character"),
    ] {
        let error = refused(prefix);
        assert_eq!(error.prefix(), prefix);
        assert!(error.problem().starts_with(problem), "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("{prefix:?} is no mount: {problem}")),
            "{text}"
        );
        assert!(
            text.ends_with(&format!("; it must be {}", error.allowed())),
            "{text}"
        );
    }
}

#[cfg(feature = "idna")]
#[test]
fn internationalized_names_are_mounted_in_any_form() {
    for prefix in [
        "https://bücher.test",
        "https://BÜCHER.test",
        "https://XN--bcher-kva.TEST",
    ] {
        let mounts = mounts(&[prefix]);
        assert!(found(&mounts, "https://xn--bcher-kva.test/").is_some());
        assert_eq!(
            mounts.iter().next().expect("one").prefix(),
            "https://xn--bcher-kva.test"
        );
    }
    // Full width, and a sign that becomes a letter.
    let mounts = mounts(&["https://ａ.test", "https://\u{212a}.test"]);
    assert!(found(&mounts, "https://a.test/").is_some());
    assert!(found(&mounts, "https://k.test/").is_some());
    // What would become another part of the URL.
    for prefix in [
        "https://a\u{ff0f}b",
        "https://a\u{ff20}b",
        "https://a\u{ff1a}80",
        "https://\u{ad}",
    ] {
        let error = refused(prefix);
        assert!(error.problem().starts_with("its host is"), "{error}");
    }
}

#[cfg(not(feature = "idna"))]
#[test]
fn a_name_that_is_not_ascii_is_an_error_that_names_the_feature() {
    let error = refused("https://bücher.test");
    assert_eq!(error.problem(), "its host is not ASCII");
    assert!(error.allowed().contains("`idna`"), "{error}");
    let mounts = mounts(&["https://XN--bcher-kva.TEST"]);
    assert!(found(&mounts, "https://xn--bcher-kva.test/").is_some());
}

// What a policy of requests is told.

fn head(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a request")
}

fn eligibility<P: Policy>(policy: &P, request: &Request<()>) -> Eligibility {
    policy.session(&RequestHead::of(request)).eligibility()
}

#[test]
fn the_mounted_policy_decides() {
    let never = RetryPolicy::builder()
        .total(Limit::Never)
        .build()
        .expect("valid");
    let mounts = Mounts::new()
        .mount("https://never.test", never)
        .expect("a prefix")
        .fallback(RetryPolicy::default());
    let decided = |uri| eligibility(&mounts, &head(uri));
    assert!(matches!(
        decided("https://never.test/x"),
        Eligibility::Never(StopReason::KindDisabled { .. })
    ));
    assert_eq!(decided("https://a.test/"), Eligibility::Eligible);
    assert_eq!(mounts.fallback_policy(), Some(&RetryPolicy::default()));
}

#[test]
fn without_mount_and_fallback_nothing_is_retried() {
    let mounts = Mounts::new()
        .mount("https://a.test", RetryPolicy::default())
        .expect("a prefix");
    assert!(matches!(
        eligibility(&mounts, &head("http://a.test/")),
        Eligibility::Never(StopReason::NoMount { .. })
    ));
    assert_eq!(mounts.fallback_policy(), None);
}

#[test]
fn the_nearest_mounts_are_named_with_what_is_different() {
    let prefixes = [
        "https://api.example.com/v1/",
        "https://api.example.com:8443",
        "http://api.example.com",
        "https://www.example.com",
        "https://example.com",
        "https://api.example.com.proxy.test:8080",
        "https://elsewhere.test",
        "https://10.0.0.1",
        "ftp://api.example.com:2121/x",
    ];
    let mounts = mounts(&prefixes);
    for (url, nearest) in [
        (
            "https://api.example.com/v2",
            &[
                "https://api.example.com/v1/ (other path)",
                "https://api.example.com:8443 (other port)",
                "http://api.example.com (other scheme)",
            ][..],
        ),
        (
            "ftp://www.example.com/",
            &[
                "https://www.example.com (other scheme)",
                "https://api.example.com/v1/ (other scheme, other host)",
                "http://api.example.com (other scheme, other host)",
            ],
        ),
        (
            "https://API.example.com.evil.test/",
            // One label in common is no more than all of `.test` have.
            &[
                "https://api.example.com/v1/ (other host)",
                "https://api.example.com:8443 (other host, other port)",
                "http://api.example.com (other scheme, other host)",
            ],
        ),
        ("https://10.0.0.2/", &[]),
        ("https://[::1]/", &[]),
        ("http://localhost:3000/", &[]),
        ("/only/path", &[]),
    ] {
        let uri: Uri = url.parse().expect(url);
        assert!(mounts.get(&uri).is_none(), "{url}");
        assert_eq!(mounts.nearest(&uri), nearest, "{url}");
    }

    let only_https = self::mounts(&["https://"]);
    assert_eq!(
        only_https.nearest(&Uri::from_static("http://a.test")),
        ["https:// (other scheme)"]
    );
}

// Through the layer.

fn to(uri: &str) -> Req {
    let mut request = get();
    *request.uri_mut() = uri.parse().expect(uri);
    request
}

/// The report of a request that is answered with these statuses.
fn reported<P: Policy + Clone>(
    policy: P,
    request: Req,
    statuses: &[u16],
) -> tower_http_retry::RetryReport {
    let layer = RetryLayer::new(policy);
    let (mut service, mut handle) = mock::spawn_layer::<Req, Res, _>(layer);
    let mut future = start(&mut service, request);
    for (at, status) in statuses.iter().enumerate() {
        assert!(at == 0 || future.poll().is_pending());
        sent(&mut handle).1.send_response(answer(*status));
    }
    let response = assert_ready!(future.poll()).expect("a response");
    report(&response).clone()
}

#[test]
fn a_failure_without_a_mount_says_which_come_near() {
    let mounts = Mounts::new()
        .mount("http://a.test/v1/", every(Duration::ZERO))
        .expect("a prefix");
    let request = || to("https://user:secret@a.test/v1/x?token=1");
    let report = reported(mounts.clone(), request(), &[503]);
    let nearest = vec!["http://a.test/v1/ (other scheme)".to_owned()];
    assert_eq!(report.stop, StopReason::NoMount { nearest });
    assert_eq!(
        report.stop.to_string(),
        "no mount matches the URL; nearest: http://a.test/v1/ (other scheme)",
    );

    // With a fallback, that is what decides, and it is noted once.
    let mounts = mounts.fallback(every(Duration::ZERO));
    let report = reported(mounts, request(), &[503, 503, 200]);
    assert_eq!(report.stop, StopReason::Succeeded);
    let notes: Vec<_> = report
        .attempts
        .iter()
        .map(|attempt| attempt.note.as_deref().cloned())
        .collect();
    let nearest = vec!["http://a.test/v1/ (other scheme)".to_owned()];
    assert_eq!(notes, [Some(Note::NoMount { nearest }), None, None]);
    let text = report.to_string();
    assert!(
        text.contains(
            "note: no mount matches the URL, so the fallback policy applies; nearest: \
             http://a.test/v1/ (other scheme)\n"
        ),
        "{text}"
    );
}

#[test]
fn what_a_request_brings_along_comes_before_any_mount() {
    let mounts = || {
        Mounts::new()
            .mount("http://mounted.test", every(Duration::ZERO))
            .expect("a prefix")
    };
    let mut own = to("http://a.test/");
    own.extensions_mut().insert(every(Duration::ZERO));
    assert!(reported(mounts(), own, &[503, 200]).stop.is_success());

    let mut disabled = to("http://mounted.test/");
    disabled.extensions_mut().insert(RetryDisabled);
    assert_eq!(
        reported(mounts(), disabled, &[503]).stop,
        StopReason::Disabled
    );

    let mut marked = to("http://mounted.test/");
    *marked.method_mut() = Method::POST;
    marked.extensions_mut().insert(Idempotent);
    assert!(reported(mounts(), marked, &[503, 200]).stop.is_success());
}

#[test]
fn every_policy_can_be_mounted() {
    let give_up = policy_fn(|attempt| {
        let method = attempt.method().to_string();
        tower_http_retry::policy::Decision::Stop(tower_http_retry::policy::StopDecision::because(
            StopReason::Custom(method.into()),
        ))
    });
    let mounts = Mounts::new()
        .mount("http://a.test", give_up)
        .expect("a prefix");
    let report = reported(mounts, to("http://a.test/x"), &[503]);
    assert_eq!(report.stop, StopReason::Custom("GET".into()));
}

// What it costs.

#[test]
fn a_lookup_allocates_nothing() {
    let mut all = mounts(&["https://[::1]:8443", "https://", "https://a.test/v1/~x"]);
    for tenant in 0..100 {
        let prefix = format!("https://tenant-{tenant}.test/v1/");
        all = all.mount(&prefix, "tenant").expect("a prefix");
    }
    for url in [
        "https://tenant-7.test/v1/x/y/z?q",
        "https://TENANT-7.test:443/%761/../v1/%2Fx",
        "https://a.test/v1/%7ex",
        "https://[0:0::1]:8443/",
        "https://other.test/deep/path",
        "http://a.test/",
        "/path",
    ] {
        let uri: Uri = url.parse().expect(url);
        let mut found = None;
        let info = measure(|| found = all.get(&uri));
        assert_eq!(info.count_total, 0, "{url} {found:?}");
    }
}

#[test]
fn the_happy_path_costs_no_allocation_more() {
    let request = || {
        Request::get("https://a.test/v1/x")
            .body(Full::new(Bytes::new()))
            .expect("a request")
    };
    let sessions = |policy: &dyn Fn(&RequestHead<'_>)| {
        let request = request();
        let head = RequestHead::of(&request);
        measure(|| policy(&head)).count_total
    };
    let plain = RetryPolicy::default();
    let mounted = Mounts::new().mount_all(plain.clone());
    let fallback = Mounts::new().fallback(plain.clone());
    let nothing = Mounts::<RetryPolicy>::new();
    // The first look at a hash seed is not a request's cost.
    let _ = mounted.get(&Uri::from_static("https://a.test"));
    let alone = sessions(&|head| drop(plain.session(head)));
    assert_eq!(sessions(&|head| drop(mounted.session(head))), alone);
    assert_eq!(sessions(&|head| drop(fallback.session(head))), alone);
    let costs = sessions(&|head| {
        let session = nothing.session(head);
        assert!(matches!(session.eligibility(), Eligibility::Never(_)));
    });
    assert_eq!(costs, 0);
}

#[test]
fn a_failure_without_a_mount_costs_the_same_with_one_and_with_many() {
    let one = Mounts::new()
        .mount("https://a.test/v1/", ())
        .expect("a prefix");
    let mut many = one.clone();
    for n in 0..100_000 {
        let prefix = match n % 4 {
            0 => format!("https://a.test/v1/{n}"),
            1 => format!("https://t{n}.a.test"),
            2 => format!("https://a.test:{}/{n}", n % 60_000 + 1000),
            _ => format!("https://t{n}.test/v1/"),
        };
        many = many.mount(&prefix, ()).expect("a prefix");
    }
    for url in [
        "http://a.test/v1/x",
        "https://a.test/v2",
        "https://x.a.test/",
        "https://t3.test.evil/v1/",
        "https://unknown.example/",
    ] {
        let uri: Uri = url.parse().expect(url);
        let cost = |mounts: &Mounts<()>| {
            let mut named = Vec::new();
            let info = measure(|| named = mounts.nearest(&uri));
            assert!(named.len() <= 3);
            (info.count_total, info.bytes_total)
        };
        let (few, (count, bytes)) = (cost(&one), cost(&many));
        // Three names in place of one, and lists that hold their candidates.
        assert!(count <= few.0 + 40, "{url}: {few:?} and {count}");
        assert!(bytes <= few.1 + 20_000, "{url}: {few:?} and {bytes}");
        assert_eq!(measure(|| _ = many.get(&uri)).count_total, 0);
    }
}

// Against another implementation, which looks at every mount.

/// Scheme, host, port, segments, and whether it ends with a slash.
#[derive(Debug)]
struct Parts {
    origin: (String, String, u16),
    segments: Vec<String>,
    slash: bool,
}

fn parts(url: &str) -> Parts {
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let scheme = scheme.to_lowercase();
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    // The colons of an IPv6 literal are none of a port's.
    let literal = authority.find(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match authority[literal..].find(':') {
        Some(colon) => (
            &authority[..literal + colon],
            &authority[literal + colon + 1..],
        ),
        None => (authority, ""),
    };
    let default = if scheme == "http" { 80 } else { 443 };
    let path = path
        .replace("%61", "a")
        .replace("%2e", ".")
        .replace("%2E", ".");
    let mut segments: Vec<String> = Vec::new();
    let mut slash = false;
    for segment in path.split('/').skip(1) {
        slash = ["", ".", ".."].contains(&segment);
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.to_owned()),
        }
    }
    if path.ends_with('/') {
        segments.pop();
    }
    Parts {
        origin: (scheme, host.to_lowercase(), port.parse().unwrap_or(default)),
        segments,
        slash,
    }
}

fn slow<'a>(mounts: &[&'a str], url: &str) -> Option<&'a str> {
    let mut url = parts(url);
    // A URL without a path has the path `/`.
    url.slash |= url.segments.is_empty();
    let matches = |prefix: &Parts| {
        let all_hosts = prefix.origin.1.is_empty();
        let here = prefix.origin == url.origin || all_hosts && prefix.origin.0 == url.origin.0;
        let begins = url.segments.starts_with(&prefix.segments);
        let goes_on = url.slash || url.segments.len() > prefix.segments.len();
        here && begins && (!prefix.slash || goes_on || all_hosts)
    };
    mounts
        .iter()
        .map(|prefix| (parts(prefix), *prefix))
        .filter(|(prefix, _)| matches(prefix))
        // The last one of equals.
        .max_by_key(|(prefix, _)| {
            (
                !prefix.origin.1.is_empty(),
                prefix.segments.len(),
                prefix.slash,
            )
        })
        .map(|(_, prefix)| prefix)
}

fn url() -> impl Strategy<Value = String> {
    let scheme = select(&["http", "https", "HTTPS"][..]);
    let host = select(&["a", "A", "b", "a.b", "aa"][..]);
    let port = select(&["", ":", ":80", ":443", ":81"][..]);
    let segment = select(
        &[
            "a", "%61", "b", "A", "ab", "", ".", "..", "%2e", ".%2E", "c",
        ][..],
    );
    let path = proptest::collection::vec(segment, 0..6)
        .prop_map(|segments| segments.iter().map(|s| format!("/{s}")).collect::<String>());
    (scheme, host, port, path)
        .prop_map(|(scheme, host, port, path)| format!("{scheme}://{host}{port}{path}"))
}

fn prefix() -> impl Strategy<Value = String> {
    prop_oneof![1 => Just("http://".to_owned()), 1 => Just("https://".to_owned()), 9 => url()]
}

proptest! {
    #[test]
    fn the_hashed_lookup_finds_what_a_search_finds(
        prefixes in proptest::collection::vec(prefix(), 0..12),
        urls in proptest::collection::vec(url(), 1..12),
    ) {
        let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
        let mounts = mounts(&prefixes);
        for url in &urls {
            prop_assert_eq!(found(&mounts, url), slow(&prefixes, url), "{} in {:?}", url, prefixes);
        }
    }

    #[test]
    fn normal_forms_are_stable(prefix in prefix()) {
        let once = mounts(&[&prefix]);
        let normal = once.iter().next().expect("one").prefix();
        let twice = mounts(&[normal]);
        prop_assert_eq!(twice.iter().next().expect("one").prefix(), normal);
    }

    #[test]
    fn no_input_panics(prefix in "\\PC{0,40}", host in "[a-z0-9:@\\[\\]%.*-]{0,12}", path in "[a-z/.%?#0-9]{0,20}", uri in "[a-z:/@\\[\\]%.0-9]{0,30}") {
        let long = "a%2F".repeat(60);
        for prefix in [prefix, format!("http://{host}/{path}"), format!("{uri}/{long}")] {
            let mounts = match Mounts::new().mount(&prefix, ()) {
                Ok(mounts) => mounts,
                Err(error) => {
                    prop_assert_eq!(error.prefix(), prefix);
                    continue;
                }
            };
            // What can be mounted is a prefix of itself, wherever it is a URI.
            if let Ok(uri) = prefix.parse::<Uri>() {
                prop_assert!(mounts.get(&uri).is_some(), "{}", prefix);
            }
        }
        if let Ok(uri) = uri.parse::<Uri>() {
            let mounts = mounts(&["http://a.test", "http://", "a://b/c"]);
            let _ = (mounts.get(&uri), mounts.nearest(&uri));
        }
    }
}
