//! The scripted server: another process, asked over HTTP what it saw.

use std::{
    io::{BufRead as _, BufReader, ErrorKind},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{list, number, text};

/// The server's process, which ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
}

/// An attempt as the server saw it.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// When its request had arrived, on a clock of the server's.
    pub(crate) arrived: Duration,
    pub(crate) method: String,
    pub(crate) body_length: u64,
    pub(crate) body_sha256: String,
}

impl Server {
    /// Starts `program` with these cases; `None` if there is no Python to run it.
    pub(crate) fn start(program: &Path, cases: &Path) -> Option<Self> {
        let process = Command::new("python3")
            .arg(program)
            .args(["serve", "--port", "0", "--script"])
            .arg(cases)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = match process {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => panic!("python3: {error}"),
        };
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("PORT ");
        let port = port.unwrap_or_else(|| panic!("the server said {line:?}"));
        Some(Self {
            process,
            address: (Ipv4Addr::LOCALHOST, port.parse().unwrap()).into(),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it saw of a case.
    pub(crate) async fn attempts(&self, id: &str) -> Vec<Attempt> {
        let log = self.ask(&format!("/log/{id}")).await;
        let attempt = |logged: &Value| Attempt {
            arrived: Duration::from_secs_f64(number(&logged["t_ms"]) / 1000.0),
            method: text(&logged["method"]).to_owned(),
            body_length: logged["body_len"].as_u64().unwrap(),
            body_sha256: text(&logged["body_sha256"]).to_owned(),
        };
        list(&log["attempts"]).iter().map(attempt).collect()
    }

    /// Makes it forget what it saw of a case.
    pub(crate) async fn reset(&self, id: &str) {
        self.ask(&format!("/reset/{id}")).await;
    }

    /// The answer, which ends with the connection.
    async fn ask(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").expect("a response");
        serde_json::from_str(body).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
