//! The server: tonic's own, with a service that follows a script.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tonic::{
    Code, Request, Response, Status,
    metadata::MetadataMap,
    transport::{Identity, Server as Tonic, ServerTlsConfig},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_server::{Health, HealthServer},
};
use tower_http_retry::BoxError;

use super::wire::{self, Fault};

/// What the server does with one call after the other; then it serves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// It fails, which tonic says in a head that is the whole response.
    Fail(Code),
    /// The same, and says when to come back, in milliseconds.
    PushBack(Code, &'static str),
    /// A stream: these messages, and how it ends.
    Stream(usize, Result<(), Code>),
    Serve,
}

/// A server that follows a script. It ends when this is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    service: Scripted,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Clone, Default)]
struct Scripted {
    steps: Arc<Mutex<VecDeque<Step>>>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Does `faults` to its first connections, and `steps` with its calls.
    pub(super) async fn start(
        faults: &[Fault],
        steps: &[Step],
        tls: Option<Identity>,
    ) -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let service = Scripted::default();
        lock(&service.steps).extend(steps);

        let (sender, mut connections) = mpsc::channel(8);
        let mut faults: VecDeque<Fault> = faults.iter().copied().collect();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match faults.pop_front() {
                    Some(fault) => {
                        tokio::spawn(wire::fail(stream, fault));
                    }
                    None => {
                        if sender.send(Ok::<_, std::io::Error>(stream)).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });

        let mut tonic = Tonic::builder();
        if let Some(identity) = tls {
            tonic = tonic.tls_config(ServerTlsConfig::new().identity(identity))?;
        }
        let incoming = stream::poll_fn(move |cx| connections.poll_recv(cx));
        let serving = tonic
            .add_service(HealthServer::new(service.clone()))
            .serve_with_incoming(incoming);
        let serving = tokio::spawn(async move {
            // It ends with the process.
            let _ = serving.await;
        });
        Ok(Self {
            address,
            service,
            tasks: [accepting, serving],
        })
    }

    /// What each call said of itself.
    pub(super) fn told(&self) -> Vec<String> {
        lock(&self.service.told).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scripted {
    /// Writes down what a call says of itself, and returns what is to be done with it.
    fn next(&self, metadata: &MetadataMap) -> Step {
        let field = |name| {
            let value = metadata.get(name)?.to_str().ok()?;
            Some(format!("{name}: {value}"))
        };
        let said = ["grpc-previous-rpc-attempts", "grpc-timeout"].map(field);
        let said: Vec<String> = said.into_iter().flatten().collect();
        if !said.is_empty() {
            lock(&self.told).push(said.join(", "));
        }
        lock(&self.steps).pop_front().unwrap_or(Step::Serve)
    }
}

fn failure(code: Code, pushback: Option<&'static str>) -> Status {
    let mut metadata = MetadataMap::new();
    if let Some(Ok(value)) = pushback.map(str::parse) {
        metadata.insert("grpc-retry-pushback-ms", value);
    }
    Status::with_metadata(code, "as the script says", metadata)
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: 1 }
}

type Messages = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for Scripted {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.next(request.metadata()) {
            Step::Fail(code) => Err(failure(code, None)),
            Step::PushBack(code, ms) => Err(failure(code, Some(ms))),
            Step::Stream(..) | Step::Serve => Ok(Response::new(serving())),
        }
    }

    type WatchStream = Messages;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Messages>, Status> {
        let (messages, end) = match self.next(request.metadata()) {
            Step::Fail(code) => return Err(failure(code, None)),
            Step::PushBack(code, ms) => return Err(failure(code, Some(ms))),
            Step::Stream(messages, end) => (messages, end),
            Step::Serve => (1, Ok(())),
        };
        let messages = stream::iter(std::iter::repeat_n(Ok(serving()), messages));
        let end = stream::once(async move {
            // What is sent at once can arrive together.
            tokio::time::sleep(Duration::from_millis(50)).await;
            end.err().map(|code| Err(failure(code, None)))
        });
        let end = end.filter_map(std::future::ready);
        Ok(Response::new(Box::pin(messages.chain(end))))
    }
}
