//! The `fetch` example, run as a user would run it.
#![cfg(all(feature = "h2", feature = "hyper", feature = "tower"))]

use std::{
    collections::HashMap,
    convert::Infallible,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;

/// No run takes so long, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `/well` and others answer: no text, and nothing that a terminal could show.
const CONTENT: &[u8] = b"\x00\xff\r\n not text \x1b[0m\n";

// --- the example -------------------------------------------------------------------------------

/// What a run printed, and how it ended.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Run {
    fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("text")
    }

    /// The lines on stdout, each a JSON object.
    fn json(&self) -> Vec<Value> {
        let text = self.text();
        let parse = |line| serde_json::from_str(line).expect("JSON");
        text.lines().map(parse).collect()
    }

    #[track_caller]
    fn assert_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self:#?}");
    }

    #[track_caller]
    fn assert_stderr_has(&self, text: &str) {
        assert!(self.stderr.contains(text), "no {text:?} in {self:#?}");
    }
}

/// Runs the example with these arguments.
async fn fetch(args: &[&str]) -> Run {
    fetch_with(args, b"").await
}

async fn fetch_with(args: &[&str], stdin: &'static [u8]) -> Run {
    let mut command = tokio::task::spawn_blocking(|| Command::new(crate::example("fetch")))
        .await
        .expect("built");
    let mut child = command
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut input = child.stdin.take().expect("piped");
    // A run that does not want it closes the pipe.
    let writing = tokio::task::spawn_blocking(move || drop(input.write_all(stdin)));
    let stdout = read_all(child.stdout.take().expect("piped"));
    let stderr = read_all(child.stderr.take().expect("piped"));
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    if ended.is_err() {
        child.kill().expect("a child");
    }
    writing.await.expect("no panic");
    let run = Run {
        code: ended.as_ref().ok().and_then(|status| status.code()),
        stdout: stdout.await.expect("no panic"),
        stderr: String::from_utf8(stderr.await.expect("no panic")).expect("text"),
    };
    assert!(ended.is_ok(), "still running after {PATIENCE:?}: {run:#?}");
    assert!(!run.stderr.contains("panicked"), "{run:#?}");
    run
}

fn read_all(mut from: impl Read + Send + 'static) -> tokio::task::JoinHandle<Vec<u8>> {
    tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("readable");
        all
    })
}

// --- a server ----------------------------------------------------------------------------------

/// What a server remembers: how often each path was asked for.
#[derive(Clone, Default)]
struct Hits(Arc<Mutex<HashMap<String, usize>>>);

impl Hits {
    fn add(&self, path: &str) -> usize {
        let mut hits = self.0.lock().expect("no panic");
        let hits = hits.entry(path.to_owned()).or_default();
        *hits += 1;
        *hits
    }

    fn of(&self, path: &str) -> usize {
        let hits = self.0.lock().expect("no panic");
        hits.get(path).copied().unwrap_or(0)
    }
}

/// Serves on a port of 127.0.0.1 until the test ends.
async fn serve(tls: Option<TlsAcceptor>) -> (SocketAddr, Hits) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let hits = Hits::default();
    let counted = hits.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, hits) = (tls.clone(), counted.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, hits.clone()));
                let server = auto::Builder::new(TokioExecutor::new());
                // A client that breaks off, or refuses the certificate, is part of some tests.
                match tls {
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            let _ = server.serve_connection(TokioIo::new(stream), service).await;
                        }
                    }
                    None => {
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    }
                }
            });
        }
    });
    (address, hits)
}

async fn answer(
    request: Request<Incoming>,
    hits: Hits,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let nth = hits.add(request.uri().path());
    let response = Response::builder();
    let path = request.uri().path().to_owned();
    let response = match path.as_str() {
        "/flaky" if nth <= 2 => response.status(503).body("error page".into()),
        "/well" | "/flaky" => response.body(CONTENT.into()),
        "/failing" => response.status(503).body(CONTENT.into()),
        "/limited" if nth == 1 => response
            .status(429)
            .header(header::RETRY_AFTER, "1")
            .body("slow down".into()),
        "/limited" => response.body(CONTENT.into()),
        "/patience" => response
            .status(503)
            .header(header::RETRY_AFTER, "3600")
            .body(CONTENT.into()),
        "/echo" => {
            let (head, body) = request.into_parts();
            let header = |name| {
                let value = head.headers.get(name);
                value.map_or("none", |value| value.to_str().expect("text"))
            };
            let length = header("content-length");
            let test = header("x-test");
            let content = body.collect().await.expect("whole").to_bytes();
            let digest = hex(&Sha256::digest(&content));
            let echo = format!("{} {digest} length={length} test={test}", head.method);
            // What was sent is read before the first attempt fails.
            let status = if nth == 1 { 503 } else { 200 };
            response.status(status).body(echo.into())
        }
        _ => response.status(404).body("not found".into()),
    };
    Ok(response.expect("a response"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("tower-http-retry-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// The path of a file in it.
    fn file(&self, name: &str) -> String {
        self.0
            .join(name)
            .into_os_string()
            .into_string()
            .expect("text")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

// --- the tests ---------------------------------------------------------------------------------

#[tokio::test]
async fn the_demonstration_tells_what_became_of_each_request() {
    let run = fetch(&[]).await;
    run.assert_code(0);
    let stdout = run.text();
    assert_eq!(run.stderr, "");
    assert!(!stdout.contains('\x1b'), "colours in a pipe: {stdout}");
    // Each scenario with lines that only it has, in this order.
    let mut rest = stdout.as_str();
    for expected in [
        "The server answers at once",
        "/well: succeeded at the first attempt\n      200 OK, nothing to report",
        "The server answers 503 twice",
        "/flaky: succeeded after 3 attempts",
        "503 Service Unavailable, took ",
        "wait ",
        ": backoff",
        "503 Service Unavailable, took ",
        "200 OK, took ",
        "The server answers 429 with Retry-After: 1",
        "429 Too Many Requests, took ",
        "wait 1", // And up to a tenth more.
        " s: retry-after",
        "200 OK, took ",
        "The server answers 503 with Retry-After: 3600",
        "/maintenance: failed after 1 attempt",
        "not retried: the server asked to wait 1 h, `retry_after_max` is 60 s",
        "The server closes the connection before it answers",
        "read: connection closed before the response, took ",
        "200 OK, took ",
        "The server resets the connection within the answer",
        "read: connection reset, took ",
        "200 OK, took ",
        "The server hangs",
        "read: timed out, took 1",
        "200 OK, took ",
        "The server listens only after 300 ms",
        "connect: connection refused, took ",
        "200 OK, took ",
        "The server does not listen at all",
        "/dead: failed after 4 attempts",
        "gave up: `total` is used up (3 retries)",
        "The server answers a POST with 503",
        "/order: failed after 1 attempt",
        "not retried: POST is not in `allowed_methods` and the request may have been applied",
        "The server answers a POST with 503 (in `allowed_methods`)",
        "201 Created, took ",
        "The server answers a POST with 503 (marked `Idempotent`)",
        "201 Created, took ",
        "The server cuts an upload of 256 KiB in the middle",
        "#1 ",
        "  read: ",
        "201 Created, took ",
        "the server has 262144 bytes, SHA-256 ",
        ", as announced",
        "The server cuts an upload above the replay limit",
        "not retried: the request body cannot be sent again: ",
        "65536 could be kept",
        "14 of 14 behaved as they should",
    ] {
        let Some(at) = rest.find(expected) else {
            panic!("no {expected:?} where it should be in {stdout}");
        };
        rest = &rest[at + expected.len()..];
    }
}

/// The words of a text that are not measured: no numbers, ports and units of time.
fn unmeasured(text: &str) -> Vec<String> {
    let words = text.split_whitespace().filter(|word| {
        let number = word.trim_start_matches('+');
        !number.starts_with(|c: char| c.is_ascii_digit()) && !["ms", "s", "\u{b5}s"].contains(word)
    });
    let port = |word: &str| match word.strip_prefix("http://127.0.0.1:") {
        Some(rest) => rest
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .to_owned(),
        None => word.to_owned(),
    };
    words.map(port).collect()
}

/// The README's picture is drawn from a run; it says what a run says.
#[tokio::test]
async fn the_picture_shows_what_is_printed() {
    let picture = include_str!("../../pictures/terminal.svg");
    let lines = picture.lines().filter_map(|line| {
        let texts = line.strip_prefix("<text")?.split("<tspan").skip(1);
        let texts = texts.map(|text| {
            let (_, text) = text.split_once('>').expect("an open tag");
            text.split("</").next().expect("a text").to_owned()
        });
        Some(texts.collect::<String>())
    });
    let shown: Vec<_> = lines.collect();
    assert!(shown.len() > 20, "{shown:?}");
    let shown = shown
        .join("\n")
        .replace("&gt;", ">")
        .replace("&lt;", "<")
        .replace("&amp;", "&");
    let printed = fetch(&[]).await.text();
    let printed: Vec<_> = printed.lines().take(shown.lines().count()).collect();
    assert_eq!(unmeasured(&shown), unmeasured(&printed.join("\n")));
}

#[tokio::test]
async fn stdout_is_exactly_the_body_and_stderr_the_timeline() {
    let (server, hits) = serve(None).await;
    let run = fetch(&[&format!("http://{server}/flaky")]).await;
    run.assert_code(0);
    assert_eq!(run.stdout, CONTENT);
    assert_eq!(hits.of("/flaky"), 3);
    run.assert_stderr_has(&format!(
        "GET http://{server}/flaky: succeeded after 3 attempts in "
    ));
    run.assert_stderr_has("503 Service Unavailable, took ");
    run.assert_stderr_has("200 OK, took ");
    assert!(!run.stderr.contains('\x1b'), "colours in a pipe: {run:?}");
}

#[tokio::test]
async fn a_success_at_once_is_told_in_one_line() {
    let (server, _) = serve(None).await;
    let url = format!("http://{server}/well");
    let run = fetch(&[&url]).await;
    run.assert_code(0);
    assert_eq!(run.stdout, CONTENT);
    assert_eq!(
        run.stderr,
        format!("GET {url}: 200 OK at the first attempt\n")
    );
}

#[tokio::test]
async fn a_status_that_stays_exits_with_1_and_its_body() {
    let (server, hits) = serve(None).await;
    let run = fetch(&["--total", "1", &format!("http://{server}/failing")]).await;
    run.assert_code(1);
    assert_eq!(run.stdout, CONTENT);
    assert_eq!(hits.of("/failing"), 2);
    run.assert_stderr_has("gave up: `total` is used up (1 retry)");
}

#[tokio::test]
async fn a_refused_connection_exits_with_1() {
    // Bound and not listening: nobody else can take the port meanwhile.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind((Ipv4Addr::LOCALHOST, 0).into())
        .expect("a port");
    let dead = socket.local_addr().expect("an address");
    let run = fetch(&[
        "--total=2",
        "--backoff-factor=0",
        &format!("http://{dead}/"),
    ])
    .await;
    run.assert_code(1);
    assert_eq!(run.stdout, b"");
    run.assert_stderr_has("failed after 3 attempts");
    run.assert_stderr_has("connect: connection refused");
    run.assert_stderr_has("gave up: `total` is used up (2 retries)");
}

#[tokio::test]
async fn bad_usage_exits_with_2_and_says_what_is_allowed() {
    let url = "http://127.0.0.1:1/";
    let folder = Folder::new("usage");
    let body = format!("@{}", folder.file("missing"));
    for (args, message) in [
        (
            &["ftp://a.test/"][..],
            "it must begin with http:// or https://",
        ),
        (&["a.test"], "it must begin with http:// or https://"),
        (&["http://"], "invalid value 'http://'"),
        (&["--nonsense", url], "unexpected argument '--nonsense'"),
        (
            &["--total", "many", url],
            "a number, `unlimited` or `never`",
        ),
        (&["--total", "-1", url], "`total` is -1: must be a number"),
        (
            &["--backoff-factor", "NaN", url],
            "`backoff_factor` is NaN: must be",
        ),
        (
            &["--retry-after-max", "-2", url],
            "`retry_after_max` is -2: must be",
        ),
        (
            &["--retry-after-jitter", "1.5", url],
            "`retry_after_jitter` is 1.5: must be a number in 0..=1",
        ),
        (
            &["--status-forcelist", "503,99", url],
            "`status_forcelist` is 99: must be a status in 100..=999",
        ),
        (
            &["--allowed-methods", "GET,no method", url],
            "`allowed_methods` is \"no method\": must be",
        ),
        (
            &["--attempt-timeout", "0", url],
            "a number of seconds above 0",
        ),
        (&["-H", "no colon", url], "it has no colon"),
        (&["-X", "no method", url], "invalid value 'no method'"),
        (&["-d", &body, url], "--data "),
        (
            &["-o", "file", url, url],
            "--output takes the body of one URL",
        ),
        (&["-d", "@-", url, url], "stdin can be sent to one URL"),
        (&["--total", "3"], "options need a URL"),
    ] {
        let run = fetch(args).await;
        run.assert_code(2);
        assert_eq!(run.stdout, b"", "{args:?}");
        run.assert_stderr_has(message);
    }
}

#[tokio::test]
async fn help_goes_to_stdout_and_names_every_knob() {
    let run = fetch(&["--help"]).await;
    run.assert_code(0);
    let help = run.text();
    for knob in [
        "--preset",
        "--total",
        "--connect",
        "--read",
        "--status",
        "--other",
        "--redirect",
        "--allowed-methods",
        "--status-forcelist",
        "--backoff-factor",
        "--backoff-max",
        "--backoff-jitter",
        "--no-respect-retry-after",
        "--retry-after-max",
        "--retry-after-mode",
        "--retry-after-jitter",
        "--raise-on-status",
        "--attempt-timeout",
        "--deadline",
        "--replay-limit",
        "--seed",
    ] {
        assert!(help.contains(knob), "no {knob} in {help}");
    }
}

#[tokio::test]
async fn json_tells_the_same_with_and_without_a_report() {
    let (server, _) = serve(None).await;
    let url = |path| format!("http://{server}{path}");
    let run = fetch(&["--json", &url("/well"), &url("/limited"), &url("/nowhere")]).await;
    run.assert_code(1);
    assert_eq!(run.stderr, "");
    let [well, limited, nowhere] = &run.json()[..] else {
        panic!("three objects were expected: {run:?}");
    };

    assert_eq!(well["url"], url("/well"));
    assert_eq!(well["method"], "GET");
    assert_eq!(well["success"], true);
    assert_eq!(well["status"], 200);
    assert_eq!(well["attempts"], 1);
    assert_eq!(well["stop"]["reason"], "succeeded");
    assert_eq!(well["body_bytes"], CONTENT.len());
    assert_eq!(well["effects"]["min"], 1);
    assert_eq!(well["history"], Value::Array(Vec::new()));
    assert_eq!(well["error"], Value::Null);

    assert_eq!(limited["success"], true);
    assert_eq!(limited["attempts"], 2);
    assert_eq!(limited["history"][0]["status"], 429);
    let wait = limited["history"][0]["wait"]["seconds"].as_f64();
    assert!(
        wait.is_some_and(|wait| (1.0..1.1).contains(&wait)),
        "{limited}"
    );
    assert_eq!(limited["history"][0]["wait"]["why"], "retry-after");
    assert_eq!(limited["history"][0]["wait"]["charged"], "status");
    assert_eq!(limited["history"][1]["status"], 200);
    let elapsed = limited["elapsed_seconds"].as_f64().expect("a number");
    assert!(elapsed >= 1.0, "{limited}");

    assert_eq!(nowhere["success"], false);
    assert_eq!(nowhere["status"], 404);
    assert_eq!(nowhere["attempts"], 1);
    assert_eq!(nowhere["stop"]["reason"], "status_not_listed");
}

#[tokio::test]
async fn json_has_the_error_of_a_request_without_a_response() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind((Ipv4Addr::LOCALHOST, 0).into())
        .expect("a port");
    let dead = socket.local_addr().expect("an address");
    let run = fetch(&["--json", "--connect", "never", &format!("http://{dead}/")]).await;
    run.assert_code(1);
    let [json] = &run.json()[..] else {
        panic!("one object was expected: {run:?}");
    };
    assert_eq!(json["status"], Value::Null);
    assert_eq!(json["attempts"], 1);
    assert_eq!(json["stop"]["reason"], "kind_disabled");
    assert_eq!(json["history"][0]["failure"]["kind"], "connect");
    assert_eq!(json["history"][0]["failure"]["cause"], "connection refused");
    assert_eq!(json["effects"]["max"], 0);
    let error = json["error"].as_str().expect("an error");
    assert!(error.contains("`connect` is set to never"), "{error}");
}

#[tokio::test]
async fn knobs_reach_the_policy() {
    let (server, hits) = serve(None).await;
    let url = |path| format!("http://{server}{path}");

    // POST is repeated only if it is allowed.
    let run = fetch(&["-d", "x", &url("/flaky")]).await;
    run.assert_code(1);
    run.assert_stderr_has("not retried: POST is not in `allowed_methods`");
    assert_eq!(hits.of("/flaky"), 1);
    let run = fetch(&["-d", "x", "--allowed-methods", "GET,POST", &url("/flaky")]).await;
    run.assert_code(0);
    assert_eq!(hits.of("/flaky"), 3);

    // The urllib3 preset lists no status, but listens to Retry-After, and raises.
    let run = fetch(&["--preset", "urllib3", &url("/failing")]).await;
    run.assert_code(1);
    run.assert_stderr_has("not retried: 503 is not in `status_forcelist`");
    let forced = ["--preset=urllib3", "--status-forcelist=503", "--status=1"];
    let failing = url("/failing");
    let run = fetch(&[&forced[..], &[&failing]].concat()).await;
    run.assert_code(1);
    assert_eq!(run.stdout, b"");
    run.assert_stderr_has("no wait: immediate");
    run.assert_stderr_has("gave up: `status` is used up (1 retry)");
    let run = fetch(&[&forced[..], &["--raise-on-status=false", &failing]].concat()).await;
    run.assert_code(1);
    assert_eq!(run.stdout, CONTENT);

    // Retry-After: obeyed up to a cap, then given up, cut or ignored.
    let run = fetch(&["--retry-after-max", "1800", &url("/patience")]).await;
    run.assert_code(1);
    run.assert_stderr_has("the server asked to wait 1 h, `retry_after_max` is 30 min");
    let clamp = [
        "--retry-after-mode=clamp",
        "--retry-after-max=0.01",
        "--retry-after-jitter=0",
    ];
    let run = fetch(&[&clamp[..], &["--total=1", &url("/patience")]].concat()).await;
    run.assert_code(1);
    run.assert_stderr_has("wait 10 ms: retry-after, cut to the policy's cap");
    let run = fetch(&[
        "--no-respect-retry-after",
        "--total=1",
        "--backoff-factor=0",
        &url("/patience"),
    ])
    .await;
    run.assert_code(1);
    run.assert_stderr_has("no wait: immediate");

    // A wait that the deadline does not leave time for is not begun.
    let run = fetch(&["--deadline", "0.9", &url("/limited")]).await;
    run.assert_code(1);
    run.assert_stderr_has("not retried: the deadline is too close");
}

#[tokio::test]
async fn an_attempt_that_hangs_is_cut_by_its_timeout() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let silent = listener.local_addr().expect("an address");
    let url = format!("http://{silent}/");
    let run = fetch(&["--attempt-timeout=0.1", "--total=1", &url]).await;
    run.assert_code(1);
    run.assert_stderr_has("failed after 2 attempts");
    run.assert_stderr_has("no response within 100 ms");
}

#[tokio::test]
async fn a_seed_makes_the_waits_repeatable() {
    let (server, _) = serve(None).await;
    let url = format!("http://{server}/failing");
    let mut waits = Vec::new();
    for _ in 0..2 {
        let run = fetch(&["--json", "--seed", "7", "--backoff-factor", "0.01", &url]).await;
        run.assert_code(1);
        let json = run.json().remove(0);
        let history = json["history"].as_array().expect("attempts").clone();
        assert_eq!(history.len(), 4);
        waits.push(
            history
                .into_iter()
                .map(|attempt| attempt["wait"].clone())
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(waits[0], waits[1]);
    assert!(waits[0][0]["seconds"].as_f64() > Some(0.0), "{waits:?}");
}

#[tokio::test]
async fn every_kind_of_body_arrives_whole_the_second_time() {
    let folder = Folder::new("bodies");
    let path = folder.file("upload");
    let file: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(&path, &file).expect("written");
    let at_path = format!("@{path}");
    let (stdin, text) = (&b"from\0stdin"[..], "some text");
    for (args, content, length) in [
        (&["-d", text][..], text.as_bytes(), "9"),
        (&["-d", &at_path], &file, "300000"),
        (&["-d", &at_path, "--replay-limit=400000"], &file, "300000"),
        (&["-d", "@-"], stdin, "10"),
    ] {
        let (server, hits) = serve(None).await;
        let url = format!("http://{server}/echo");
        let run = fetch_with(
            &[args, &["-X", "PUT", "-H", "X-Test: a: b", &url]].concat(),
            b"from\0stdin",
        )
        .await;
        run.assert_code(0);
        assert_eq!(hits.of("/echo"), 2, "{args:?}");
        let digest = hex(&Sha256::digest(content));
        let echo = format!("PUT {digest} length={length} test=a: b");
        assert_eq!(run.text(), echo, "{args:?}");
    }
}

#[tokio::test]
async fn a_body_above_the_replay_limit_is_sent_once() {
    let (server, hits) = serve(None).await;
    let url = format!("http://{server}/echo");
    let args = ["-X", "PUT", "-d", "@-", "--replay-limit", "4", &url];
    let run = fetch_with(&args, b"from\0stdin").await;
    run.assert_code(1);
    assert_eq!(hits.of("/echo"), 1);
    run.assert_stderr_has(
        "not retried: the request body cannot be sent again: 10 bytes were read, 4 could be kept",
    );
}

#[tokio::test]
async fn the_body_can_go_to_a_file_and_the_head_before_it() {
    let folder = Folder::new("output");
    let path = folder.file("body");
    let (server, _) = serve(None).await;
    let url = format!("http://{server}/well");
    let run = fetch(&["-o", &path, &url]).await;
    run.assert_code(0);
    assert_eq!(run.stdout, b"");
    assert_eq!(fs::read(&path).expect("written"), CONTENT);

    let run = fetch(&["-i", &url]).await;
    run.assert_code(0);
    assert!(run.stdout.starts_with(b"HTTP/1.1 200 OK\r\n"), "{run:?}");
    let body = [b"\r\n\r\n", CONTENT].concat();
    assert!(run.stdout.ends_with(&body), "{run:?}");

    let missing = folder.file("missing/body");
    let run = fetch(&["-o", &missing, &url]).await;
    run.assert_code(1);
    run.assert_stderr_has(&missing);
}

#[tokio::test]
async fn verbose_logs_each_retry() {
    let (server, _) = serve(None).await;
    let run = fetch(&["-v", &format!("http://{server}/flaky?token=secret")]).await;
    run.assert_code(0);
    assert_eq!(run.stdout, CONTENT);
    run.assert_stderr_has("tower_http_retry: retrying");
    run.assert_stderr_has("tower_http_retry: recovered");
    assert!(!run.stderr.contains("secret"), "{run:?}");
}

#[cfg(feature = "tls")]
mod with_tls {
    use rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    };

    use super::*;

    /// A server with TLS, and the certificate authority that vouches for it, as PEM.
    fn tls() -> (TlsAcceptor, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(authority, key).expect("a CA");
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()])
            .and_then(|params| params.signed_by(&key, &authority))
            .expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a configuration");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        (TlsAcceptor::from(Arc::new(config)), authority.pem())
    }

    #[tokio::test]
    async fn https_works_with_an_authority_of_ones_own() {
        let folder = Folder::new("https");
        let (acceptor, authority) = tls();
        let cacert = folder.file("ca.pem");
        fs::write(&cacert, authority).expect("written");
        let (server, hits) = serve(Some(acceptor)).await;
        let url = format!("https://localhost:{}/flaky", server.port());
        let run = fetch(&["--cacert", &cacert, "-i", &url]).await;
        run.assert_code(0);
        assert_eq!(hits.of("/flaky"), 3);
        assert!(run.stdout.starts_with(b"HTTP/2.0 200 OK\r\n"), "{run:?}");
        assert!(run.stdout.ends_with(CONTENT), "{run:?}");
    }

    #[tokio::test]
    async fn an_untrusted_certificate_is_not_tried_again() {
        let (acceptor, _) = tls();
        let (server, hits) = serve(Some(acceptor)).await;
        let url = format!("https://localhost:{}/well", server.port());
        let run = fetch(&[&url]).await;
        run.assert_code(1);
        assert_eq!(run.stdout, b"");
        assert_eq!(hits.of("/well"), 0);
        run.assert_stderr_has("failed after 1 attempt in ");
        run.assert_stderr_has("UnknownIssuer");
        run.assert_stderr_has("not retried: repeating cannot help: certificate not acceptable");
    }

    #[tokio::test]
    async fn a_file_without_certificates_is_refused() {
        let url = "https://127.0.0.1:1/";
        let folder = Folder::new("cacert");
        let (missing, empty) = (folder.file("missing"), folder.file("empty"));
        fs::write(&empty, "").expect("written");
        for (file, message) in [(&missing, "--cacert "), (&empty, "it holds no certificate")] {
            let run = fetch(&["--cacert", file, url]).await;
            run.assert_code(2);
            assert_eq!(run.stdout, b"", "{file:?}");
            run.assert_stderr_has(message);
        }
    }
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn without_tls_it_says_how_to_have_it() {
    for args in [
        &["https://a.test/"][..],
        &["--cacert", "ca.pem", "http://a.test/"],
    ] {
        let run = fetch(args).await;
        run.assert_code(2);
        assert_eq!(run.stdout, b"", "{args:?}");
        run.assert_stderr_has("--features tls");
    }
}
