//! Runs a script through the real layer, on a paused clock.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Empty;
use tokio::time::Instant;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http_retry::{
    BoxError, NeverSent, RetryError, RetryErrorKind, RetryLayer, classify::FailureKind,
    policy::RetryPolicy,
};

use crate::{
    harness::new_year,
    session::{End, Happened},
};

/// What the layer made of a script.
#[derive(Debug)]
pub(crate) struct Observed {
    /// The time between each attempt and the next.
    pub(crate) gaps: Vec<Duration>,
    pub(crate) attempts: usize,
    pub(crate) end: End,
}

/// Runs `future` on a runtime of its own, with a clock that jumps to the next timer.
pub(crate) fn on_paused_clock<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

/// An error that the classifiers take for a failure of this kind.
pub(crate) fn error(kind: FailureKind) -> BoxError {
    match kind {
        FailureKind::Connect => {
            NeverSent::new(io::Error::from(io::ErrorKind::ConnectionRefused)).into()
        }
        FailureKind::Read => io::Error::from(io::ErrorKind::ConnectionReset).into(),
        _ => "an error that nobody knows".into(),
    }
}

/// An answer of the inner service.
pub(crate) fn answer(happened: Happened) -> Result<Response<Empty<Bytes>>, BoxError> {
    match happened {
        Happened::Response(status, headers) => {
            let mut response = Response::new(Empty::new());
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok(response)
        }
        Happened::Error(kind) => Err(error(kind)),
    }
}

/// The end in urllib3's terms.
pub(crate) fn end<B>(result: &Result<Response<B>, RetryError>) -> End {
    match result {
        Ok(response) => End::Returned(response.status()),
        Err(error) => match error.kind() {
            RetryErrorKind::Status => End::Exhausted { by_status: true },
            RetryErrorKind::Failed => End::after_error(error.stop_reason()),
            _ => End::Unexpected(format!("{error:?}")),
        },
    }
}

/// Sends a request with `method` through the layer; the inner service answers by `script`, and
/// with a 299 once that is over.
pub(crate) fn run(policy: &RetryPolicy, method: &Method, script: &[Happened]) -> Observed {
    let state = Arc::new(Mutex::new((
        VecDeque::from_iter(script.iter().cloned()),
        Vec::new(),
    )));
    let seen = Arc::clone(&state);
    let inner = service_fn(move |_: Request<Empty<Bytes>>| {
        let (script, started) = &mut *state.lock().unwrap();
        started.push(Instant::now());
        let over = || Happened::Response(StatusCode::from_u16(299).unwrap(), Default::default());
        let answer = answer(script.pop_front().unwrap_or_else(over));
        async { answer }
    });
    let service = RetryLayer::new(policy.clone())
        .wall_clock(new_year)
        .layer(inner);
    let request = Request::builder()
        .method(method)
        .uri("http://a.test/")
        .body(Empty::new())
        .unwrap();
    let result = on_paused_clock(service.oneshot(request));

    let (_, started) = &*seen.lock().unwrap();
    Observed {
        gaps: started.windows(2).map(|pair| pair[1] - pair[0]).collect(),
        attempts: started.len(),
        end: end(&result),
    }
}
