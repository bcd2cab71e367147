//! What is added to the layer.

use http::Request;
use tower::Layer;
use tower_http_retry::{
    Retry, RetryLayer, mounts::Mounts, policy::RetryPolicy, shadow::Shadow, telemetry::Metrics,
};

use crate::work::{self, BARE, Body, Server, mixed};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Candidate {
    /// The service alone.
    Bare,
    /// The layer by itself.
    Without,
    /// The layer with what is measured.
    With,
}

pub(crate) const CANDIDATES: [Candidate; 3] =
    [Candidate::Bare, Candidate::Without, Candidate::With];

/// What is measured.
enum Added {
    Metrics(Metrics),
    Shadow(Box<Shadow<RetryPolicy>>),
}

pub(crate) struct Cell {
    pub(crate) name: &'static str,
    /// Instructions that it may add.
    pub(crate) limit: f64,
    request: fn() -> Request<Body>,
    added: Added,
}

pub(crate) fn all() -> Vec<Cell> {
    let policy = RetryPolicy::default();
    let mounts = Mounts::new().mount("http://api.example.com/v1/", policy.clone());
    let mounts = mounts.expect("a prefix");
    let counted = |name, limit, request, metrics| Cell {
        name,
        limit,
        request,
        added: Added::Metrics(metrics),
    };
    let bare: fn() -> Request<Body> = || work::with_headers(0, work::Made::Standard);
    let post: fn() -> Request<Body> = || work::post(false);
    let by_authority = Metrics::builder().by_authority(20).build();
    let by_mount = Metrics::builder().by_mount(&mounts).build();
    let candidate = RetryPolicy::builder().total(1).build().expect("a policy");
    let asked = |name, limit, request| Cell {
        name,
        limit,
        request,
        added: Added::Shadow(Box::new(Shadow::new(policy.clone(), candidate.clone()))),
    };
    vec![
        counted("metrics: GET", 30.0, mixed, Metrics::new()),
        counted("metrics: GET without headers", 30.0, bare, Metrics::new()),
        counted("metrics: POST of 1 KiB", 30.0, post, Metrics::new()),
        counted("metrics by authority: GET", 265.0, mixed, by_authority),
        counted("metrics by mount: GET", 1080.0, mixed, by_mount),
        asked("a shadow: GET", 760.0, mixed),
        asked("a shadow: POST of 1 KiB", 825.0, post),
    ]
}

enum Sender {
    Bare(Server),
    Ours(Retry<Server, RetryPolicy>),
    Shadowed(Retry<Server, Shadow<RetryPolicy>>),
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
        let below = server.clone();
        let layer = RetryLayer::new(RetryPolicy::default());
        let sender = match (candidate, &self.added) {
            (Candidate::Bare, _) => Sender::Bare(below),
            (Candidate::Without, _) => Sender::Ours(layer.layer(below)),
            (Candidate::With, Added::Metrics(metrics)) => {
                Sender::Ours(layer.metrics(metrics.clone()).layer(below))
            }
            (Candidate::With, Added::Shadow(shadow)) => {
                Sender::Shadowed(RetryLayer::new((**shadow).clone()).layer(below))
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
            Sender::Shadowed(service) => work::send(service, request),
        };
        drop(std::hint::black_box(answer));
    }
}
