//! T1 on a network: an established connection whose acknowledgements are lost, and a router that
//! says by ICMP that the server cannot be reached. That is how a request that was read and applied
//! comes to fail with `EHOSTUNREACH`, the errno of a connection that could not be made.
//!
//! Client, router and server are three network namespaces of this machine, with no way to anywhere
//! else. Making them takes root; `.ci/long-steps` runs this test where that is possible.
#![cfg(all(feature = "hyper", target_os = "linux"))]

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{ChildStdin, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use test_support::program::Ended;
use tower::{Layer, ServiceExt};
use tower_http_retry::{RetryLayer, RetryReport, policy::RetryPolicy};

const ROLE: &str = "UNREACHABLE_ROLE";
const NAME: &str = "unreachable::a_post_is_read_once_where_the_network_fails_after_it_was_written";
const SERVER: &str = "10.99.2.2:8080";

/// Longer than all of it takes.
const LIMIT: Duration = Duration::from_secs(90);

#[test]
#[ignore = "needs root and network namespaces: .ci/long-steps runs it where it can"]
fn a_post_is_read_once_where_the_network_fails_after_it_was_written() {
    match env::var(ROLE).as_deref() {
        Ok("server") => return serve(),
        Ok(method) => return send(method),
        Err(_) => {}
    }
    // What may be repeated shows that a second one would have been seen.
    let (read, report) = on_a_network_that_fails("PUT");
    assert_eq!(read, 2, "{report}");
    assert!(report.contains("succeeded after"), "{report}");
    let (read, report) = on_a_network_that_fails("POST");
    assert_eq!(read, 1, "{report}");
    assert!(report.contains("failed after 1 attempt"), "{report}");
    assert!(report.contains("may have been applied"), "{report}");
    // Otherwise nothing of the kind has happened.
    assert!(report.contains("No route to host"), "{report}");
}

/// How often the server read the request, and what the client tells of it.
fn on_a_network_that_fails(method: &str) -> (u32, String) {
    let network = Network::new();
    let (told, lines) = mpsc::channel();
    let next =
        |lines: &Receiver<(&'static str, String)>| lines.recv_timeout(LIMIT).expect("in time");
    let server = network.run("b", "server", told.clone());
    await_line(|| next(&lines), "listening");
    let mut client = network.run("a", method, told);
    await_line(|| next(&lines), "ready");
    // From now on nothing of what the server sends arrives.
    network.router(&["rule", "add", "iif", "rb", "lookup", "100"]);
    client.tell("go");
    let (mut read, mut healed, mut report) = (0, false, String::new());
    loop {
        let (who, line) = next(&lines);
        match (who, line.as_str()) {
            ("b", "read") => {
                read += 1;
                if read == 1 {
                    // And the client is told that it sends to nowhere.
                    network.router(&["rule", "add", "iif", "ra", "lookup", "101"]);
                }
            }
            ("a", "failed") if healed => {}
            ("a", "failed") => {
                healed = true;
                network.router(&["rule", "del", "iif", "ra"]);
                network.router(&["rule", "del", "iif", "rb"]);
            }
            ("a", "end") => break,
            ("a", line) => report += &format!("{line}\n"),
            _ => {}
        }
    }
    drop((client, server));
    // What the server still had to say.
    read += lines.iter().filter(|(_, line)| line == "read").count() as u32;
    (read, report)
}

fn await_line(mut next: impl FnMut() -> (&'static str, String), wanted: &str) {
    while next().1 != wanted {}
}

/// Three namespaces: `a`, the router, and `b`.
struct Network {
    names: [String; 3],
}

/// A process in one of them.
struct Peer {
    input: ChildStdin,
    _child: Ended,
}

impl Peer {
    fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it listens");
    }
}

impl Network {
    fn new() -> Self {
        let names = ["a", "r", "b"].map(|part| format!("retry-{}-{part}", std::process::id()));
        let network = Self { names };
        for name in &network.names {
            ip(&["netns", "add", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        let [a, r, b] = &network.names;
        for (end, subnet, router) in [(a, "10.99.1", "ra"), (b, "10.99.2", "rb")] {
            ip(&[
                "link", "add", "eth", "netns", end, "type", "veth", "peer", "name", router,
                "netns", r,
            ]);
            for (name, link, host) in [(end, "eth", 2), (r, router, 1)] {
                let address = format!("{subnet}.{host}/24");
                ip(&["-n", name, "addr", "add", &address, "dev", link]);
                ip(&["-n", name, "link", "set", link, "up"]);
            }
            let gateway = format!("{subnet}.1");
            ip(&["-n", end, "route", "add", "default", "via", &gateway]);
        }
        set(r, "ip_forward", "1");
        set(r, "icmp_ratelimit", "0");
        // A connection is given up after seconds, not a quarter of an hour.
        set(a, "tcp_retries2", "3");
        network.router(&["route", "add", "blackhole", "default", "table", "100"]);
        network.router(&["route", "add", "unreachable", "default", "table", "101"]);
        network
    }

    fn router(&self, args: &[&str]) {
        ip(&[&["-n", &self.names[1]], args].concat());
    }

    /// Runs this test as another of its roles. What it prints comes out of the channel.
    fn run(
        &self,
        place: &'static str,
        role: &str,
        told: mpsc::Sender<(&'static str, String)>,
    ) -> Peer {
        let name = if place == "a" {
            &self.names[0]
        } else {
            &self.names[2]
        };
        let test = env::current_exe().expect("this test");
        let mut child = Command::new("ip")
            .args(["netns", "exec", name])
            .arg(test)
            .args(["--ignored", "--exact", NAME, "--nocapture"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = child.stdout.take().expect("piped");
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if told.send((place, line)).is_err() {
                    break;
                }
            }
        });
        Peer {
            input: child.stdin.take().expect("piped"),
            _child: Ended(child),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(args: &[&str]) {
    let status = Command::new("ip").args(args).status().expect("ip runs");
    assert!(status.success(), "ip {}", args.join(" "));
}

fn set(namespace: &str, name: &str, value: &str) {
    let write = format!("echo {value} > /proc/sys/net/ipv4/{name}");
    ip(&["netns", "exec", namespace, "sh", "-c", &write]);
}

/// Answers a GET; reads other requests, and answers from the second one on.
fn serve() {
    let listener = TcpListener::bind(SERVER).expect("the namespace's own address");
    say("listening");
    let read = Arc::new(AtomicU32::new(0));
    for stream in listener.incoming() {
        let (stream, read) = (stream.expect("a connection"), Arc::clone(&read));
        thread::spawn(move || while answer(&stream, &read).is_some() {});
    }
}

fn answer(mut stream: &TcpStream, read: &AtomicU32) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    if !head.starts_with(b"GET") {
        stream.read_exact(&mut [0; 5]).ok()?;
        say("read");
        if read.fetch_add(1, Relaxed) == 0 {
            return Some(());
        }
    }
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer).ok()
}

/// Sends a GET, so that there is a connection, and then the request of which it is about.
fn send(method: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let policy = RetryPolicy::builder().total(20).backoff_factor(0.2);
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let retries = RetryLayer::new(policy.build().expect("valid"))
        .deadline(LIMIT / 2)
        .on_event(|_| say("failed"))
        .layer(client);
    let request = |method: &str, body: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{SERVER}/"));
        request.body(Full::from(body)).expect("valid")
    };
    let report = runtime.block_on(async {
        let first = retries.clone().oneshot(request("GET", "")).await;
        let body = first.expect("all is well").into_body();
        body.collect().await.expect("empty");
        say("ready");
        std::io::stdin().read_line(&mut String::new()).expect("go");
        match retries.oneshot(request(method, "12.50")).await {
            Ok(response) => {
                let report: Option<&RetryReport> = response.extensions().get();
                report.map_or_else(String::new, ToString::to_string)
            }
            Err(error) => error.report().to_string(),
        }
    });
    say(&report);
    say("end");
}

/// Prints a line, whatever the test's runner has left on it.
fn say(line: &str) {
    println!("\n{line}");
}
