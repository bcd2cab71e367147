//! A server that does what the scenario says, and remembers what it did.

use std::{
    collections::HashSet,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::sleep;
use tower_http_retry::BoxError;
use turmoil::net::{TcpListener, TcpStream};

use crate::{
    body::{Content, SimBody, TRAILER},
    log::{Answered, Asked, Event, Received},
    net::PORT,
    sabotage::Sabotage,
    scenario::{self, Answer, Hint, LENGTH, Reads, Step},
    world::World,
};

/// The server between two crashes.
#[derive(Clone)]
struct Server {
    world: Arc<World>,
    /// The idempotency keys of the requests that are being worked on.
    in_progress: Arc<Mutex<HashSet<Vec<u8>>>>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<SimBody>, BoxError>> + Send>>;

/// Runs until it crashes.
pub(crate) async fn run(world: Arc<World>) -> turmoil::Result {
    let server = Server {
        world,
        in_progress: Arc::default(),
    };
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(server.clone().serve(stream));
    }
}

impl Server {
    async fn serve(self, stream: TcpStream) {
        let world = Arc::clone(&self.world);
        let config = &world.scenario.server;
        let service = service_fn(|request| self.clone().answer(request));
        let mut drain = world.drain.subscribe();
        let io = TokioIo::new(stream);
        // A `Date` of the machine's would make each run another one.
        macro_rules! serve {
            ($connection:expr) => {{
                let connection = $connection;
                let mut connection = std::pin::pin!(connection);
                loop {
                    tokio::select! {
                        biased;
                        // Whatever ends a connection is seen by its client.
                        _ = connection.as_mut() => break,
                        Ok(()) = drain.changed() => connection.as_mut().graceful_shutdown(),
                    }
                }
            }};
        }
        if world.scenario.http2 {
            serve!(
                conn::http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .auto_date_header(false)
                    .max_concurrent_streams(config.max_streams)
                    .serve_connection(io, service)
            );
        } else {
            serve!(
                conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .auto_date_header(false)
                    .keep_alive(config.keep_alive)
                    .serve_connection(io, service)
            );
        }
    }

    /// Answers one attempt, to the end or for as long as its client is there.
    fn answer(self, request: Request<Incoming>) -> Answering {
        Box::pin(async move {
            if self.world.scenario.server.detached {
                tokio::spawn(self.handle(request)).await?
            } else {
                self.handle(request).await
            }
        })
    }

    async fn handle(self, request: Request<Incoming>) -> Result<Response<SimBody>, BoxError> {
        let world = &self.world;
        let (head, body) = request.into_parts();
        let number = |name| -> u32 {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        let id = number(scenario::REQUEST);
        let attempt = number(scenario::ATTEMPT) + 1;
        let plan = world
            .scenario
            .requests
            .get(id as usize)
            .ok_or("a request of nobody's")?;
        let step = self.next_step(plan);
        world.log.note(Event::Arrived {
            request: id,
            attempt,
        });

        let body = receive(body, step.reads, &plan.content).await;
        let whole = body == Received::Whole;
        let broke_off = matches!(body, Received::BrokeOff { .. });
        world.log.note(Event::Received {
            request: id,
            attempt,
            body,
        });
        if broke_off {
            return Err("the request broke off".into());
        }

        let key = head.headers.get("idempotency-key");
        let key = key.map(|key| key.as_bytes().to_vec());
        let mut conflict = false;
        let _working = match &key {
            Some(key) if whole && step.applies => {
                let working = Working::on(&self, key);
                conflict = working.is_none();
                working
            }
            _ => None,
        };
        sleep(step.thinks).await;
        if whole && step.applies && !conflict {
            let again = key.is_some_and(|key| !world.disk().keys.insert(key));
            if !again {
                world.log.note(Event::Applied {
                    request: id,
                    attempt,
                });
            }
        }
        if conflict {
            let status = StatusCode::CONFLICT.as_u16();
            return Ok(self.respond(id, attempt, status, None, &Content::new(id, 0)));
        }
        match &step.answer {
            Answer::Status {
                status,
                hint,
                content,
            } => Ok(self.respond(id, attempt, *status, *hint, content)),
            Answer::Close => Err("the server closes the connection".into()),
            Answer::Reset(reason) => Err(h2::Error::from(*reason).into()),
            Answer::Hang => std::future::pending().await,
        }
    }

    fn next_step(&self, plan: &scenario::Request) -> Step {
        let mut disk = self.world.disk();
        let arrivals = disk.arrivals.entry(plan.id).or_default();
        let step = plan.script.get(*arrivals).cloned();
        *arrivals += 1;
        let mut step = step.unwrap_or_else(|| Step {
            reads: Reads::Everything,
            thinks: Duration::ZERO,
            applies: true,
            answer: Answer::Status {
                status: 200,
                hint: None,
                content: Content::new(0, 10),
            },
        });
        if self.world.sabotage == Some(Sabotage::LyingServer)
            && matches!(step.answer, Answer::Reset(h2::Reason::REFUSED_STREAM))
        {
            step.applies = true;
        }
        step
    }

    fn respond(
        &self,
        id: u32,
        attempt: u32,
        status: u16,
        hint: Option<Hint>,
        content: &Content,
    ) -> Response<SimBody> {
        let now = whole_seconds(self.world.server_clock.now());
        let date = self.world.scenario.server.tells_time.then_some(now);
        let mut headers = HeaderMap::new();
        if let Some(date) = date {
            headers.insert(header::DATE, http_date(date));
        }
        let asked = hint.map(|hint| match hint {
            Hint::Seconds(seconds) => {
                headers.insert(header::RETRY_AFTER, seconds.into());
                Asked::After(Duration::from_secs(seconds))
            }
            Hint::Milliseconds(ms) => {
                headers.insert("retry-after-ms", ms.into());
                Asked::AfterMs(Duration::from_millis(ms))
            }
            Hint::Date(seconds) => {
                let by = Duration::from_secs(seconds.unsigned_abs());
                let at = if seconds < 0 { now - by } else { now + by };
                headers.insert(header::RETRY_AFTER, http_date(at));
                Asked::At(at)
            }
            Hint::Unreadable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("soon"));
                Asked::Unreadable
            }
        });
        self.world.log.note(Event::Answered {
            request: id,
            attempt,
            answer: Answered {
                status,
                asked,
                date,
            },
        });
        let mut response = Response::new(content.body());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        *response.headers_mut() = headers;
        // What the client should find in the body.
        response.headers_mut().insert(LENGTH, content.len().into());
        response
    }
}

/// The mark of a request with a key that is being worked on.
struct Working {
    server: Server,
    key: Vec<u8>,
}

impl Working {
    /// `None` if somebody else is at it.
    fn on(server: &Server, key: &[u8]) -> Option<Self> {
        let mut keys = lock(&server.in_progress);
        keys.insert(key.to_vec()).then(|| Self {
            server: server.clone(),
            key: key.to_vec(),
        })
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        lock(&self.server.in_progress).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.expect("a time after 1970").as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn http_date(time: SystemTime) -> HeaderValue {
    let date = httpdate::fmt_http_date(time);
    HeaderValue::from_str(&date).expect("a date is a legal value")
}

/// Reads a body and compares it with what it should be.
pub(crate) async fn receive<B>(mut body: B, reads: Reads, expected: &Content) -> Received
where
    B: Body<Data = Bytes, Error: fmt::Display> + Unpin,
{
    let mut bytes = Vec::new();
    let mut trailers = None;
    loop {
        match reads {
            Reads::AtMost(most) if bytes.len() >= most => {
                return Received::Left { bytes: bytes.len() };
            }
            _ => {}
        }
        match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Some(Err(error)) => {
                return Received::BrokeOff {
                    bytes: bytes.len(),
                    error: error.to_string(),
                };
            }
            None if expected.is(&bytes, trailers.as_ref()) => return Received::Whole,
            None => return Received::Altered { bytes: bytes.len() },
        }
    }
}

/// The header that announces the trailer of a request.
pub(crate) fn announce(headers: &mut HeaderMap) {
    headers.insert(header::TRAILER, HeaderValue::from_static(TRAILER));
}
