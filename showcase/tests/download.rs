//! The `download` showcase, run as a user would run it.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Output,
    thread,
};

use sha2::{Digest, Sha256};
use test_support::program::{self, finish, has, run, start};

fn download() -> PathBuf {
    program::example("download", &["-p", "showcase"])
}

#[test]
fn the_tour_shows_what_goes_on_and_what_does_not() {
    let (stdout, _) = run(&download(), &[]);
    has(
        &stdout,
        &[
            "/cuts: succeeded after 6 attempts",
            "/stalls: succeeded after 3 attempts",
            "could not go on: the server has something else there now",
            "could not go on: the response's validator is weak",
            "\nall as it should be",
        ],
    );
    assert!(!stdout.contains("NOT A"), "{stdout}");
}

/// A server on a thread that answers each request, of which it is given the head and the number.
fn server(answer: impl Fn(&str, usize) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        let mut open = Vec::new();
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let head = head(&mut stream);
            let answer = answer(&head, number);
            let _ = stream.write_all(&answer);
            // One that says `stall` is left open.
            if answer.windows(8).any(|part| part == b"x-stall:") {
                open.push(stream);
            }
        }
    });
    origin
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).to_ascii_lowercase()
}

/// A folder of the test's own, and what the program makes of a download into it.
struct Trial {
    folder: PathBuf,
    output: Output,
}

impl Trial {
    fn of(name: &str, url: &str, more: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("file");
        let file = file.to_str().expect("a text");
        let args: Vec<_> = [&[url, "-o", file], more].concat();
        let output = finish(start(&download(), &args));
        Self { folder, output }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("file")
    }

    fn names(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect()
    }

    fn arrived(&self, content: &[u8]) {
        let stdout = String::from_utf8_lossy(&self.output.stdout);
        let stderr = String::from_utf8_lossy(&self.output.stderr);
        assert_eq!(self.output.status.code(), Some(0), "{stdout}{stderr}");
        assert_eq!(fs::read(self.file()).expect("the file"), content);
        let hex: String = Sha256::digest(content)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let last = stdout.lines().last().unwrap_or("");
        assert!(last.starts_with(&hex), "{stdout}");
        assert_eq!(self.names(), [self.file()]);
    }

    fn failed(&self, lines: &[&str]) {
        let stderr = String::from_utf8_lossy(&self.output.stderr);
        assert_eq!(self.output.status.code(), Some(1), "{stderr}");
        has(&stderr, lines);
        assert_eq!(self.names(), [] as [&Path; 0], "nothing is left behind");
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Sends `0123456789` from where it is asked for, and nothing behind the fifth byte of the first.
fn cut(head: &str, number: usize, etag: &str, more: &str) -> Vec<u8> {
    let first = head.contains("range: bytes=5-");
    let (status, range, body) = match (number, first) {
        (0, _) => ("200 OK", "content-length: 10\r\n", "01234"),
        (_, true) => {
            let range = "content-length: 5\r\ncontent-range: bytes 5-9/10\r\n";
            ("206 Partial Content", range, "56789")
        }
        (_, false) => ("200 OK", "content-length: 10\r\n", "0123456789"),
    };
    let etag = if number > 0 && etag.is_empty() {
        "\"other\""
    } else {
        etag
    };
    let etag = if etag.is_empty() { "\"one\"" } else { etag };
    format!("HTTP/1.1 {status}\r\netag: {etag}\r\n{range}{more}connection: close\r\n\r\n{body}")
        .into()
}

#[test]
fn a_download_that_is_cut_arrives_and_its_sum_is_the_last_line() {
    let origin = server(|head, number| cut(head, number, "\"one\"", ""));
    Trial::of("download-cut", &origin, &[]).arrived(b"0123456789");
}

#[test]
fn a_download_that_stalls_goes_on_after_the_idle_time() {
    let stall = |number| if number == 0 { "x-stall: 1\r\n" } else { "" };
    let origin = server(move |head, number| cut(head, number, "\"one\"", stall(number)));
    let trial = Trial::of("download-stall", &origin, &["--idle", "0.5"]);
    trial.arrived(b"0123456789");
}

#[test]
fn one_that_cannot_go_on_ends_with_the_original_error_and_why_and_leaves_no_file() {
    let original = "error: error reading a body from connection: end of file before message length";
    let origin = server(|head, number| cut(head, number, "", ""));
    let trial = Trial::of("download-changed", &origin, &[]);
    trial.failed(&[
        original,
        "could not go on: the server has something else there now",
    ]);
    let origin = server(|head, number| cut(head, number, "W/\"one\"", ""));
    let trial = Trial::of("download-weak", &origin, &[]);
    trial.failed(&[
        original,
        "could not go on: the response's validator is weak",
    ]);
    let stall = "x-stall: 1\r\n";
    let origin = server(move |head, number| cut(head, number, "\"one\"", stall));
    let trial = Trial::of("download-late", &origin, &["--deadline", "1"]);
    trial.failed(&["passed its deadline of 1 s after 5 of 10 bytes"]);
}

#[test]
fn what_is_not_there_is_no_file() {
    let gone = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let origin = server(move |_, _| gone.into());
    Trial::of("download-gone", &origin, &[]).failed(&["error: 404 Not Found"]);
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
    let url = format!("http://{}/", closed.expect("a port"));
    let trial = Trial::of("download-closed", &url, &["--deadline", "1"]);
    trial.failed(&["onnection refused", "could not go on: "]);
}

#[test]
fn redirects_are_followed_and_followed_again_for_the_rest() {
    let origin = server(|head, number| {
        if head.starts_with("get /moved") {
            let found = "HTTP/1.1 302 Found\r\nlocation: /file\r\ncontent-length: 0\r\n";
            return format!("{found}connection: close\r\n\r\n").into();
        }
        cut(head, number / 2, "\"one\"", "")
    });
    let trial = Trial::of("download-moved", &format!("{origin}/moved"), &[]);
    trial.arrived(b"0123456789");
}
