//! Runs the `explain` example as a user would, in a process of its own.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

fn run(args: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(crate::example("explain"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the example runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        status.code().expect("it ends by itself"),
        text(stdout),
        text(stderr),
    )
}

/// A file that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let own = format!("tower-http-retry-{}-{name}", std::process::id());
        Self(env::temp_dir().join(own))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path that is text")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_policy_by_name_is_linted_explained_and_scheduled() {
    let (code, out, error) = run(&["default", "POST", "https://u:secret@api.example.com/v1?k=1"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    for part in [
        "warning[method-not-allowed]",
        "POST https://api.example.com/v1\n",
        "retries  waits",
        "connect failure",
        "[no: method, idempotency]",
        "Schedule if each attempt ends with a connect failure",
        "0–200 ms",
        "then: `total` is used up (3 retries)",
    ] {
        assert!(out.contains(part), "{part:?} is missing:\n{out}");
    }
    assert!(!out.contains("secret"), "{out}");
    assert!(out.lines().all(|line| line == line.trim_end()), "{out}");

    let (code, out, _) = run(&["default"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("Lint\n\n  no findings\n"), "{out}");
    let (code, out, _) = run(&["urllib3"]);
    assert_eq!(code, 0, "a warning is no error");
    assert!(out.contains("warning[no-backoff]"), "{out}");
}

#[cfg(feature = "serde")]
#[test]
fn a_policy_in_a_file_is_explained_with_its_layer_and_mounts() {
    let file = Scratch::new("policy.toml");
    let document = r#"
        total = 2
        allowed_methods = ["GET", "POST"]
        status_forcelist = [503]
        backoff = { kind = "constant", base = "2s" }
        attempt_timeout = "1s"
        deadline = "5s"
        retry_after_max = 3
    "#;
    fs::write(file.path(), document).expect("the file is written");
    let (code, out, error) = run(&[file.path(), "POST", "http://a.test/"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    for part in [
        "warning[no-jitter]",
        "warning[non-idempotent-without-key]",
        "`total` is used up (2 retries)",
        "2 s, 2 s",
    ] {
        assert!(out.contains(part), "{part:?} is missing:\n{out}");
    }

    // A deadline of the command line goes first.
    let (code, out, _) = run(&[file.path(), "--deadline", "3s"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("error[schedule-over-deadline]"), "{out}");
    assert!(
        out.contains("the deadline is too close: 1 s left, 2 s needed"),
        "{out}"
    );

    let mounted = Scratch::new("mounts.json");
    let document = r#"{
        "fallback": false,
        "deadline": 60,
        "mounts": {"https://a.test/": {"total": 7}}
    }"#;
    fs::write(mounted.path(), document).expect("the file is written");
    let (code, out, _) = run(&[mounted.path(), "GET", "https://a.test/x"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("`total` is used up (7 retries)"), "{out}");
    let (_, out, _) = run(&[mounted.path(), "GET", "http://a.test/x"]);
    assert!(
        out.contains("never sent again: no mount matches the URL"),
        "{out}"
    );
    assert!(out.contains("https://a.test/ (other scheme)"), "{out}");
}

#[cfg(feature = "serde")]
#[test]
fn a_file_that_makes_no_sense_ends_with_2() {
    let file = Scratch::new("wrong.toml");
    for (document, part) in [
        ("method_whitelist = [\"GET\"]", "allowed_methods"),
        ("total = \"many\"", "total"),
        ("total = ", "TOML"),
    ] {
        fs::write(file.path(), document).expect("the file is written");
        let (code, out, error) = run(&[file.path()]);
        assert_eq!(code, 2, "{out}");
        assert!(
            error.contains(part) && error.contains("wrong.toml"),
            "{error}"
        );
    }
}

#[test]
fn errors_of_lint_end_with_1() {
    let (code, out, _) = run(&["default", "--attempt-timeout", "10s", "--deadline", "5s"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("error[attempt-timeout-over-deadline]"),
        "{out}"
    );
}

#[test]
fn bad_usage_ends_with_2() {
    for args in [
        &[][..],
        &["no-such-policy"],
        &["default", "POST"],
        &["default", "NO METHOD", "http://a.test/"],
        &["default", "GET", "http://a.test/", "more"],
        &["default", "--outcome", "sunshine"],
        &["default", "--deadline", "soon"],
        &["default", "--deadline", "-1"],
        &["default", "--plot", "/no/such/folder/x.svg"],
        &["default", "--frobnicate"],
    ] {
        let (code, out, error) = run(args);
        assert_eq!(code, 2, "{args:?}: {out}{error}");
        assert!(
            error.starts_with("error: ") || args.is_empty(),
            "{args:?}: {error}"
        );
        assert!(!error.is_empty());
    }
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("Exits with 0"), "{out}");
}

#[test]
fn the_plot_has_axes_and_a_bar_for_each_retry() {
    let file = Scratch::new("schedule.svg");
    let (code, out, error) = run(&["default", "--plot", file.path()]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("plotted to "), "{out}");
    let svg = fs::read_to_string(file.path()).expect("the plot was written");
    assert!(svg.starts_with("<svg "), "{svg}");
    assert!(svg.trim_end().ends_with("</svg>"), "{svg}");
    for text in [
        "sent after the first failure (milliseconds)",
        "retry",
        "median to 95th percentile",
        "each attempt ends with a connect failure",
        "700",
    ] {
        assert!(svg.contains(text), "{text:?} is missing");
    }
    // A bar for each of three retries, and one for the legend.
    for color in ["#BBD0E9", "#4678B4"] {
        assert_eq!(svg.matches(color).count(), 4, "{color}");
    }

    let exact = Scratch::new("exact.svg");
    let (code, ..) = run(&["urllib3", "--plot", exact.path()]);
    assert_eq!(code, 0);
    let svg = fs::read_to_string(exact.path()).expect("the plot was written");
    assert!(svg.contains("when it is sent") && !svg.contains("#BBD0E9"));

    let none = Scratch::new("none.svg");
    let (code, ..) = run(&["default", "--outcome", "404", "--plot", none.path()]);
    assert_eq!(code, 0);
    let svg = fs::read_to_string(none.path()).expect("the plot was written");
    assert!(svg.contains("not retried: 404 is not in"), "{svg}");
}

#[cfg(feature = "serde")]
#[test]
fn a_policy_is_compared_with_recorded_requests() {
    use http::{Method, Request, StatusCode};
    use tower_http_retry::{
        dry_run::Explain,
        policy::{Backoff, RequestHead, RetryPolicy},
    };

    // Three retries, a second apart: two requests recover, one does not.
    let recorded_by = RetryPolicy::builder()
        .backoff(Backoff::constant(std::time::Duration::from_secs(1)))
        .build()
        .expect("a policy");
    let request = Request::builder()
        .method(Method::GET)
        .uri("http://a.test/")
        .body(())
        .expect("a request");
    let mut lines = String::from("\nno report\n");
    for statuses in [
        &[503, 200][..],
        &[503, 503, 503, 200],
        &[503, 503, 503, 503],
    ] {
        let statuses: Vec<_> = statuses
            .iter()
            .map(|status| StatusCode::from_u16(*status).expect("a status").into())
            .collect();
        let sequence = recorded_by.explain_sequence(&RequestHead::of(&request), &statuses);
        lines.push_str(&serde_json::to_string(sequence.report()).expect("JSON"));
        lines.push('\n');
    }
    let reports = Scratch::new("reports.jsonl");
    fs::write(reports.path(), lines).expect("a file");
    let policy = Scratch::new("once.toml");
    fs::write(
        policy.path(),
        "total = 1\nbackoff = { kind = \"constant\", base = \"1s\" }",
    )
    .expect("a file");

    let (code, out, error) = run(&["compare", policy.path(), "--reports", reports.path()]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let squeezed: Vec<String> = out
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        "reports 3 3",
        "attempts 10 6",
        "planned waits 7.0 s 3.0 s",
        "count_exhausted 1 2",
        "succeeded 2 1",
        "2 retried -> count_exhausted",
        "1 of 3 reports are the same",
    ] {
        assert!(
            squeezed.iter().any(|found| found == line),
            "{line:?} is missing:\n{out}"
        );
    }
    assert!(out.contains("1 lines are no reports; line 2: "), "{out}");

    let (code, _, error) = run(&["compare", "default", "--reports", policy.path()]);
    assert_eq!(code, 2);
    assert!(error.contains("no line is a report; line 1: "), "{error}");
}
