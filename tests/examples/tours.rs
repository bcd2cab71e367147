//! Runs the examples as a user would, each in a process of its own and with the default features:
//! without the reader of the client's errors, some of them would end differently.
#![cfg(feature = "default")]

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Longer than any example takes, on a machine with other things to do.
const LIMIT: Duration = Duration::from_secs(180);

/// The features this test was built with: the same make that cargo builds nothing anew.
fn features() -> String {
    let all = [
        ("default", cfg!(feature = "default")),
        ("hyper", cfg!(feature = "hyper")),
        ("h2", cfg!(feature = "h2")),
        ("tower", cfg!(feature = "tower")),
        ("tower-http", cfg!(feature = "tower-http")),
        ("reqwest", cfg!(feature = "reqwest")),
        ("rustls", cfg!(feature = "rustls")),
        ("serde", cfg!(feature = "serde")),
    ];
    let on: Vec<_> = all.iter().filter(|(_, on)| *on).map(|(f, _)| *f).collect();
    on.join(",")
}

/// An example's binary, up to date if cargo runs this test.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("this test");
    // <target>/<profile>/deps/<test>
    let profile = test.ancestors().nth(2).expect("a profile's folder");
    let binary = profile
        .join("examples")
        .join(format!("{name}{}", env::consts::EXE_SUFFIX));
    if let Some(cargo) = env::var_os("CARGO") {
        let profile = match profile.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let mut build = Command::new(cargo);
        // What cargo tells a test about its package: some build scripts run again because of it.
        for (name, _) in env::vars_os() {
            let known = name.to_string_lossy();
            if known.starts_with("CARGO_PKG_") || known.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        let built = build
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--quiet", "--example", name, "--profile", profile])
            .args(["--no-default-features", "--features", &features()])
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the example {name} does not build");
    }
    assert!(binary.exists(), "{} is not there", binary.display());
    binary
}

fn start(name: &str, args: &[&str]) -> Child {
    Command::new(example(name))
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts")
}

/// Ends a process that a failed test leaves behind.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the end of `child`, which is killed if it takes too long.
fn finish(mut child: Child) -> Output {
    let (done, waiting) = mpsc::channel::<()>();
    let id = child.id().to_string();
    let watchdog = thread::spawn(move || {
        if waiting.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-KILL", &id]).status();
        }
    });
    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    let mut out = child.stdout.take().expect("piped");
    let mut err = child.stderr.take().expect("piped");
    let errors = thread::spawn(move || err.read_to_end(&mut stderr).map(|_| stderr));
    out.read_to_end(&mut stdout).expect("text");
    let status = child.wait().expect("its status");
    drop(done);
    watchdog.join().expect("no panic");
    Output {
        status,
        stdout,
        stderr: errors.join().expect("no panic").expect("text"),
    }
}

/// Runs an example to its end; what it printed to stdout and stderr.
#[track_caller]
fn run(name: &str, args: &[&str]) -> (String, String) {
    let output = finish(start(name, args));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{name} ended with {}\n{stdout}\n{stderr}",
        output.status
    );
    (stdout, stderr)
}

#[track_caller]
fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
}

#[test]
fn axum_gateway_tells_its_client_and_its_log_what_became_of_a_request() {
    let (stdout, log) = run("axum_gateway", &[]);
    has(
        &stdout,
        &[
            "  200 OK\n  retry-attempts: 3\n  third time lucky",
            "  503 Service Unavailable\n  retry-attempts: 1\n  retry-stopped: method_not_allowed",
            "  201 Created\n  retry-attempts: 2",
            "\"reason\":\"body_not_replayable\",\"status\":502",
            "\"reason\":\"count_exhausted\",\"status\":502",
            "  503 Service Unavailable\n  retry-attempts: 1\n  retry-after: 120",
            "  504 Gateway Timeout",
            "all as it should be",
        ],
    );
    assert!(!stdout.contains("NOT AS IT SHOULD BE"), "{stdout}");
    has(
        &log,
        &[
            "/flaky: succeeded after 3 attempts",
            "WARN axum_gateway",
            "`total` is used up (3 retries)",
        ],
    );
}

/// A server on a thread: 503 on the first connection, 200 on each later one.
fn flaky_upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for (i, socket) in listener.incoming().enumerate() {
            let Ok(mut socket) = socket else { return };
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|n| n > 0) {
                request.push(byte[0]);
            }
            let status = if i == 0 { "503 Busy" } else { "200 OK" };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
            let _ = socket.write_all(answer.as_bytes());
        }
    });
    url
}

#[cfg(unix)]
#[test]
fn axum_gateway_stays_up_with_an_address_until_ctrl_c() {
    let upstream = flaky_upstream();
    let args = ["--listen", "127.0.0.1:0", "--upstream", &upstream];
    let mut gateway = Ended(start("axum_gateway", &args));
    let mut stdout = BufReader::new(gateway.0.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("its address");
    let address = line
        .strip_prefix("http://")
        .and_then(|line| line.split(' ').next())
        .unwrap_or_else(|| panic!("an address: {line:?}"));

    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
    socket
        .write_all(b"GET /page HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let mut response = String::new();
    socket.read_to_string(&mut response).expect("a response");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    has(&response, &["retry-attempts: 2\r\n", "\r\n\r\nhello"]);

    let interrupted = Command::new("kill")
        .args(["-INT", &gateway.0.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(interrupted.success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "stopped\n");
    assert!(gateway.0.wait().expect("its status").success());
}

#[test]
fn axum_gateway_refuses_an_upstream_that_is_no_server() {
    for upstream in ["/path", "https://a.test"] {
        let args = ["--listen", "127.0.0.1:0", "--upstream", upstream];
        let output = finish(start("axum_gateway", &args));
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&output.stderr);
        has(&stderr, &["--upstream"]);
    }
}

#[test]
fn stack_measures_what_each_order_means() {
    let (stdout, _) = run("stack", &[]);
    has(
        &stdout,
        &[
            "above the retries: 3 attempts of one request passed a limit of 1 an hour",
            "below the retries: a second request passed during a wait",
            "above the retries: 1 span for 3 attempts\n  below the retries: 3 spans for 3 attempts",
            "above the retries: one retry for each of two hops that fail once: 200 OK",
            "above the retries: 1 id for 3 attempts\n  below the retries: 3 ids for 3 attempts",
            "32 attempts reached the server",
            "every order meant what it should",
        ],
    );
    assert!(!stdout.contains("WRONG"), "{stdout}");
}

#[cfg(feature = "reqwest")]
#[test]
fn reqwest_client_repeats_through_reqwest() {
    let (stdout, _) = run("reqwest_client", &[]);
    has(
        &stdout,
        &[
            "/flaky: succeeded after 3 attempts",
            "/upload: succeeded after 2 attempts",
            "read: timed out",
            "/crash: failed after 1 attempt ",
            "POST is not in `allowed_methods`",
            "connect: connection refused",
            "/orders: failed after 4 attempts",
            "all as it should be",
        ],
    );
}

/// Without these features, the layer would not know the client's errors; all are on by default.
#[cfg(all(feature = "h2", feature = "hyper", feature = "tower"))]
mod soak {
    use super::*;

    /// What a short run prints to stdout and stderr, and how it ends.
    fn soak(sabotage: &[&str]) -> (Option<i32>, String, String) {
        let short = ["--requests", "1000", "--concurrency", "64"];
        let output = finish(start("soak", &[&short, sabotage].concat()));
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    #[test]
    fn a_soak_without_findings_ends_well() {
        let (code, stdout, stderr) = soak(&[]);
        assert_eq!(code, Some(0), "{stdout}\n{stderr}");
        has(
            &stdout,
            &[
                "1 000 requests, and 1 000 before them to warm up; 64 at once",
                "\n100 %         1 000 requests",
                "\nwhy it ended\n  ",
                "\n  succeeded at once",
                "\n2 000 requests in",
                "nothing was lost, doubled, corrupted or leaked",
            ],
        );
        assert_eq!(stderr, "");
    }

    #[track_caller]
    fn notices(sabotage: &str, breach: &str) {
        let (code, stdout, stderr) = soak(&["--sabotage", sabotage]);
        assert_eq!(code, Some(1), "{stdout}\n{stderr}");
        assert!(!stdout.contains("nothing was lost"), "{stdout}");
        let broken = |line: &str| line.starts_with("BROKEN: ") && line.ends_with(breach);
        assert!(stderr.lines().any(broken), "not {breach}: {stderr}");
        has(&stderr, &[&format!("{breach}: ")]);
    }

    #[test]
    fn the_soak_notices_that_an_outcome_is_lost() {
        notices("lose", "lost");
    }

    #[test]
    fn the_soak_notices_that_a_request_is_doubled() {
        notices("double", "doubled");
    }

    #[test]
    fn the_soak_notices_that_content_is_corrupted() {
        notices("corrupt", "corrupted");
    }

    #[test]
    fn the_soak_notices_that_memory_grows() {
        notices("leak", "leaked");
    }

    #[test]
    fn the_soak_refuses_arguments_that_make_no_sense() {
        for args in [
            ["--faults", "1.5"],
            ["--faults", "NaN"],
            ["--requests", "0"],
            ["--concurrency", "0"],
        ] {
            let output = finish(start("soak", &args));
            assert_eq!(output.status.code(), Some(2), "{args:?}");
            let stderr = String::from_utf8_lossy(&output.stderr);
            has(&stderr, &[args[0]]);
        }
    }
}
