//! A request that is played against a script, and the table that says what must come of it.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, util::BoxCloneService};
use tower_http_retry::{BoxError, NeverSent, RetryError, RetryReport};

pub(crate) type Req = Request<Full<Bytes>>;
pub(crate) type Res = Response<Full<Bytes>>;
/// The server.
pub(crate) type Server = BoxCloneService<Req, Res, BoxError>;

/// What the server does with one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    Status(u16),
    /// A status, and a header.
    With(u16, &'static str, &'static str),
    /// No connection is made.
    Refused,
    /// The connection breaks after the request was sent.
    Reset,
    /// An error that nobody knows.
    Strange(&'static str),
    /// No answer for a day.
    Silent,
}

use Turn::{Refused, Reset, Silent, Status, Strange, With};

impl From<u16> for Turn {
    fn from(status: u16) -> Self {
        Status(status)
    }
}

impl Turn {
    async fn play(self) -> Result<Res, BoxError> {
        let (status, header) = match self {
            Status(status) => (status, None),
            With(status, name, value) => (status, Some((name, value))),
            Refused => {
                let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                return Err(NeverSent::new(refused).into());
            }
            Reset => return Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            Strange(text) => return Err(text.into()),
            Silent => {
                sleep(Duration::from_secs(24 * 60 * 60)).await;
                (200, None)
            }
        };
        let mut response = Response::builder().status(status);
        if let Some((name, value)) = header {
            response = response.header(name, value);
        }
        Ok(response.body(Full::default())?)
    }
}

pub(crate) fn get() -> Req {
    request("GET")
}

pub(crate) fn post() -> Req {
    request("POST")
}

pub(crate) fn request(method: &str) -> Req {
    let request = Request::builder().method(method).uri("http://a.test/x");
    request.body(Full::from("content")).expect("a request")
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Played {
    /// Milliseconds from the end of each failed attempt to the next one.
    waits: Vec<u64>,
    /// The headers of each attempt.
    pub(crate) heads: Vec<HeaderMap>,
    /// A status or `error`, and the reason if it is not sent again.
    ended: String,
    pub(crate) report: Option<RetryReport>,
}

/// Notes when an attempt ends.
struct End(Arc<Mutex<Script>>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.lock().expect("nobody panics").2.push(Instant::now());
    }
}

/// What is still to come, when each attempt began and with which headers, and when each ended.
type Script = (VecDeque<Turn>, Vec<(Instant, HeaderMap)>, Vec<Instant>);

/// Sends a request through `layer`, and lets the server do one turn after the other.
pub(crate) async fn play<L>(layer: L, request: Req, turns: impl IntoIterator<Item = Turn>) -> Played
where
    L: Layer<Server>,
    L::Service: Service<Req, Response = Res, Error: Into<BoxError>>,
{
    let turns: VecDeque<Turn> = turns.into_iter().collect();
    let state: Arc<Mutex<Script>> = Arc::new(Mutex::new((turns, Vec::new(), Vec::new())));
    let shared = Arc::clone(&state);
    let server = tower::service_fn(move |request: Req| {
        let shared = Arc::clone(&shared);
        async move {
            let turn = {
                let (turns, begun, _) = &mut *shared.lock().expect("nobody panics");
                begun.push((Instant::now(), request.headers().clone()));
                turns.pop_front().expect("no more requests than turns")
            };
            // An attempt ends with its answer, or when nobody waits for it any more.
            let _end = End(shared);
            turn.play().await
        }
    });
    let result = layer
        .layer(BoxCloneService::new(server))
        .oneshot(request)
        .await;
    let result = result.map_err(Into::into);
    let (left, begun, ended) = &*state.lock().expect("nobody panics");
    assert!(left.is_empty(), "never asked for: {left:?}");
    let pause = |(next, end): (&(Instant, HeaderMap), &Instant)| {
        u64::try_from((next.0 - *end).as_millis()).expect("a short test")
    };
    Played {
        waits: begun.iter().skip(1).zip(ended).map(pause).collect(),
        heads: begun.iter().map(|(_, head)| head.clone()).collect(),
        ended: ending(&result),
        report: match result {
            Ok(response) => response.extensions().get().cloned(),
            Err(error) => error
                .downcast::<RetryError>()
                .ok()
                .map(|error| error.report().clone()),
        },
    }
}

fn ending(result: &Result<Res, BoxError>) -> String {
    let (what, report) = match result {
        Ok(response) => (
            response.status().as_u16().to_string(),
            response.extensions().get::<RetryReport>(),
        ),
        Err(error) => match error.downcast_ref::<RetryError>() {
            Some(error) => ("error".to_owned(), Some(error.report())),
            None => return format!("error, {error}"),
        },
    };
    match report.filter(|report| !report.stop.is_success()) {
        Some(report) => format!("{what}, {}", report.stop.name()),
        None => what,
    }
}

/// A wait in milliseconds: exactly, but for the timer's millisecond, or between two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait(u64, u64);

impl From<u64> for Wait {
    fn from(exactly: u64) -> Self {
        Self(exactly, exactly + 1)
    }
}

impl From<(u64, u64)> for Wait {
    fn from((least, most): (u64, u64)) -> Self {
        Self(least, most + 1)
    }
}

/// The uses of one library.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: usize,
    wrong: Vec<String>,
}

impl Table {
    /// What the user `wants`, what came of it, and what must: the waits, and the end.
    pub(crate) fn row<W: Into<Wait>>(
        &mut self,
        wants: &str,
        played: &Played,
        waits: impl IntoIterator<Item = W>,
        ended: &str,
    ) {
        let waits: Vec<Wait> = waits.into_iter().map(Into::into).collect();
        let fits = |(was, wait): (&u64, &Wait)| (wait.0..=wait.1).contains(was);
        let as_long = played.waits.iter().zip(&waits).all(fits);
        self.rows += 1;
        if played.waits.len() != waits.len() || !as_long || played.ended != ended {
            self.wrong.push(format!(
                "{wants}: waited {:?}, not {waits:?}; ended as `{}`, not `{ended}`",
                played.waits, played.ended
            ));
        }
    }

    /// Every row holds, and there are as many as the library's users are promised.
    ///
    /// # Panics
    ///
    /// If not.
    #[track_caller]
    pub(crate) fn has_ten(self) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        assert!(self.rows >= 10, "{} uses", self.rows);
    }
}

/// Waits for `future`, and says how long it took.
pub(crate) async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let value = future.await;
    (value, begun.elapsed())
}

/// Without a wait between the attempts.
pub(crate) const NONE: [u64; 0] = [];
