//! Policies as documents: what they say, what is wrong with them, and that nothing is lost.
#![cfg(feature = "serde")]

use std::time::Duration;

use allocation_counter::measure;
use http::{HeaderName, Uri};
use proptest::{prelude::*, sample::select};
use serde_json::json;
use tower_http_retry::{
    RetryLayer,
    budget::{RetryBudget, Scope},
    classify::FailureKind,
    config::{InvalidConfig, RetryConfig},
    policy::{
        Backoff, Jitter, Limit, LimitKind, Methods, ResetFormat, ResetHeader, RetryAfterMode,
        RetryPolicy,
    },
};

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn toml(document: &str) -> RetryConfig {
    toml::from_str(document).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn built(document: &str) -> RetryPolicy {
    toml(document).build().expect("a policy")
}

/// The message about a document, without the place that the format adds.
#[track_caller]
fn message(document: &str) -> String {
    match toml::from_str::<RetryConfig>(document) {
        Err(error) => error.message().to_owned(),
        Ok(config) => config.to_mounts().expect_err("it is wrong").to_string(),
    }
}

// What documents say.

#[test]
fn an_empty_document_is_the_default() {
    assert_eq!(built(""), RetryPolicy::default());
    assert_eq!(RetryConfig::default(), toml(""));
    assert_eq!(built("preset = \"default\""), RetryPolicy::default());
    assert_eq!(built("preset = \"urllib3\""), RetryPolicy::urllib3());
}

#[test]
fn every_key_of_a_policy_is_its_setter() {
    let policy = built(
        r#"
        preset = "urllib3"
        total = 5
        connect = 4
        read = false
        redirect = 0
        status = "unlimited"
        other = -1
        unprocessed = 7
        allowed_methods = ["GET", "POST", "propfind"]
        status_forcelist = [503, 429]
        unprocessed_statuses = [421, 429]
        once_statuses = [401]
        backoff_factor = 0.5
        backoff_max = 60
        backoff_jitter = "250ms"
        respect_retry_after_header = false
        retry_after_max = "1m 30s"
        retry_after_mode = "give_up"
        raise_on_status = false
        seed = 7
        "#,
    );
    let same = RetryPolicy::urllib3_builder()
        .total(5)
        .connect(4)
        .read(false)
        .redirect(0)
        .status(Limit::Unlimited)
        .other(-1)
        .unprocessed(7)
        .allowed_methods(["GET", "POST", "propfind"])
        .status_forcelist([429, 503])
        .unprocessed_statuses([429, 421])
        .once_statuses([401])
        .backoff_factor(0.5)
        .backoff_max(60)
        .backoff_jitter(0.25)
        .respect_retry_after_header(false)
        .retry_after_max(90)
        .retry_after_mode(RetryAfterMode::GiveUp)
        .raise_on_status(false)
        .seed(7)
        .build()
        .expect("valid");
    assert_eq!(policy, same);
}

#[test]
fn hints_are_headers_by_name_or_in_tables() {
    let policy = built(
        r#"
        retry_after_jitter = 0.5
        should_retry_header = "X-Again"
        reset_headers = [
            "x-reset",
            { name = "x-limit-reset", format = "epoch", remaining = "x-limit-remaining" },
        ]
        "#,
    );
    let name = HeaderName::from_static;
    let same = RetryPolicy::builder()
        .retry_after_jitter(0.5)
        .should_retry_header(name("x-again"))
        .reset_headers([
            ResetHeader::new(name("x-reset"), ResetFormat::Auto),
            ResetHeader::new(name("x-limit-reset"), ResetFormat::Epoch)
                .remaining(name("x-limit-remaining")),
        ])
        .build()
        .expect("valid");
    assert_eq!(policy, same);
    let none = built("should_retry_header = false\nreset_headers = []");
    assert_eq!(none.should_retry_header(), None);
    assert!(none.reset_headers().is_empty());
}

#[test]
fn limits_have_urllib3s_three_forms() {
    for (value, limit) in [
        (json!(3), Limit::AtMost(3)),
        (json!(0), Limit::AtMost(0)),
        (json!(false), Limit::Never),
        (json!("never"), Limit::Never),
        (json!(null), Limit::Unlimited),
        (json!("unlimited"), Limit::Unlimited),
    ] {
        for kind in LimitKind::ALL {
            let config: RetryConfig =
                serde_json::from_value(json!({ kind.as_str(): value })).expect("a document");
            assert_eq!(
                config.build().expect("a policy").limit(kind),
                limit,
                "{kind} {value}"
            );
        }
    }
}

#[test]
fn methods_are_a_list_or_any() {
    for any in [json!("any"), json!(false), json!(null)] {
        let config: RetryConfig =
            serde_json::from_value(json!({ "allowed_methods": any })).expect("a document");
        assert!(config.build().expect("a policy").allowed_methods().is_any());
    }
    assert_eq!(
        *built("allowed_methods = []").allowed_methods(),
        Methods::none()
    );
}

#[test]
fn the_backoff_is_a_table_or_urllib3s_keys() {
    let backoff = |document: &str| built(document).backoff().clone();
    // Without a kind, a change of the preset's.
    let preset = Backoff::exponential(SECOND / 10)
        .max(20 * SECOND)
        .jitter(Jitter::Full);
    assert_eq!(backoff(""), preset);
    assert_eq!(backoff("backoff.max = 5"), preset.clone().max(5 * SECOND));
    assert_eq!(
        backoff("backoff_max = \"5s\""),
        preset.clone().max(5 * SECOND)
    );
    assert_eq!(
        backoff("backoff_max = inf"),
        preset.clone().max(Duration::MAX)
    );
    assert_eq!(
        backoff("backoff.multiplier = 3"),
        preset.clone().multiplier(3.0)
    );
    assert_eq!(
        backoff("backoff_jitter = \"none\""),
        preset.clone().jitter(Jitter::None)
    );
    // With one, a new one.
    for (document, expected) in [
        (
            "kind = \"exponential\", base = \"1s\"",
            Backoff::exponential(SECOND),
        ),
        ("kind = \"urllib3\"", Backoff::urllib3(0.0)),
        ("kind = \"urllib3\", base = 0.1", Backoff::urllib3(0.1)),
        (
            "kind = \"linear\", base = 1, jitter = 2",
            Backoff::linear(SECOND).jitter(Jitter::Additive(2 * SECOND)),
        ),
        (
            "kind = \"fibonacci\", base = 1.0",
            Backoff::fibonacci(SECOND),
        ),
        (
            "kind = \"constant\", base = \"1000ms\", max = \"unlimited\"",
            Backoff::constant(SECOND),
        ),
        (
            "kind = \"list\", waits = [1, \"500ms\"]",
            Backoff::list([SECOND, SECOND / 2]),
        ),
        ("waits = [1]", Backoff::list([SECOND])),
        (
            "kind = \"none\", jitter = \"decorrelated\"",
            Backoff::none().jitter(Jitter::Decorrelated),
        ),
    ] {
        assert_eq!(
            backoff(&format!("backoff = {{ {document} }}")),
            expected,
            "{document}"
        );
    }
}

#[test]
fn the_budget_is_a_table_or_none() {
    let budget = |document: &str| built(document).budget().cloned();
    assert_eq!(budget(""), Some(RetryBudget::default()));
    assert_eq!(budget("budget = false"), None);
    assert_eq!(budget("budget.kind = \"aws\""), Some(RetryBudget::aws()));
    assert_eq!(
        budget("budget = { kind = \"grpc\", capacity = 100, ratio = 0.1239 }"),
        RetryBudget::grpc(100, 0.1239).ok(),
    );
    let all = r#"
        [budget]
        kind = "ratio"
        ratio = 0.5
        min_ratio = 0.25
        min_per_second = 2
        capacity = 30
        throttle_cost = 0.5
        scope = "shared"
        [budget.cost]
        connect = 1
        read = 2
        status = 3.5
    "#;
    let same = RetryBudget::builder()
        .ratio(0.5)
        .min_ratio(0.25)
        .min_per_second(2)
        .capacity(30)
        .throttle_cost(0.5)
        .scope(Scope::Shared)
        .cost(FailureKind::Connect, 1)
        .cost(FailureKind::Read, 2)
        .cost(FailureKind::Status, 3.5)
        .build();
    assert_eq!(budget(all), same.ok());
    // The capacity follows from the rest unless it is named, as with the builder.
    let same = RetryBudget::builder().min_per_second(50).build();
    assert_eq!(budget("budget.min_per_second = 50"), same.ok());
    let kinds = [
        FailureKind::Connect,
        FailureKind::Read,
        FailureKind::Status,
        FailureKind::Other,
    ];
    let twice = kinds
        .iter()
        .fold(RetryBudget::builder(), |b, kind| b.cost(*kind, 2));
    assert_eq!(budget("budget.cost = 2"), twice.build().ok());
}

#[test]
fn mounts_that_are_no_tables_are_named() {
    for (document, named) in [
        (r#"{"mounts": 5}"#, "`mounts`"),
        (r#"{"mounts": {"https://a.test": 5}}"#, "\"https://a.test\""),
    ] {
        let error = serde_json::from_str::<RetryConfig>(document).expect_err("no table");
        let error = error.to_string();
        assert!(error.contains(named) && error.contains('5'), "{error}");
    }
}

#[test]
fn mounts_begin_with_what_the_top_says() {
    let config = toml(
        r#"
        total = 5
        budget.scope = "shared"
        backoff_max = 3

        [mounts."https://a.test/"]
        read = false
        backoff.jitter = "none"

        [mounts."https://a.test/v1"]
        preset = "urllib3"

        [mounts."https://b.test/"]
        budget.ratio = 0.5
        "#,
    );
    let mounts = config.to_mounts().expect("mounts");
    let at = |uri: &'static str| mounts.get(&Uri::from_static(uri)).expect(uri).policy();
    let top = mounts.fallback_policy().expect("the top");
    assert_eq!(top.total(), Limit::AtMost(5));

    let same = top
        .to_builder()
        .read(false)
        .backoff(top.backoff().clone().jitter(Jitter::None));
    assert_eq!(*at("https://a.test/"), same.build().expect("valid"));
    // A preset starts anew.
    assert_eq!(*at("https://a.test/v1"), RetryPolicy::urllib3());
    // A table without a kind changes the budget that the mount would have had.
    let budget = at("https://b.test/").budget();
    let same = RetryBudget::builder()
        .scope(Scope::Shared)
        .ratio(0.5)
        .build();
    assert_eq!(budget, same.ok().as_ref());

    // What is inherited is the same budget, not one like it.
    let now = tokio::time::Instant::now().into_std();
    let slot = top
        .budget()
        .expect("a budget")
        .slot(&Uri::from_static("http://a.test"));
    let balance = |policy: &RetryPolicy| policy.budget().expect("a budget").balance(slot, now);
    let before = balance(top);
    at("https://a.test/")
        .budget()
        .expect("a budget")
        .withdraw(slot, FailureKind::Read, false, now)
        .expect("funds");
    assert_ne!(balance(top), before);

    assert!(
        toml("fallback = false")
            .to_mounts()
            .expect("mounts")
            .fallback_policy()
            .is_none()
    );
    assert!(
        toml("fallback = true")
            .to_mounts()
            .expect("mounts")
            .fallback_policy()
            .is_some()
    );
    let error = config.build().expect_err("more than one").to_string();
    assert_eq!(
        error,
        "`mounts` makes more than one policy; `to_mounts` builds them"
    );
}

#[test]
fn the_layers_keys_are_set_on_the_layer() {
    let config = toml(
        r#"
        attempt_timeout = "5s"
        deadline = 20
        min_attempt = 0.01
        replay_limit = 65536
        drain_limit = 0
        attempt_header = "Retry-Attempt"
        max_retries_in_flight = 3
        share_hints = true
        "#,
    );
    assert_eq!(config.replay_limit(), Some(65536));
    let layer = RetryLayer::new(RetryPolicy::default()).configure(&config);
    let text = format!("{layer:?}");
    for part in [
        "attempt_timeout: Some(5s)",
        "deadline: Some(20s)",
        "min_attempt: 10ms",
        "bytes: 0",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // What it does not say stays.
    let kept = layer.configure(&toml("deadline = 7"));
    let text = format!("{kept:?}");
    assert!(
        text.contains("attempt_timeout: Some(5s)") && text.contains("deadline: Some(7s)"),
        "{text}"
    );
}

#[cfg(feature = "ratelimit")]
#[test]
fn pace_below_is_a_setting_of_shared_hints_and_brings_them_along() {
    use tower_http_retry::policy::RequestHead;

    let request = http::Request::get("http://example.com/").body(());
    let request = request.expect("a request");
    for (document, paces) in [
        ("pace_below = 0.2", true),
        ("pace_below = 0.2\nshare_hints = true", true),
        ("pace_below = 0.2\nshare_hints = false", false),
        ("share_hints = true", false),
    ] {
        let layer = RetryLayer::new(RetryPolicy::default()).configure(&toml(document));
        let text = layer.explain(&RequestHead::of(&request)).to_string();
        let spread = text.contains("spread once less than 20 % of a quota is left");
        assert_eq!(spread, paces, "{document}: {text}");
    }
    for document in ["pace_below = 0", "pace_below = 1.5", "pace_below = true"] {
        let error = toml::from_str::<RetryConfig>(document).expect_err("no part");
        assert!(
            error.to_string().contains("pace_below"),
            "{document}: {error}"
        );
    }
    let written = serde_json::to_string(&toml("pace_below = 0.2")).expect("JSON");
    assert!(written.contains(r#""pace_below":0.2"#), "{written}");
}

#[test]
fn yaml_like_maps_json_and_toml_say_the_same() {
    let expected = toml("total = 2\nbackoff_factor = 1\nallowed_methods = [\"GET\"]");
    let json = r#"{"total": 2, "backoff_factor": 1, "allowed_methods": ["GET"]}"#;
    assert_eq!(
        serde_json::from_str::<RetryConfig>(json).expect("a document"),
        expected
    );
    let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(
        serde_json::from_value::<RetryConfig>(value).expect("a document"),
        expected
    );
    let table: toml::Table =
        toml::from_str("total = 2\nbackoff_factor = 1\nallowed_methods = [\"GET\"]").expect("TOML");
    assert_eq!(
        table.try_into::<RetryConfig>().expect("a document"),
        expected
    );
}

// What is wrong with them.

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    for (document, expected) in [
        ("totla = 1", "`totla` is unknown: did you mean `total`?"),
        ("Total = 1", "`Total` is unknown: did you mean `total`?"),
        (
            "allowed-methods = []",
            "`allowed-methods` is unknown: did you mean `allowed_methods`?",
        ),
        (
            "method_whitelist = []",
            "`method_whitelist` is unknown: urllib3 2 calls it `allowed_methods`",
        ),
        (
            "DEFAULT_METHOD_WHITELIST = []",
            "`DEFAULT_METHOD_WHITELIST` is unknown: urllib3 2 calls it `allowed_methods`",
        ),
        (
            "DEFAULT_BACKOFF_MAX = 1",
            "`DEFAULT_BACKOFF_MAX` is unknown: it is called `backoff_max` here",
        ),
        (
            "max_retries = 1",
            "`max_retries` is unknown: it is called `total` here",
        ),
        (
            "raise_on_redirect = true",
            "`raise_on_redirect` is unknown: redirects are followed by another layer, which has its own settings",
        ),
        (
            "backoff.bse = 1",
            "`backoff.bse` is unknown: did you mean `backoff.base`?",
        ),
        (
            "budget.ratoi = 1",
            "`budget.ratoi` is unknown: did you mean `budget.ratio`?",
        ),
        (
            "budget.cost.raed = 1",
            "`budget.cost.raed` is unknown: did you mean `budget.cost.read`?",
        ),
        (
            "mounts.\"https://a.test\".totl = 1",
            "`mounts.\"https://a.test\".totl` is unknown: did you mean `mounts.\"https://a.test\".total`?",
        ),
        (
            "mounts.\"https://a.test\".deadline = 1",
            "`mounts.\"https://a.test\".deadline` is unknown: `deadline` is the layer's, not a policy's; it stands at the top",
        ),
        (
            "backoff.growth = 1",
            "`backoff.growth` is unknown: must be one of `kind`, `base`, `throttle_base`, `waits`, `max`, `multiplier`, `jitter`",
        ),
    ] {
        assert_eq!(message(document), expected);
    }
    let text = message("completely_different = 1");
    assert!(
        text.starts_with("`completely_different` is unknown: must be one of `preset`, `total`"),
        "{text}"
    );
}

#[test]
fn wrong_values_name_the_key_the_value_and_what_is_allowed() {
    let seconds = "must be a number of seconds that is not negative, or a text such as \"1m 30s\" or \"250ms\"";
    for (document, start, end) in [
        (
            "total = \"5\"",
            "`total` is \"5\"",
            "must be a whole number of retries, false (never) or \"unlimited\" (null)",
        ),
        ("total = true", "`total` is true", "(null)"),
        ("total = 1.5", "`total` is 1.5", "(null)"),
        (
            "read = -1",
            "`read` is -1",
            "must be a number of retries that is not negative, unlimited or never",
        ),
        (
            "preset = \"requests\"",
            "`preset` is \"requests\"",
            "must be \"default\", \"grpc\" or \"urllib3\"",
        ),
        (
            "unprocessed = -1",
            "`unprocessed` is -1",
            "must be a whole number in 0..=4294967295",
        ),
        (
            "allowed_methods = \"GET\"",
            "`allowed_methods` is \"GET\"",
            "or \"any\" (false, null)",
        ),
        (
            "allowed_methods = [\"GET\", \"a b\"]",
            "`allowed_methods` is \"a b\"",
            "or \"any\" (false, null)",
        ),
        (
            "allowed_methods = [1]",
            "`allowed_methods` is 1",
            "or \"any\" (false, null)",
        ),
        (
            "status_forcelist = 503",
            "`status_forcelist` is 503",
            "must be a list of statuses in 100..=999",
        ),
        (
            "status_forcelist = [503, 42]",
            "`status_forcelist` is 42",
            "must be a list of statuses in 100..=999",
        ),
        (
            "status_forcelist = [\"5xx\"]",
            "`status_forcelist` is \"5xx\"",
            "in 100..=999",
        ),
        ("backoff_factor = -0.1", "`backoff_factor` is -0.1", seconds),
        ("backoff_factor = nan", "`backoff_factor` is NaN", seconds),
        (
            "backoff_max = -1",
            "`backoff_max` is -1",
            "or \"unlimited\" (null)",
        ),
        (
            "backoff_jitter = \"some\"",
            "`backoff_jitter` is \"some\"",
            "or the most that is added, in seconds or as text",
        ),
        ("backoff = 1", "`backoff` is 1", "must be a table"),
        (
            "backoff.kind = \"quadratic\"",
            "`backoff.kind` is \"quadratic\"",
            "\"fibonacci\" or \"none\"",
        ),
        (
            "backoff.waits = [\"soon\"]",
            "`backoff.waits` is \"soon\"",
            seconds,
        ),
        (
            "backoff.multiplier = 0.5",
            "`multiplier` is 0.5",
            "must be a finite number >= 1",
        ),
        (
            "respect_retry_after_header = 1",
            "`respect_retry_after_header` is 1",
            "must be true or false",
        ),
        (
            "retry_after_max = \"1 fortnight\"",
            "`retry_after_max` is \"1 fortnight\"",
            "(null)",
        ),
        (
            "retry_after_mode = \"obey\"",
            "`retry_after_mode` is \"obey\"",
            "must be \"clamp\" or \"give_up\"",
        ),
        (
            "retry_after_jitter = 2",
            "`retry_after_jitter` is 2",
            "must be a number in 0..=1",
        ),
        (
            "should_retry_header = \"a b\"",
            "`should_retry_header` is \"a b\"",
            "must be the name of a header, or false (null) for none",
        ),
        (
            "reset_headers = [7]",
            "`reset_headers` is 7",
            "or of tables with `name`, `format` and `remaining`",
        ),
        (
            "reset_headers = [\"ratelimit\"]",
            "`reset_headers` is ratelimit",
            "must be a header that is not read as something else",
        ),
        (
            "reset_headers = [{ name = \"a\", format = \"date\" }]",
            "`reset_headers.format` is \"date\"",
            "must be \"auto\", \"seconds\", \"milliseconds\", \"epoch\", \"go_duration\" or \"rfc3339\"",
        ),
        (
            "raise_on_status = \"yes\"",
            "`raise_on_status` is \"yes\"",
            "must be true or false",
        ),
        (
            "budget = true",
            "`budget` is true",
            "must be a table, or false (null) for none",
        ),
        (
            "budget.ratio = 5000",
            "`budget.ratio` is 5000",
            "must be 0, or from 0.001 to 1000",
        ),
        (
            "budget.kind = \"sre\"",
            "`budget.kind` is \"sre\"",
            "must be \"ratio\", \"aws\" or \"grpc\"",
        ),
        (
            "budget.slots = 0",
            "`budget.slots` is 0",
            "must be from 1 to 1048576",
        ),
        (
            "budget.cost.read = \"a\"",
            "`budget.cost.read` is \"a\"",
            "must be a finite number that is not negative",
        ),
        (
            "seed = -1",
            "`seed` is -1",
            "must be a whole number in 0..=18446744073709551615",
        ),
        ("deadline = \"later\"", "`deadline` is \"later\"", seconds),
        (
            "replay_limit = 1.5",
            "`replay_limit` is 1.5",
            "must be a whole number in 0..=9223372036854775807",
        ),
        (
            "attempt_header = \"a b\"",
            "`attempt_header` is \"a b\"",
            "must be the name of a header that nothing else gives a meaning, such as \
             `retry-attempt`",
        ),
        (
            "attempt_header = \"Content-Length\"",
            "`attempt_header` is \"content-length\", which frames the message",
            "such as `retry-attempt`",
        ),
        (
            "max_retries_in_flight = 0",
            "`max_retries_in_flight` is 0",
            "must be a whole number in 1..=4294967295",
        ),
        (
            "mounts.\"a.test\" = {}",
            "`mounts` is \"a.test\" (it has no scheme)",
            "`scheme://host[:port]/path`",
        ),
        (
            "mounts.\"http://a\".total = []",
            "`mounts.\"http://a\".total` is []",
            "(null)",
        ),
    ] {
        let text = message(document);
        assert!(
            text.starts_with(&format!("{start}: ")) && text.ends_with(end),
            "{text}"
        );
    }
}

#[test]
fn what_does_not_go_together_is_an_error() {
    for (document, expected) in [
        (
            "backoff_max = 1\nbackoff.max = 2",
            "`backoff_max` is given twice, or under two names",
        ),
        (
            "backoff.base = 1\nbackoff_factor = 2",
            "`backoff_factor` is given twice, or under two names",
        ),
        ("backoff.kind = \"linear\"", "`backoff.kind` needs `base`"),
        ("backoff.kind = \"list\"", "`backoff.kind` needs `waits`"),
        (
            "backoff = { kind = \"none\", base = 1 }",
            "`backoff.base` does not go with the kind \"none\"",
        ),
        (
            "backoff = { kind = \"linear\", base = 1, waits = [1] }",
            "`backoff.waits` do not go with this kind, only with \"list\"",
        ),
        (
            "[mounts]\n\"http://a.test\" = {}\n\"HTTP://A.test:80\" = {}",
            "`mounts.\"http://a.test\"` is the same mount as another one",
        ),
    ] {
        assert_eq!(message(document), expected, "{document}");
    }
    let twice = r#"{"total": 1, "total": 2}"#;
    let error = serde_json::from_str::<RetryConfig>(twice).expect_err("given twice");
    assert!(
        error.to_string().starts_with("`total` is given twice"),
        "{error}"
    );
    let twice = r#"{"mounts": {"http://a": {}, "http://a": {}}}"#;
    let error = serde_json::from_str::<RetryConfig>(twice).expect_err("given twice");
    assert!(
        error
            .to_string()
            .starts_with("`mounts.\"http://a\"` is given twice"),
        "{error}"
    );
}

#[test]
fn formats_add_the_place_of_an_error() {
    for (document, line, column) in [
        ("total = 1\n\nread = []\n", 3, 8),
        ("total = 1\nraed = 2", 2, 1),
        ("[mounts.\"http://a\"]\ntotal = 1\nstatus = \"x\"", 3, 10),
    ] {
        let error = toml::from_str::<RetryConfig>(document)
            .expect_err("wrong")
            .to_string();
        let place = format!("TOML parse error at line {line}, column {column}");
        assert!(error.starts_with(&place), "{error}");
    }
    let error = serde_json::from_str::<RetryConfig>("{\n \"total\": 1.5,\n \"read\": 1}")
        .expect_err("wrong");
    assert_eq!(error.line(), 2, "{error}");
}

#[test]
fn an_error_tells_its_parts() {
    let error = RetryConfig::from_vars("R_", [("R_TOTAL", "x")]).expect_err("wrong");
    assert_eq!((error.key(), error.given()), ("R_TOTAL", Some("\"x\"")));
    assert!(
        error
            .allowed()
            .is_some_and(|allowed| allowed.starts_with("a whole number"))
    );
    let error = RetryConfig::from_vars("R_", [("R_X", "x")]).expect_err("wrong");
    assert_eq!(
        (error.key(), error.given(), error.allowed()),
        ("R_X", None, None)
    );
}

// The environment.

fn vars(vars: &[(&str, &str)]) -> Result<RetryConfig, InvalidConfig> {
    RetryConfig::from_vars("RETRY_", vars.iter().copied())
}

#[test]
fn variables_are_keys_in_upper_case() {
    let config = vars(&[
        ("PATH", "/bin"),
        ("RETRY", "x"),
        ("RETRY_PRESET", "urllib3"),
        ("RETRY_TOTAL", " 5 "),
        ("RETRY_READ", "false"),
        ("RETRY_OTHER", "unlimited"),
        ("RETRY_ALLOWED_METHODS", "GET, POST"),
        ("RETRY_STATUS_FORCELIST", "503"),
        ("RETRY_BACKOFF_FACTOR", "0.5"),
        ("RETRY_BACKOFF_MAX", "1m"),
        ("RETRY_RAISE_ON_STATUS", "False"),
        ("RETRY_BUDGET_RATIO", "0.1"),
        ("RETRY_BUDGET_COST_READ", "2"),
        ("RETRY_BUDGET_SCOPE", "shared"),
        ("RETRY_DEADLINE", "250ms"),
    ])
    .expect("a configuration");
    let same = toml(
        r#"
        preset = "urllib3"
        total = 5
        read = false
        other = "unlimited"
        allowed_methods = ["GET", "POST"]
        status_forcelist = [503]
        backoff_factor = 0.5
        backoff_max = 60
        raise_on_status = false
        budget = { ratio = 0.1, cost.read = 2, scope = "shared" }
        deadline = "250ms"
        "#,
    );
    assert_eq!(config, same);
    let list = vars(&[
        ("RETRY_BACKOFF_WAITS", "100ms,1,5s"),
        ("RETRY_BACKOFF_KIND", "list"),
    ]);
    let waits = [SECOND / 10, SECOND, 5 * SECOND];
    assert_eq!(
        *list.expect("a list").build().expect("a policy").backoff(),
        Backoff::list(waits)
    );
    let none = vars(&[
        ("RETRY_ALLOWED_METHODS", ""),
        ("RETRY_STATUS_FORCELIST", "429,503,"),
    ]);
    let policy = none.expect("lists").build().expect("a policy");
    assert_eq!(*policy.allowed_methods(), Methods::none());
    assert!(policy.status_forcelist().eq([429, 503]));
    assert_eq!(vars(&[]).expect("nothing"), RetryConfig::default());
}

#[test]
fn unknown_variables_are_errors() {
    for (name, value, expected) in [
        (
            "RETRY_TOTL",
            "1",
            "`RETRY_TOTL` is unknown: did you mean `RETRY_TOTAL`?",
        ),
        (
            "RETRY_BUDGET_RATE",
            "1",
            "`RETRY_BUDGET_RATE` is unknown: did you mean `RETRY_BUDGET_RATIO`?",
        ),
        (
            "RETRY_BUDGET_COST_RED",
            "1",
            "`RETRY_BUDGET_COST_RED` is unknown: did you mean `RETRY_BUDGET_COST_READ`?",
        ),
        (
            "RETRY_MOUNTS",
            "1",
            "`RETRY_MOUNTS` is unknown: mounts have no variables; they are written in a document",
        ),
        (
            "RETRY_TOTAL",
            "many",
            "`RETRY_TOTAL` is \"many\": must be a whole number of retries, false (never) or \"unlimited\" (null)",
        ),
        (
            "RETRY_BACKOFF_BASE",
            "x",
            "`RETRY_BACKOFF_BASE` is \"x\": must be a number of seconds that is not negative, or a text such as \"1m 30s\" or \"250ms\"",
        ),
    ] {
        assert_eq!(
            vars(&[(name, value)]).expect_err(name).to_string(),
            expected
        );
    }
    let off = vars(&[("RETRY_BUDGET", "false"), ("RETRY_BUDGET_RATIO", "1")]).expect_err("both");
    assert_eq!(
        off.to_string(),
        "`RETRY_BUDGET` switches off what other variables set"
    );
    let twice = vars(&[("RETRY_TOTAL", "1"), ("RETRY_total", "1")]).expect_err("twice");
    assert_eq!(
        twice.to_string(),
        "`RETRY_TOTAL` is given twice, or under two names"
    );
}

#[test]
fn the_environment_of_this_process_can_be_read() {
    let config = RetryConfig::from_env("A_PREFIX_THAT_NO_VARIABLE_HAS_").expect("nothing");
    assert_eq!(config, RetryConfig::default());
}

#[test]
fn one_configuration_overrides_another() {
    let file = toml(
        r#"
        total = 5
        read = 2
        deadline = 20
        backoff = { kind = "linear", base = 1, max = 9 }
        budget = { ratio = 0.3, capacity = 50 }
        mounts."http://a.test".total = 1
        "#,
    );
    let env = vars(&[
        ("RETRY_TOTAL", "3"),
        ("RETRY_BACKOFF_FACTOR", "2"),
        ("RETRY_BUDGET_RATIO", "0.1"),
        ("RETRY_ATTEMPT_TIMEOUT", "1"),
    ]);
    let more = toml("mounts.\"http://a.test\".read = 0\nmounts.\"http://b.test\".total = 2");
    let both = file
        .overridden_by(env.expect("variables"))
        .overridden_by(more);
    let same = toml(
        r#"
        total = 3
        read = 2
        deadline = 20
        attempt_timeout = 1
        backoff = { kind = "linear", base = 2, max = 9 }
        budget = { ratio = 0.1, capacity = 50 }
        mounts."http://a.test" = { total = 1, read = 0 }
        mounts."http://b.test".total = 2
        "#,
    );
    assert_eq!(both, same);
    // A kind leaves nothing of the other backoff.
    let anew = both.overridden_by(toml("backoff = { waits = [1] }\nbudget = false"));
    let policy = anew
        .overridden_by(RetryConfig::default())
        .to_mounts()
        .expect("mounts");
    let top = policy.fallback_policy().expect("the top");
    assert_eq!(*top.backoff(), Backoff::list([SECOND]));
    assert_eq!(top.budget(), None);
}

proptest! {
    #[test]
    fn no_document_panics(
        key in select(&["total", "backoff", "budget", "backoff_factor", "retry_after_max", "allowed_methods", "status_forcelist", "seed", "mounts", "deadline", "max_retries_in_flight", "nonsense"][..]),
        inner in select(&["kind", "base", "waits", "max", "jitter", "ratio", "capacity", "cost", "slots", "http://a", "x"][..]),
        number in any::<f64>(),
        int in any::<i64>(),
        text in "\\PC{0,12}",
    ) {
        for value in [json!(number), json!(int), json!(text), json!(null), json!([int, text]), json!({ inner: number }), json!({ inner: text }), json!({ inner: [int] }), json!({ inner: { "total": int } })] {
            if let Ok(config) = serde_json::from_value::<RetryConfig>(json!({ key: value })) {
                let _ = (config.build(), config.to_mounts(), serde_json::to_string(&config));
            }
        }
        let name = format!("R_{}_{}", key.to_uppercase(), inner.to_uppercase());
        for value in [text, int.to_string(), number.to_string()] {
            let pairs = [(name.clone(), value.clone()), (format!("R_{}", key.to_uppercase()), value)];
            if let Ok(config) = RetryConfig::from_vars("R_", pairs) {
                let _ = config.build();
            }
        }
    }
}

#[test]
fn what_is_new_can_be_said_in_documents_and_variables() {
    let policy = built(
        r#"
        allowed_methods = "idempotent"
        backoff = { kind = "exponential", base = "50ms", throttle_base = "1s", jitter = "around 0.2" }
        reset_headers = [
            { name = "retry-after", format = "epoch" },
            { name = "x-ratelimit-reset-requests", format = "go_duration" },
            { name = "anthropic-ratelimit-requests-reset", format = "rfc3339" },
        ]
        "#,
    );
    let name = HeaderName::from_static;
    let same = RetryPolicy::builder()
        .allowed_methods(Methods::idempotent())
        .backoff(
            Backoff::exponential(SECOND / 20)
                .throttle_base(SECOND)
                .jitter(Jitter::Around(0.2)),
        )
        .reset_headers([
            ResetHeader::new(name("retry-after"), ResetFormat::Epoch),
            ResetHeader::new(name("x-ratelimit-reset-requests"), ResetFormat::GoDuration),
            ResetHeader::new(
                name("anthropic-ratelimit-requests-reset"),
                ResetFormat::Rfc3339,
            ),
        ])
        .build()
        .expect("valid");
    assert_eq!(policy, same);
    let written = serde_json::to_string(&RetryConfig::from(&policy)).expect("JSON");
    let read: RetryConfig = serde_json::from_str(&written).expect("a document");
    assert_eq!(read.build().expect("a policy"), policy);

    let vars = [
        ("R_ALLOWED_METHODS", "idempotent"),
        ("R_BACKOFF_THROTTLE_BASE", "1s"),
        ("R_BACKOFF_JITTER", "around 0.5"),
    ];
    let policy = RetryConfig::from_vars("R_", vars)
        .expect("variables")
        .build()
        .expect("valid");
    assert_eq!(*policy.allowed_methods(), Methods::idempotent());
    assert_eq!(policy.backoff().get_throttle_base(), Some(SECOND));
    assert_eq!(policy.backoff().get_jitter(), Jitter::Around(0.5));

    let allowed = message("backoff.jitter = \"around 1.5\"");
    assert!(
        allowed.starts_with("`backoff.jitter` is \"around 1.5\": must be"),
        "{allowed}"
    );
    assert!(message("backoff = { kind = \"none\", throttle_base = 1 }").contains("throttle_base"));
}

// What it costs.

/// Reads a document with so many mounts, merges it with another and builds the policies; returns
/// the allocations of each step.
fn allocations_of_mounts(count: u32) -> [u64; 3] {
    let document = |total: u32| {
        let mounts: serde_json::Map<_, _> = (0..count)
            .map(|n| (format!("https://t{n}.test/v1"), json!({ "total": total })))
            .collect();
        json!({ "mounts": mounts }).to_string()
    };
    let (file, over) = (document(1), document(2));
    let read = |text: &str| serde_json::from_str::<RetryConfig>(text).expect("a document");
    let (mut config, over) = (RetryConfig::default(), read(&over));
    let reading = measure(|| config = read(&file));
    let merging = measure(|| config = std::mem::take(&mut config).overridden_by(over));
    let building = measure(|| {
        let mounts = config.to_mounts().expect("valid prefixes");
        assert_eq!(mounts.len(), count as usize);
        let uri = Uri::from_static("https://t1.test/v1/x");
        assert_eq!(
            mounts.get(&uri).expect("a mount").policy().total(),
            Limit::AtMost(2)
        );
    });
    [reading, merging, building].map(|info| info.count_total)
}

/// A hundred thousand of them: quadratic work would not end.
#[test]
fn documents_with_many_mounts_are_read_merged_and_built_in_linear_time() {
    let (few, many) = (allocations_of_mounts(1000), allocations_of_mounts(100_000));
    for (few, many) in few.into_iter().zip(many) {
        assert!(many <= 110 * few, "{few} and {many}");
    }
}
