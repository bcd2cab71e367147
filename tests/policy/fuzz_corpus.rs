//! Everything that the fuzzer was given and has found, on a stable compiler; see
//! `fuzz/README.md`.

use std::{collections::BTreeSet, fs, panic, path::Path};

use fuzz_checks::Depth;

/// Runs a check on each file of its corpus. There must be at least `least`, and they must take all
/// of these `branches`.
fn replay(
    target: &str,
    least: usize,
    check: fn(&[u8], Depth) -> &'static str,
    branches: &[&'static str],
) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("a corpus") {
        let path = entry.expect("an entry").path();
        let data = fs::read(&path).expect("a file");
        for depth in [Depth::Quick, Depth::Full] {
            let branch = panic::catch_unwind(|| check(&data, depth));
            let branch = branch.unwrap_or_else(|_| panic!("{} fails", path.display()));
            seen.insert(branch);
        }
        // What the fuzzer makes of it first.
        check(&data[..data.len() / 2], Depth::of(&data));
        count += 1;
    }
    assert!(count >= least, "{count} files in {}", folder.display());
    let missed: Vec<_> = branches
        .iter()
        .filter(|branch| !seen.contains(*branch))
        .collect();
    assert!(
        missed.is_empty(),
        "{target}: nothing takes {missed:?}, only {seen:?}"
    );
}

#[test]
fn retry_after_is_read_as_its_model_reads_it() {
    replay(
        "retry_after",
        80,
        fuzz_checks::retry_after::check,
        &[
            "date",
            "invalid",
            "not obeyed",
            "obeyed",
            "over the cap",
            "seconds",
            "unreadable",
        ],
    );
}

#[test]
fn what_all_hints_ask_for_is_obeyed_or_said() {
    replay(
        "rate_limit",
        50,
        fuzz_checks::rate_limit::check,
        &[
            "accepted",
            "forbidden",
            "forbidden and more",
            "no hint",
            "not read",
            "pushback",
            #[cfg(feature = "ratelimit")]
            "rate limit",
            "reset",
            "retry-after",
        ],
    );
}

#[test]
fn decisions_keep_the_limits_and_their_record_is_whole() {
    replay(
        "decisions",
        50,
        fuzz_checks::decisions::check,
        &[
            "at once",
            "budget_exhausted",
            "count_exhausted",
            "forbidden_by_server",
            "goes on",
            "idempotency_key_reused",
            "kind_disabled",
            "method_not_allowed",
            "no attempt",
            "no policy",
            "not_transient",
            "recovered",
            "retry_after_too_long",
            "status_not_listed",
            "vetoed",
        ],
    );
}

#[cfg(feature = "serde")]
#[test]
fn a_configuration_is_a_whole_policy_or_says_why_not() {
    replay(
        "config",
        50,
        fuzz_checks::config::check,
        &[
            "does not build",
            "JSON",
            "mounts",
            "not JSON",
            "not TOML",
            "refused JSON",
            "refused TOML",
            "refused variables",
            "TOML",
            "variables",
        ],
    );
}

#[cfg(feature = "serde")]
#[test]
fn what_an_import_loses_is_said() {
    replay(
        "importers",
        60,
        fuzz_checks::importers::check,
        &[
            "AWS",
            "AWS refused",
            "AWS's variables",
            "AWS's variables refused",
            "Envoy",
            "Envoy refused",
            "Envoy's route",
            "gRPC",
            "gRPC refused",
            "gRPC without methods",
            "gRPC's policy",
            "urllib3",
            "urllib3 refused",
        ],
    );
}

#[cfg(feature = "serde")]
#[test]
fn a_report_that_is_read_back_is_clean_and_can_be_replayed() {
    replay(
        "reports",
        40,
        fuzz_checks::reports::check,
        &["alike", "no attempts", "not JSON", "otherwise", "refused"],
    );
}
