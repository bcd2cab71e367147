//! The `axum_gateway` showcase, run as a user would run it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    thread,
};

use test_support::program::{self, Ended, LIMIT, finish, has, run, start};

fn gateway() -> PathBuf {
    program::example("axum_gateway", &["-p", "showcase"])
}

#[test]
fn axum_gateway_tells_its_client_and_its_log_what_became_of_a_request() {
    let (stdout, log) = run(&gateway(), &[]);
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
            "\"detail\":\"the deadline of 150 ms passed\"",
            "  retry-stopped: retried_above",
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
    let mut gateway = Ended(start(&gateway(), &args));
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
        let output = finish(start(&gateway(), &args));
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&output.stderr);
        has(&stderr, &["--upstream"]);
    }
}
