//! What is counted in which way.

use http::Request;
use tower::Layer;
use tower_http_retry::{
    Retry, RetryLayer, mounts::Mounts, policy::RetryPolicy, telemetry::Metrics,
};

use crate::work::{self, BARE, Body, Server, mixed};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Candidate {
    /// The service alone.
    Bare,
    /// The layer that counts nothing.
    Without,
    /// The layer with metrics.
    With,
}

pub(crate) const CANDIDATES: [Candidate; 3] =
    [Candidate::Bare, Candidate::Without, Candidate::With];

pub(crate) struct Cell {
    pub(crate) name: &'static str,
    /// Instructions that counting may add.
    pub(crate) limit: f64,
    request: fn() -> Request<Body>,
    metrics: Metrics,
}

pub(crate) fn all() -> Vec<Cell> {
    let policy = RetryPolicy::default();
    let mounts = Mounts::new().mount("http://api.example.com/v1/", policy);
    let mounts = mounts.expect("a prefix");
    let together = Metrics::new;
    vec![
        Cell {
            name: "GET",
            limit: 30.0,
            request: mixed,
            metrics: together(),
        },
        Cell {
            name: "GET without headers",
            limit: 30.0,
            request: || work::with_headers(0, work::Made::Standard),
            metrics: together(),
        },
        Cell {
            name: "POST of 1 KiB",
            limit: 30.0,
            request: || work::post(false),
            metrics: together(),
        },
        Cell {
            name: "GET, by authority",
            limit: 265.0,
            request: mixed,
            metrics: Metrics::builder().by_authority(20).build(),
        },
        Cell {
            name: "GET, by mount",
            limit: 1080.0,
            request: mixed,
            metrics: Metrics::builder().by_mount(&mounts).build(),
        },
    ]
}

enum Sender {
    Bare(Server),
    Ours(Retry<Server, RetryPolicy>),
}

pub(crate) struct Job<'a> {
    cell: &'a Cell,
    server: Server,
    sender: Sender,
    requests: Vec<Request<Body>>,
}

impl Cell {
    pub(crate) fn job(&self, candidate: Candidate) -> Job<'_> {
        let server = Server::new(true);
        let layer = RetryLayer::new(RetryPolicy::default());
        let sender = match candidate {
            Candidate::Bare => Sender::Bare(server.clone()),
            Candidate::Without => Sender::Ours(layer.layer(server.clone())),
            Candidate::With => {
                Sender::Ours(layer.metrics(self.metrics.clone()).layer(server.clone()))
            }
        };
        Job {
            cell: self,
            server,
            sender,
            requests: Vec::new(),
        }
    }
}

impl Job<'_> {
    pub(crate) fn prepare(&mut self, times: usize) {
        for _ in 0..times {
            self.requests.push((self.cell.request)());
            self.server.prepare(200, BARE);
        }
    }

    pub(crate) fn run(&mut self) {
        let request = self.requests.pop().expect("prepared");
        let answer = match &mut self.sender {
            Sender::Bare(service) => work::send(service, request),
            Sender::Ours(service) => work::send(service, request),
        };
        drop(std::hint::black_box(answer));
    }
}
