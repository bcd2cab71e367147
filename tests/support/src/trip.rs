//! One request on its way through a layer, step by step, with a mock at the other end.

use std::{fmt::Debug, time::Duration};

use tokio::time;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service};
use tower_test::mock::{self, Handle, Mock};

use crate::probe::{Ending, MS, Req, Res, answer, assert_nothing_sent, get, sent, start};

/// A request through a layer. Time is tokio's, and paused.
///
/// ```
/// use test_support::{
///     probe::{MS, every, is_ok},
///     trip::Trip,
/// };
/// use tower_http_retry::RetryLayer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # tokio::time::pause();
/// let mut trip = Trip::start(RetryLayer::new(every(100 * MS)));
/// trip.fail(503).waits(100 * MS).await;
/// assert!(is_ok(&trip.end(200).expect("a response")));
/// # }
/// ```
#[derive(Debug)]
pub struct Trip<S: Service<Req>> {
    handle: Handle<Req, Res>,
    future: task::Spawn<S::Future>,
    /// Without it, the mock would say that nothing more can come.
    _service: mock::Spawn<S>,
    last: Option<Req>,
}

impl<S> Trip<S>
where
    S: Service<Req, Response = Res>,
    S::Error: Debug,
{
    /// Sends a GET through `layer`.
    #[track_caller]
    pub fn start<L>(layer: L) -> Self
    where
        L: Layer<Mock<Req, Res>, Service = S>,
    {
        Self::start_with(layer, get())
    }

    /// Sends `request` through `layer`.
    #[track_caller]
    pub fn start_with<L>(layer: L, request: Req) -> Self
    where
        L: Layer<Mock<Req, Res>, Service = S>,
    {
        let (mut service, handle) = mock::spawn_layer(layer);
        let future = start(&mut service, request);
        Self {
            handle,
            future,
            _service: service,
            last: None,
        }
    }

    /// Ends the attempt like this, which is not the end of the request.
    #[track_caller]
    pub fn fail(&mut self, ending: impl Into<Ending>) -> &mut Self {
        self.attempt(ending.into());
        assert_pending!(self.future.poll(), "the request has ended");
        self
    }

    /// Nothing is sent for this long, which is a millisecond at least.
    pub async fn waits(&mut self, wait: Duration) -> &mut Self {
        time::advance(wait - MS).await;
        assert_pending!(self.future.poll(), "the request has ended");
        assert_nothing_sent(&mut self.handle);
        time::advance(MS).await;
        self
    }

    /// Ends the attempt like this, and with it the request.
    ///
    /// # Errors
    ///
    /// What the layer says of it.
    #[track_caller]
    pub fn end(&mut self, ending: impl Into<Ending>) -> Result<Res, S::Error> {
        self.attempt(ending.into());
        let result = assert_ready!(self.future.poll(), "the request goes on");
        assert_nothing_sent(&mut self.handle);
        result
    }

    /// The request as it arrived in the last attempt.
    #[track_caller]
    pub fn last(&self) -> &Req {
        self.last.as_ref().expect("an attempt has ended")
    }

    #[track_caller]
    fn attempt(&mut self, ending: Ending) {
        assert_pending!(self.future.poll(), "the request has ended");
        let (request, respond) = sent(&mut self.handle);
        self.last = Some(request);
        match ending {
            Ending::Status(status) => respond.send_response(answer(status)),
            Ending::Error(error) => respond.send_error(error),
        }
    }
}
