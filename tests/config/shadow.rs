//! A policy that is only asked, in a document.
#![cfg(all(feature = "serde", feature = "shadow"))]

use tower_http_retry::{
    config::RetryConfig,
    policy::{Limit, LimitKind, RetryPolicy},
    shadow::Shadow,
};

fn read(text: &str) -> RetryConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn what_the_candidate_does_not_say_is_as_at_the_top() {
    let config = read(
        r#"
        total = 5
        status_forcelist = [503]
        budget = { capacity = 7 }
        attempt_timeout = "1s"

        [candidate]
        total = 1
        backoff = { max = "3s" }
        "#,
    );
    let shadow = config.to_shadow().expect("valid");
    assert_eq!(shadow.live().total(), Limit::AtMost(5));
    let candidate = shadow.candidate().expect("there is one");
    assert_eq!(candidate.total(), Limit::AtMost(1));
    assert!(candidate.status_forcelist().eq([503]));
    // The same settings, but never the same tokens.
    let budgets = [shadow.live(), candidate].map(|policy| policy.budget().expect("a budget"));
    assert_eq!(budgets[0].capacity(), budgets[1].capacity());
}

#[test]
fn a_candidate_with_a_preset_begins_with_it() {
    let config = read("total = 5\n[candidate]\npreset = \"urllib3\"");
    let shadow = config.to_shadow().expect("valid");
    let candidate = shadow.candidate().expect("there is one");
    assert_eq!(candidate.total(), RetryPolicy::urllib3().total());
}

#[test]
fn without_a_candidate_nobody_is_asked() {
    let shadow = read("total = 2").to_shadow().expect("valid");
    assert!(shadow.candidate().is_none());
    assert_eq!(shadow.live().total(), Limit::AtMost(2));
}

#[test]
fn what_is_written_is_read_again() {
    let candidate = RetryPolicy::builder().total(1).build().expect("valid");
    for shadow in [
        Shadow::new(RetryPolicy::default(), candidate.clone()),
        Shadow::new(RetryPolicy::urllib3(), candidate),
        read("total = 2").to_shadow().expect("valid"),
    ] {
        let written = RetryConfig::from(&shadow);
        for again in [
            read(&toml::to_string(&written).expect("TOML")),
            serde_json::from_str(&serde_json::to_string(&written).expect("JSON")).expect("JSON"),
        ] {
            assert_eq!(again, written);
            let again = again.to_shadow().expect("valid");
            assert_eq!(again.live(), shadow.live());
            assert_eq!(again.candidate(), shadow.candidate());
        }
    }
}

#[test]
fn candidates_are_merged_like_everything_else() {
    let file = read("total = 5\n[candidate]\ntotal = 1\nread = 0");
    let over = read("[candidate]\ntotal = 2");
    let merged = file.clone().overridden_by(over.clone());
    let shadow = merged.to_shadow().expect("valid");
    let candidate = shadow.candidate().expect("there is one");
    assert_eq!(candidate.total(), Limit::AtMost(2));
    assert_eq!(candidate.limit(LimitKind::Read), Limit::AtMost(0));
    // Whichever of the two has one.
    for (one, other) in [(file, read("status = 1")), (read("status = 1"), over)] {
        let shadow = one.overridden_by(other).to_shadow().expect("valid");
        assert!(shadow.candidate().is_some());
    }
}

/// Each mistake, and what its error has to name.
#[test]
fn mistakes_are_named() {
    for (text, named) in [
        ("[candidate]\ntotl = 1", &["candidate.totl", "total"][..]),
        ("[candidate]\ntotal = \"x\"", &["candidate.total", "x"]),
        (
            "[candidate]\ndeadline = \"1s\"",
            &["candidate.deadline", "the layer's"],
        ),
        ("candidate = 3", &["candidate", "table"]),
        (
            "[candidate.candidate]\ntotal = 1",
            &["candidate.candidate", "top"],
        ),
        (
            "[mounts.\"http://a.test/\".candidate]\ntotal = 1",
            &["candidate", "top"],
        ),
        (
            "[candidate.backoff]\nkind = \"cubic\"",
            &["candidate.backoff", "cubic"],
        ),
    ] {
        let error = toml::from_str::<RetryConfig>(text).expect_err(text);
        for word in named {
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
    }
    let twice = r#"{"candidate": {"total": 1}, "candidate": {"total": 2}}"#;
    let error = serde_json::from_str::<RetryConfig>(twice).expect_err("twice");
    assert!(error.to_string().contains("candidate"), "{error}");
    // A value that does not go with another one is found when they are built.
    let config = read("[candidate]\nbudget = { capacity = 0.5, cost = 2 }");
    let error = config.to_shadow().expect_err("it costs more than there is");
    assert!(error.to_string().contains("candidate"), "{error}");
}

#[test]
fn nothing_leaves_a_candidate_out_silently() {
    let config = read("[candidate]\ntotal = 1");
    for error in [config.build().map(drop), config.to_mounts().map(drop)] {
        let error = error.expect_err("it would not be asked").to_string();
        assert!(
            error.contains("candidate") && error.contains("to_shadow"),
            "{error}"
        );
    }
    let both = read("[candidate]\ntotal = 1\n[mounts.\"http://a.test/\"]\ntotal = 2");
    let error = both.to_shadow().expect_err("there are two live policies");
    assert!(error.to_string().contains("mounts"), "{error}");
    let variable = RetryConfig::from_vars("RETRY_", [("RETRY_CANDIDATE", "x")]);
    let error = variable.expect_err("it has no variable").to_string();
    assert!(error.contains("RETRY_CANDIDATE"), "{error}");
}
