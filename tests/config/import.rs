//! Other systems' settings, as they are found in the wild, and what is said of the rest.
#![cfg(feature = "serde")]

use std::time::Duration;

use http::{HeaderName, Method};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower_http_retry::{
    RetryLayer,
    budget::RetryBudget,
    classify::FailureKind,
    config::{
        RetryConfig,
        import::{self, Imported},
    },
    policy::{
        Backoff, GrpcPolicies, Jitter, Limit, LimitKind, Methods, Policy, RequestHead, ResetFormat,
        ResetHeader, RetryAfterMode, RetryPolicy, Session,
    },
    reason::GrpcCode,
};

const MS: Duration = Duration::from_millis(1);

/// What did not translate, without the reasons.
fn lost(imported: &Imported) -> Vec<(&str, &str)> {
    let lost = imported.untranslated.iter().map(|lost| {
        assert!(!lost.why.is_empty());
        (lost.key.as_str(), lost.value.as_str())
    });
    // The order is that of the document, which serde_json's values do not keep.
    sorted(lost)
}

fn sorted<'a>(lost: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
    let mut lost: Vec<_> = lost.into_iter().collect();
    lost.sort_unstable();
    lost
}

/// The document that an import also gives says all of its policy.
fn is_whole(imported: &Imported) {
    let text = toml::to_string(&imported.config).expect("TOML");
    let config: RetryConfig = toml::from_str(&text).expect("a document");
    assert_eq!(config.build().expect("a policy"), imported.policy, "{text}");
}

fn layer(imported: &Imported) -> String {
    let layer = RetryLayer::new(imported.policy.clone()).configure(&imported.config);
    format!("{layer:?}")
}

// urllib3.

#[track_caller]
fn urllib3(arguments: Value) -> Imported {
    let imported = import::urllib3(&arguments).expect("arguments");
    is_whole(&imported);
    imported
}

#[test]
fn urllib3s_arguments_are_the_presets_settings() {
    // From a docker-py client, a Kubernetes operator and the requests documentation, in one.
    let imported = urllib3(json!({
        "total": 5,
        "connect": null,
        "read": false,
        "status": true,
        "other": -1,
        "allowed_methods": ["GET", "HEAD", "POST"],
        "status_forcelist": [429, 500, 502, 503, 504],
        "backoff_factor": 0.1,
        "backoff_max": 60.0,
        "backoff_jitter": 0.5,
        "respect_retry_after_header": false,
        "retry_after_max": 3600,
        "raise_on_status": false,
    }));
    let same = RetryPolicy::urllib3_builder()
        .total(5)
        .read(false)
        .status(1)
        .other(-1)
        .allowed_methods(["GET", "HEAD", "POST"])
        .status_forcelist([429, 500, 502, 503, 504])
        .backoff(
            Backoff::urllib3(0.1)
                .max(Duration::from_secs(60))
                .jitter(Jitter::Additive(500 * MS)),
        )
        .respect_retry_after_header(false)
        .retry_after_max(3600)
        .raise_on_status(false)
        .build()
        .expect("valid");
    assert_eq!(imported.policy, same);
    assert_eq!(lost(&imported), []);
    assert_eq!(urllib3(json!({})).policy, RetryPolicy::urllib3());
}

#[test]
fn what_is_empty_to_python_means_any_method() {
    for any in [json!(null), json!(false), json!([])] {
        let policy = urllib3(json!({ "allowed_methods": any })).policy;
        assert!(policy.allowed_methods().is_any(), "{any}");
    }
    // urllib3 1's name.
    let policy = urllib3(json!({ "method_whitelist": ["POST"] })).policy;
    assert_eq!(*policy.allowed_methods(), Methods::from([Method::POST]));
}

#[test]
fn urllib3s_redirects_are_another_layers() {
    let imported = urllib3(json!({
        "redirect": 5,
        "raise_on_redirect": true,
        "remove_headers_on_redirect": ["Authorization"],
        "history": [],
        "status_forcelist": [503, 99, 1000],
        "retry_on_timeout": true,
    }));
    assert_eq!(
        lost(&imported),
        sorted([
            ("redirect", "5"),
            ("raise_on_redirect", "true"),
            ("remove_headers_on_redirect", "[\"Authorization\"]"),
            ("status_forcelist", "99"),
            ("status_forcelist", "1000"),
            ("retry_on_timeout", "true"),
        ]),
    );
    assert_eq!(imported.policy.limit(LimitKind::Redirect), Limit::AtMost(5));
    assert!(imported.policy.status_forcelist().eq([503]));
    // None of these follows a redirect there, either.
    for off in [json!(false), json!(0), json!(null)] {
        assert_eq!(lost(&urllib3(json!({ "redirect": off }))), []);
    }
    let history = urllib3(json!({ "history": [["GET", "/", null, 503, null]] }));
    assert_eq!(history.untranslated[0].why, "a policy has no past");
}

#[test]
fn what_urllib3_would_refuse_is_an_error() {
    for (arguments, expected) in [
        (json!({ "total": "five" }), "`total` is \"five\""),
        (
            json!({ "backoff_factor": "fast" }),
            "`backoff_factor` is \"fast\"",
        ),
        (
            json!({ "allowed_methods": "GET" }),
            "`allowed_methods` is \"GET\"",
        ),
        (
            json!({ "status_forcelist": [5.5] }),
            "`status_forcelist` is 5.5",
        ),
        (json!([]), "`document` is []: must be an object"),
    ] {
        let error = import::urllib3(&arguments).expect_err("wrong").to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

// gRPC.

fn greeter() -> Value {
    json!({
        "loadBalancingConfig": [{ "round_robin": {} }],
        "methodConfig": [
            {
                "name": [
                    { "service": "helloworld.Greeter" },
                    { "service": "helloworld.Greeter", "method": "SayHello" }
                ],
                "waitForReady": true,
                "timeout": "2.5s",
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "deadline_exceeded", 13]
                }
            },
            { "name": [{}], "timeout": "1s" }
        ],
        "retryThrottling": { "maxTokens": 10, "tokenRatio": 0.1 }
    })
}

#[test]
fn a_grpc_service_config_is_a_policy_for_each_method_config() {
    let methods = import::grpc(&greeter()).expect("a service config");
    let paths: Vec<_> = methods.iter().map(|methods| &methods.paths[..]).collect();
    assert_eq!(
        paths,
        [
            &["/helloworld.Greeter/", "/helloworld.Greeter/SayHello"][..],
            &["/"]
        ]
    );

    let imported = &methods[0].imported;
    let same = RetryPolicy::grpc_builder()
        .max_attempts(4)
        .retryable_status_codes([
            GrpcCode::Unavailable,
            GrpcCode::DeadlineExceeded,
            GrpcCode::Internal,
        ])
        .backoff(
            Backoff::exponential(100 * MS)
                .max(1000 * MS)
                .multiplier(2.0)
                .jitter(Jitter::Around(0.2)),
        )
        .retry_throttling(10, 0.1)
        .build()
        .expect("valid");
    assert_eq!(imported.policy, same);
    assert_eq!(
        lost(imported),
        sorted([
            ("methodConfig[0].waitForReady", "true"),
            ("loadBalancingConfig", "[{\"round_robin\": {}}]"),
        ]),
    );
    assert!(layer(imported).contains("deadline: Some(2.5s)"));
    is_whole(imported);

    // Without a `retryPolicy` only what was never processed is sent again.
    let rest = &methods[1].imported.policy;
    assert_eq!(rest.total(), Limit::AtMost(0));
    assert_eq!(rest.unprocessed(), RetryPolicy::grpc().unprocessed());
    is_whole(&methods[1].imported);
}

#[test]
fn grpcs_throttling_is_shared_by_all_methods() {
    let methods = import::grpc(&greeter()).expect("a service config");
    let budget = |at: usize| methods[at].imported.policy.budget().expect("a budget");
    let now = tokio::time::Instant::now().into_std();
    let slot = budget(0).slot(&http::Uri::from_static("https://a.test"));
    assert_eq!(budget(1).balance(slot, now), Some(10.0));
    budget(0)
        .withdraw(slot, FailureKind::Status, false, now)
        .expect("funds");
    assert_eq!(budget(1).balance(slot, now), Some(9.0));
}

#[test]
fn a_method_has_its_own_policy_else_its_services_else_the_one_for_all_others() {
    let named = |names: Value, attempts: u32| {
        json!({
            "name": names,
            "retryPolicy": retry_policy(&[("maxAttempts", json!(attempts))]),
        })
    };
    let mut config = json!({ "methodConfig": [
        named(json!([{ "service": "a.B" }, { "service": "a.C", "method": "Get" }]), 2),
        named(json!([{ "service": "a.B", "method": "Get" }]), 3),
    ] });
    let total = |config: &Value, path: &str| {
        let methods = import::grpc(config).expect("a service config");
        let policies = GrpcPolicies::try_from(methods).expect("each name once");
        policies.get(path).total()
    };
    let table = [
        ("/a.B/Get", 2),
        ("/a.B/Put", 1),
        ("/a.B/", 1),
        ("/a.C/Get", 1),
        ("/a.C/Put", 0),
        ("/a.C/Get/more", 0),
        ("/a.BB/Get", 0),
        ("/", 0),
        ("*", 0),
    ];
    for (path, retries) in table {
        assert_eq!(total(&config, path), Limit::AtMost(retries), "{path}");
    }
    let others = named(json!([{}]), 5);
    config["methodConfig"]
        .as_array_mut()
        .expect("a list")
        .push(others);
    for (path, retries) in table {
        let retries = if retries == 0 { 4 } else { retries };
        assert_eq!(total(&config, path), Limit::AtMost(retries), "{path}");
    }
}

#[test]
fn the_timeout_of_a_method_config_is_its_methods_deadline() {
    let config = json!({ "methodConfig": [
        { "name": [{ "service": "a.B" }], "timeout": "2.5s" },
        { "name": [{ "service": "a.B", "method": "Get" }], "retryPolicy": retry_policy(&[]) },
        { "name": [{ "service": "a.B", "method": "Put" }, { "service": "a.C" }], "timeout": "1s" },
        { "name": [{}], "timeout": "60s" },
    ] });
    let methods = import::grpc(&config).expect("a service config");
    let policies = GrpcPolicies::try_from(methods).expect("each name once");
    for (path, deadline) in [
        ("/a.B/List", Some(2500 * MS)),
        // What has a config of its own has nothing of its service's.
        ("/a.B/Get", None),
        ("/a.B/Put", Some(1000 * MS)),
        ("/a.C/Get", Some(1000 * MS)),
        ("/other.Service/Call", Some(60_000 * MS)),
    ] {
        let request = http::Request::post(format!("http://a.test{path}")).body(());
        let request = request.expect("a request");
        let session = policies.session(&RequestHead::of(&request));
        assert_eq!(session.deadline(), deadline, "{path}");
    }
}

#[test]
fn a_name_that_is_there_twice_is_an_error() {
    for name in [
        json!({}),
        json!({ "service": "a.B" }),
        json!({ "service": "a.B", "method": "Get" }),
    ] {
        for config in [
            json!({ "methodConfig": [{ "name": [name, name] }] }),
            json!({ "methodConfig": [{ "name": [name] }, { "name": [name] }] }),
        ] {
            let error = import::grpc(&config).expect_err("twice").to_string();
            assert!(error.contains("which has a policy already"), "{error}");
        }
    }
    let policy = RetryPolicy::grpc();
    for name in ["", "/", "a.B/Get", "/a.B", "//Get", "/a.B/Get/more"] {
        let error = GrpcPolicies::new(policy.clone()).name(name, policy.clone());
        let error = error.expect_err(name).to_string();
        assert!(
            error.starts_with(&format!("`name` is {name}: must be `/package")),
            "{error}"
        );
    }
    let once = GrpcPolicies::new(policy.clone()).name("/a.B/", policy.clone());
    let twice = once
        .expect("a name")
        .name("/a.B/", policy)
        .expect_err("twice");
    assert_eq!(twice.to_string(), "`name` is /a.B/: must be a name once");
}

fn retry_policy(changes: &[(&str, Value)]) -> Value {
    let mut policy = json!({
        "maxAttempts": 3,
        "initialBackoff": "1s",
        "maxBackoff": "10s",
        "backoffMultiplier": 1.5,
        "retryableStatusCodes": ["UNAVAILABLE"]
    });
    for (key, value) in changes {
        policy[key] = value.clone();
    }
    policy
}

#[test]
fn a_bare_grpc_retry_policy_is_imported_as_well() {
    let methods = import::grpc(&retry_policy(&[("maxAttempts", json!(9))])).expect("a policy");
    let imported = &methods[0].imported;
    assert_eq!(methods[0].paths, ["/"]);
    // At most 5 attempts, as in gRPC.
    assert_eq!(imported.policy.total(), Limit::AtMost(4));
    assert!(lost(imported).contains(&("maxAttempts", "9")));
    assert_eq!(imported.policy.budget(), None);

    // Waits that become shorter.
    let changes = [
        ("backoffMultiplier", json!(0.5)),
        ("perAttemptRecvTimeout", json!("3s")),
    ];
    let methods = import::grpc(&retry_policy(&changes)).expect("a policy");
    let imported = &methods[0].imported;
    let backoff = Backoff::list([1000 * MS, 500 * MS])
        .max(10_000 * MS)
        .jitter(Jitter::Around(0.2));
    assert_eq!(*imported.policy.backoff(), backoff);
    assert!(layer(imported).contains("attempt_timeout: Some(3s)"));
    assert!(lost(imported).contains(&("perAttemptRecvTimeout", "\"3s\"")));
    is_whole(imported);
}

#[test]
fn what_grpc_would_refuse_is_an_error() {
    for (document, expected) in [
        (
            retry_policy(&[("maxAttempts", json!(1))]),
            "`maxAttempts` is 1: must be a whole number of at least 2",
        ),
        (
            retry_policy(&[("initialBackoff", json!("0s"))]),
            "`initialBackoff` is \"0s\": must be more than 0",
        ),
        (
            retry_policy(&[("maxBackoff", json!(1))]),
            "`maxBackoff` is 1: must be a duration such as \"0.25s\"",
        ),
        (
            retry_policy(&[("backoffMultiplier", json!(0))]),
            "`backoffMultiplier` is 0: must be more than 0",
        ),
        (
            retry_policy(&[("retryableStatusCodes", json!([]))]),
            "`retryableStatusCodes` is missing",
        ),
        (
            retry_policy(&[("retryableStatusCodes", json!(["DOWN"]))]),
            "`retryableStatusCodes` is \"DOWN\": must be the name of a gRPC status code of failure, or its number",
        ),
        (json!({ "maxAttempts": 3 }), "`initialBackoff` is missing"),
        (
            json!({ "methodConfig": {} }),
            "`methodConfig` is {}: must be a list",
        ),
        (
            json!({ "methodConfig": [{ "name": [{ "method": "x" }] }] }),
            "`methodConfig[0].name` is {\"method\": \"x\"}: must be a `method` with its `service`",
        ),
        (
            json!({ "methodConfig": [{ "name": [{}] }], "retryThrottling": { "maxTokens": 0, "tokenRatio": 0.1 } }),
            "`retryThrottling.maxTokens` is 0: must be from 1 to 1000",
        ),
        (
            json!({ "methodConfig": [{ "name": [{}] }], "retryThrottling": { "maxTokens": 10, "tokenRatio": 0 } }),
            "`retryThrottling.tokenRatio` is 0: must be more than 0, or a min_ratio or min_per_second of more than 0",
        ),
        (
            json!({ "retryThrottling": { "maxTokens": 10 } }),
            "`retryThrottling.tokenRatio` is missing",
        ),
    ] {
        let error = import::grpc(&document).expect_err("wrong").to_string();
        assert_eq!(error, expected);
    }
}

// Envoy.

#[track_caller]
fn envoy(document: Value) -> Imported {
    let imported = import::envoy(&document).expect("a retry policy");
    is_whole(&imported);
    imported
}

#[test]
fn envoys_policy_in_a_route_is_imported_with_its_time_limits() {
    let imported = envoy(json!({
        "cluster": "backend",
        "timeout": "15s",
        "retry_policy": {
            "retry_on": "5xx, retriable-4xx,refused-stream",
            "num_retries": 3,
            "per_try_timeout": "2s",
            "retry_back_off": { "base_interval": "0.1s", "max_interval": "0.5s" },
            "retry_host_predicate": [{ "name": "envoy.retry_host_predicates.previous_hosts" }],
            "host_selection_retry_max_attempts": "3",
            "rate_limited_retry_back_off": {
                "reset_headers": [
                    { "name": "Retry-After", "format": "SECONDS" },
                    { "name": "X-RateLimit-Reset", "format": "UNIX_TIMESTAMP" }
                ],
                "max_interval": "60s"
            }
        }
    }));
    let same = RetryPolicy::builder()
        .total(3)
        .unprocessed(0)
        .allowed_methods(Methods::any())
        .status_forcelist([409].into_iter().chain(500..=599))
        .backoff(
            Backoff::list([100, 300, 500].map(Duration::from_millis))
                .max(500 * MS)
                .jitter(Jitter::Full),
        )
        .retry_after_max(60)
        .retry_after_mode(RetryAfterMode::Clamp)
        .retry_after_jitter(0.5)
        .reset_headers([ResetHeader::new(
            HeaderName::from_static("x-ratelimit-reset"),
            ResetFormat::Epoch,
        )])
        .should_retry_header(None)
        .budget(None)
        .build()
        .expect("valid");
    assert_eq!(imported.policy, same);
    let limited = "retry_policy.rate_limited_retry_back_off";
    assert_eq!(
        lost(&imported),
        sorted([
            ("cluster", "\"backend\""),
            (
                "retry_policy.retry_host_predicate",
                "[{\"name\": \"envoy.retry_host_predicates.previous_hosts\"}]"
            ),
            ("retry_policy.host_selection_retry_max_attempts", "\"3\""),
            (&format!("{limited}.max_interval"), "1m"),
            (limited, "Retry-After"),
        ]),
    );
    let alone = imported
        .untranslated
        .iter()
        .find(|lost| lost.key == limited);
    let why = &alone.expect("it is reported").why;
    assert!(
        why.starts_with("with this header 413 or 429 is retried here"),
        "{why}"
    );
    let text = layer(&imported);
    assert!(
        text.contains("attempt_timeout: Some(2s)") && text.contains("deadline: Some(15s)"),
        "{text}"
    );
}

#[test]
fn envoys_reset_headers_are_read_in_their_formats() {
    let imported = envoy(json!({
        "retry_on": "retriable-status-codes",
        "retriable_status_codes": [413, 429, 503],
        "rateLimitedRetryBackOff": {
            "resetHeaders": [
                { "name": "X-Reset", "format": 0 },
                { "name": "retry-after", "format": "UNIX_TIMESTAMP" },
                { "name": "X-Date", "format": "HTTP_DATE" }
            ]
        }
    }));
    let reset = ResetHeader::new(HeaderName::from_static("x-reset"), ResetFormat::Seconds);
    let epoch = ResetHeader::new(http::header::RETRY_AFTER, ResetFormat::Epoch);
    assert_eq!(imported.policy.reset_headers(), [reset, epoch]);
    assert_eq!(imported.policy.retry_after_max(), Duration::from_secs(300));
    let whys: Vec<_> = imported
        .untranslated
        .iter()
        .map(|lost| &*lost.why)
        .collect();
    assert_eq!(
        whys[..2],
        [
            "Envoy has no such format",
            "Envoy takes its usual backoff when a server asks for more; here the wait is \
             shortened to that",
        ],
    );
    // Without a header there is no such backoff.
    let none = envoy(json!({ "retry_on": "5xx", "rate_limited_retry_back_off": {} }));
    assert!(!none.policy.respect_retry_after_header());
}

#[test]
fn envoys_defaults_and_both_spellings() {
    for document in [
        json!({ "retry_on": "connect-failure,retriable-status-codes", "retriable_status_codes": [503] }),
        json!({ "retryOn": "connect-failure,retriable-status-codes", "retriableStatusCodes": [503], "perTryTimeout": "0s" }),
    ] {
        let imported = envoy(document);
        let policy = &imported.policy;
        assert_eq!(policy.total(), Limit::AtMost(1));
        assert_eq!(policy.limit(LimitKind::Connect), Limit::Unlimited);
        assert_eq!(policy.limit(LimitKind::Read), Limit::Never);
        assert!(policy.status_forcelist().eq([503]));
        assert!(!policy.respect_retry_after_header());
        let backoff = Backoff::list([25 * MS]).max(250 * MS).jitter(Jitter::Full);
        assert_eq!(*policy.backoff(), backoff);
        assert_eq!(lost(&imported), []);
        assert!(layer(&imported).contains("attempt_timeout: None"));
    }
}

#[test]
fn each_of_envoys_conditions_is_what_it_retries() {
    use LimitKind::{Connect, Other, Read, Status};
    for (retry_on, kinds, statuses, unprocessed, untranslated) in [
        ("", &[][..], 0, 0, 0),
        ("5xx", &[Connect, Read, Other, Status], 100, 0, 0),
        ("gateway-error", &[Connect, Read, Other, Status], 3, 0, 0),
        ("reset", &[Connect, Read, Other], 0, 0, 0),
        ("reset-before-request", &[Connect], 0, 2, 0),
        ("connect-failure", &[Connect], 0, 0, 0),
        ("refused-stream", &[], 0, 2, 0),
        ("retriable-4xx", &[Status], 1, 0, 0),
        ("envoy-ratelimited,retriable-headers", &[], 0, 0, 2),
        (
            "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable",
            &[],
            0,
            0,
            5,
        ),
        ("http3-post-connect-failure,made-up", &[], 0, 0, 2),
    ] {
        let imported = envoy(json!({ "retry_on": retry_on, "num_retries": 2 }));
        let policy = &imported.policy;
        for kind in [Connect, Read, Other, Status] {
            let expected = if kinds.contains(&kind) {
                Limit::Unlimited
            } else {
                Limit::Never
            };
            assert_eq!(policy.limit(kind), expected, "{retry_on} {kind}");
        }
        assert_eq!(policy.status_forcelist().count(), statuses, "{retry_on}");
        assert_eq!(policy.unprocessed(), unprocessed, "{retry_on}");
        assert_eq!(imported.untranslated.len(), untranslated, "{retry_on}");
    }
}

#[test]
fn what_envoy_has_besides_is_reported() {
    let imported = envoy(json!({
        "retry_on": "5xx",
        "retriable_status_codes": [418],
        "retriable_headers": [{ "name": "x-retry" }],
        "retriable_request_headers": [{ "name": ":method", "string_match": { "exact": "GET" } }],
        "per_try_idle_timeout": "1s",
        "retry_priority": { "name": "envoy.retry_priorities.previous_priorities" },
        "retry_sometimes": true
    }));
    let keys: Vec<_> = lost(&imported).into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            "per_try_idle_timeout",
            "retriable_headers",
            "retriable_request_headers",
            "retriable_status_codes",
            "retry_priority",
            "retry_sometimes",
        ],
    );
}

#[test]
fn what_envoy_would_refuse_is_an_error() {
    for (document, expected) in [
        (
            json!({ "num_retries": -1 }),
            "`num_retries` is -1: must be a whole number of at least 0",
        ),
        (
            json!({ "retry_on": ["5xx"] }),
            "`retry_on` is [\"5xx\"]: must be conditions with commas between them",
        ),
        (
            json!({ "per_try_timeout": 5 }),
            "`per_try_timeout` is 5: must be a duration such as \"0.25s\"",
        ),
        (
            json!({ "retry_policy": 5 }),
            "`retry_policy` is 5: must be an object",
        ),
        (
            json!({ "retriable_status_codes": ["503"] }),
            "`retriable_status_codes` is \"503\": must be a list of statuses",
        ),
    ] {
        let error = import::envoy(&document).expect_err("wrong").to_string();
        assert_eq!(error, expected);
    }
}

// AWS.

#[test]
fn the_aws_settings_are_the_standard_mode() {
    let imported =
        import::aws(&json!({ "max_attempts": 5, "retry_mode": "standard" })).expect("settings");
    let same = RetryPolicy::builder()
        .total(4)
        .allowed_methods(Methods::any())
        .status_forcelist([500, 502, 503, 504])
        .respect_retry_after_header(false)
        .backoff(
            Backoff::exponential(50 * MS)
                .throttle_base(Duration::from_secs(1))
                .max(Duration::from_secs(20))
                .jitter(Jitter::Full),
        )
        .budget(RetryBudget::aws())
        .build()
        .expect("valid");
    assert_eq!(imported.policy, same);
    assert_eq!(lost(&imported), [("retry_mode", "\"standard\""); 2]);
    is_whole(&imported);

    let defaults = import::aws(&json!({})).expect("settings");
    assert_eq!(defaults.policy.total(), Limit::AtMost(2));
    let spelled = import::aws(&json!({
        "maxAttempts": 1,
        "retryMode": "Legacy",
        "initialBackoff": 0.025,
        "max_backoff": "5s",
        "region": "eu-central-1"
    }));
    let spelled = spelled.expect("settings");
    assert_eq!(spelled.policy.total(), Limit::AtMost(0));
    assert_eq!(spelled.policy.backoff().get_base(), 25 * MS);
    assert_eq!(spelled.policy.backoff().get_max(), 5000 * MS);
    assert_eq!(
        lost(&spelled)[..2],
        [("region", "\"eu-central-1\""), ("retryMode", "\"legacy\"")]
    );
}

#[test]
fn the_aws_variables_are_the_same_settings() {
    let vars = [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_MAX_ATTEMPTS", "10"),
        ("AWS_RETRY_MODE", "adaptive"),
        ("RETRY_MODE", "x"),
    ];
    let imported = import::aws_vars(vars).expect("variables");
    assert_eq!(imported.policy.total(), Limit::AtMost(9));
    assert_eq!(lost(&imported), [("AWS_RETRY_MODE", "\"adaptive\""); 3]);
    assert!(imported.untranslated[0].why.contains("`AdaptiveThrottle`"));
    let none: [(&str, &str); 0] = [];
    assert_eq!(
        import::aws_vars(none).expect("variables").policy.total(),
        Limit::AtMost(2)
    );

    for (name, value, expected) in [
        (
            "AWS_MAX_ATTEMPTS",
            "0",
            "`AWS_MAX_ATTEMPTS` is 0: must be a whole number of at least 1",
        ),
        (
            "AWS_MAX_ATTEMPTS",
            "many",
            "`AWS_MAX_ATTEMPTS` is \"many\": must be a whole number of at least 1",
        ),
        (
            "AWS_RETRY_MODE",
            "fast",
            "`AWS_RETRY_MODE` is \"fast\": must be \"standard\", \"adaptive\" or \"legacy\"",
        ),
    ] {
        let error = import::aws_vars([(name, value)])
            .expect_err("wrong")
            .to_string();
        assert_eq!(error, expected);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(
            &["", "5xx", "1s", "0s", "99999999999999s", "UNAVAILABLE", "é"][..]
        )
        .prop_map(Value::from),
    ];
    let keys = [
        "methodConfig",
        "retryPolicy",
        "maxAttempts",
        "initialBackoff",
        "maxBackoff",
        "backoffMultiplier",
        "retryableStatusCodes",
        "retryThrottling",
        "maxTokens",
        "tokenRatio",
        "name",
        "service",
        "timeout",
        "retry_on",
        "num_retries",
        "retry_policy",
        "retry_back_off",
        "base_interval",
        "max_interval",
        "rate_limited_retry_back_off",
        "reset_headers",
        "total",
        "allowed_methods",
        "status_forcelist",
        "backoff_factor",
        "backoff_max",
        "history",
        "max_attempts",
        "retry_mode",
        "initial_backoff",
        "Ünknown",
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(
                (
                    proptest::sample::select(keys.map(str::to_owned).to_vec()),
                    inner
                ),
                0..6
            )
            .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

#[test]
fn nothing_is_given_twice() {
    let twice = "is given twice, or under two names";
    for (name, document) in [
        (
            "method_whitelist",
            r#"{"allowed_methods": [], "method_whitelist": []}"#,
        ),
        ("total", r#"{"total": 1, "total": 2}"#),
    ] {
        let document = &mut serde_json::Deserializer::from_str(document);
        let error = import::urllib3(document).expect_err("twice").to_string();
        assert!(error.starts_with(&format!("`{name}` {twice}")), "{error}");
    }
    for (name, document) in [
        ("num_retries", json!({ "numRetries": 1, "num_retries": 2 })),
        (
            "retry_back_off.base_interval",
            json!({ "retry_back_off": { "baseInterval": "1s", "base_interval": "2s" } }),
        ),
        (
            "retry_policy",
            json!({ "retryPolicy": { "num_retries": 1 }, "retry_policy": {} }),
        ),
    ] {
        let error = import::envoy(&document).expect_err("twice").to_string();
        assert_eq!(error, format!("`{name}` {twice}"));
    }
    for (name, document) in [
        (
            "retry_mode",
            json!({ "mode": "legacy", "retry_mode": "legacy" }),
        ),
        (
            "max_attempts",
            json!({ "AWS_MAX_ATTEMPTS": 2, "max_attempts": 3 }),
        ),
    ] {
        let error = import::aws(&document).expect_err("twice").to_string();
        assert_eq!(error, format!("`{name}` {twice}"));
    }
    let vars = [("AWS_MAX_ATTEMPTS", "2"), ("AWS_MAX_ATTEMPTS", "3")];
    let error = import::aws_vars(vars).expect_err("twice");
    assert_eq!(error.key(), "AWS_MAX_ATTEMPTS");
    let document = r#"{"methodConfig": [{"timeout": "1s", "timeout": "2s"}]}"#;
    let error = import::grpc(&mut serde_json::Deserializer::from_str(document));
    let error = error.expect_err("twice").to_string();
    assert!(
        error.starts_with(&format!("`methodConfig[0].timeout` {twice}")),
        "{error}"
    );
}

proptest! {
    #[test]
    fn no_document_panics(document in any_json(), changes in proptest::collection::vec(any_json(), 5)) {
        let _ = import::urllib3(&document);
        let _ = import::grpc(&document);
        let _ = import::envoy(&document);
        let _ = import::aws(&document);
        let keys = ["maxAttempts", "initialBackoff", "maxBackoff", "backoffMultiplier", "retryableStatusCodes"];
        for (key, value) in keys.iter().zip(changes) {
            let _ = import::grpc(&retry_policy(&[(key, value.clone())]));
            let config = json!({ "methodConfig": [{ "name": [value.clone()], "retryPolicy": retry_policy(&[(key, value.clone())]) }], "retryThrottling": { "maxTokens": value, "tokenRatio": 0.1 } });
            let _ = import::grpc(&config);
        }
    }
}
