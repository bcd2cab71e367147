//! What a session is told: the request's head, and each attempt's outcome.

use std::{
    borrow::Cow,
    fmt,
    time::{Duration, SystemTime},
};

use http::{Extensions, HeaderMap, Method, Request, Uri, Version, request::Parts};

use super::{Rehearsal, wall_clock::WallClock};
use crate::{
    classify::{Outcome, RequestView},
    reason::{Failure, Note},
    stack::{Changes, Opinion},
};

/// The head of a request: everything but its body.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    /// The dry run that the request is part of, if it is not sent.
    rehearsal: Option<&'a Rehearsal>,
}

impl<'a> RequestHead<'a> {
    /// The head of `request`.
    #[inline]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
            rehearsal: None,
        }
    }

    /// The request's method.
    #[inline]
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The request's URI.
    #[inline]
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The request's HTTP version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The request's headers.
    #[inline]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The request's extensions.
    #[inline]
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// The dry run that the request is part of, if it is not sent.
    #[inline]
    pub(crate) fn rehearsal(&self) -> Option<&'a Rehearsal> {
        self.rehearsal
    }

    /// The same head in a dry run.
    #[cfg_attr(not(feature = "dry-run"), allow(dead_code))]
    pub(crate) fn rehearsed<'b>(&self, rehearsal: &'b Rehearsal) -> RequestHead<'b>
    where
        'a: 'b,
    {
        RequestHead {
            rehearsal: Some(rehearsal),
            ..*self
        }
    }
}

impl RequestView for RequestHead<'_> {
    fn method(&self) -> &Method {
        self.method
    }

    fn uri(&self) -> Option<&Uri> {
        Some(self.uri)
    }

    fn headers(&self) -> Option<&HeaderMap> {
        Some(self.headers)
    }

    fn extensions(&self) -> Option<&Extensions> {
        Some(self.extensions)
    }
}

impl<'a> From<&'a Parts> for RequestHead<'a> {
    fn from(parts: &'a Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            extensions: &parts.extensions,
            rehearsal: None,
        }
    }
}

/// One attempt and how it ended.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    number: u32,
    method: &'a Method,
    outcome: Outcome<'a>,
    opinion: Opinion,
    /// Whose opinion it is.
    by: Cow<'static, str>,
    layer_failure: Option<Failure>,
    layer_hint: Option<(Duration, Cow<'static, str>)>,
    changes: Changes,
    trailers: Option<&'a HeaderMap>,
    /// Whether a header of the response may be about retries or rate limits.
    hinted: bool,
    elapsed: Duration,
    room: Option<Duration>,
    wall_clock: Wall<'a>,
}

/// The wall clock: most attempts end without any question about it.
#[derive(Clone, Copy)]
enum Wall<'a> {
    Shows(SystemTime),
    Asked(&'a WallClock<'a>),
}

impl fmt::Debug for Wall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shows(time) => time.fmt(f),
            Self::Asked(_) => f.write_str("not read"),
        }
    }
}

impl<'a> Attempt<'a> {
    /// Attempt `number` (1 is the first one) of a request with `method` ended with `outcome`.
    ///
    /// The time is zero and the wall clock stands at the Unix epoch until they are set.
    #[inline]
    pub fn new(number: u32, method: &'a Method, outcome: Outcome<'a>) -> Self {
        Self {
            number,
            method,
            outcome,
            opinion: Opinion::NoOpinion,
            by: Cow::Borrowed(""),
            layer_failure: None,
            layer_hint: None,
            changes: Changes::default(),
            trailers: None,
            hinted: true,
            elapsed: Duration::ZERO,
            room: None,
            wall_clock: Wall::Shows(SystemTime::UNIX_EPOCH),
        }
    }

    /// Sets the time since the request started.
    #[inline]
    #[must_use]
    pub fn with_elapsed(mut self, elapsed: Duration) -> Self {
        self.elapsed = elapsed;
        self
    }

    /// Sets the longest wait after which another attempt could still end before the deadline.
    #[inline]
    #[must_use]
    pub fn with_room(mut self, room: impl Into<Option<Duration>>) -> Self {
        self.room = room.into();
        self
    }

    /// Sets the wall clock, which dates in `Retry-After` are compared with.
    #[inline]
    #[must_use]
    pub fn with_wall_clock(mut self, now: SystemTime) -> Self {
        self.wall_clock = Wall::Shows(now);
        self
    }

    /// The same, with a clock that is read when it is asked for.
    #[inline]
    pub(crate) fn with_wall_clock_of(mut self, clock: &'a WallClock<'a>) -> Self {
        self.wall_clock = Wall::Asked(clock);
        self
    }

    /// Sets what the classifiers said, and the name of the one that said it.
    #[inline]
    #[must_use]
    pub fn with_opinion(mut self, by: impl Into<Cow<'static, str>>, opinion: Opinion) -> Self {
        self.by = by.into();
        self.opinion = opinion;
        self
    }

    /// [`with_opinion`](Self::with_opinion), in place: it is large.
    #[inline]
    pub(crate) fn set_opinion(&mut self, by: Cow<'static, str>, opinion: Opinion) {
        self.by = by;
        self.opinion = opinion;
    }

    /// Sets what a layer below says: what failed in the response, how long the server asks to wait
    /// and who has read it, and what of another attempt would be another.
    #[inline]
    pub(crate) fn set_below(
        &mut self,
        failure: Option<Failure>,
        asked: Option<(Duration, Cow<'static, str>)>,
        changes: Changes,
    ) {
        self.layer_failure = failure;
        self.layer_hint = asked;
        self.changes = changes;
    }

    /// Sets whether a header of the response is about retries or rate limits.
    #[inline]
    pub(crate) fn with_hinted(mut self, hinted: bool) -> Self {
        self.hinted = hinted;
        self
    }

    /// Whether a header of the response may be about retries or rate limits, by the names that are
    /// in use.
    pub(crate) fn may_be_hinted(&self) -> bool {
        self.hinted
    }

    /// [`with_room`](Self::with_room) in place.
    #[inline]
    pub(crate) fn set_room(&mut self, room: Option<Duration>) {
        self.room = room;
    }

    /// How long the server asks to wait, where the head does not say so, and who has read it.
    pub(crate) fn layer_hint(&self) -> Option<&(Duration, Cow<'static, str>)> {
        self.layer_hint.as_ref()
    }

    /// Whether a layer below has left the connection that the attempt was on, so that another
    /// attempt is on another one
    /// ([`LayerOutcome::left_connection`](crate::stack::LayerOutcome::left_connection)).
    pub fn left_connection(&self) -> bool {
        self.changes.connection
    }

    /// Whether a layer below would send another attempt to another server, for which it does not
    /// hold what this one says of when to come back
    /// ([`LayerOutcome::elsewhere`](crate::stack::LayerOutcome::elsewhere)).
    pub fn goes_elsewhere(&self) -> bool {
        self.changes.server
    }

    /// Sets the trailers of the response, where a layer below has read them.
    pub(crate) fn with_trailers(mut self, trailers: Option<&'a HeaderMap>) -> Self {
        self.trailers = trailers;
        self
    }

    /// The attempt's number; 1 is the first one.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The request's method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// How it ended.
    pub fn outcome(&self) -> &Outcome<'a> {
        &self.outcome
    }

    /// What the classifiers said.
    pub fn opinion(&self) -> &Opinion {
        &self.opinion
    }

    /// The name of the classifier that said it; empty if none had an opinion.
    pub fn opinion_by(&self) -> &Cow<'static, str> {
        &self.by
    }

    /// What the report says of the opinion.
    pub(crate) fn note(&self) -> Option<Note> {
        let by = self.by.clone();
        match self.opinion.clone() {
            Opinion::Retry(because)
            | Opinion::RetryIn(because, _)
            | Opinion::LeaveConnection(because) => Some(Note::Reclassified { by, because }),
            Opinion::Unprocessed(because) => Some(Note::Unprocessed { by, because }),
            Opinion::NoOpinion | Opinion::Forbid(_) => None,
        }
    }

    /// What failed in a response whose status does not say so: a gRPC call, by its `grpc-status`,
    /// or what a layer below found
    /// ([`LayerOutcome::failure`](crate::stack::LayerOutcome::failure)).
    pub fn layer_failure(&self) -> Option<Failure> {
        self.layer_failure
    }

    /// The response's trailers, if a layer below has read them
    /// ([`LayerOutcome::trailers`](crate::stack::LayerOutcome::trailers)).
    pub fn trailers(&self) -> Option<&'a HeaderMap> {
        self.trailers
    }

    /// The time since the request started.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The longest wait after which another attempt could still end before the deadline; `None`
    /// if there is no deadline. What is drawn at random should stay within it: a longer wait ends
    /// the request with [`DeadlineTooClose`](super::StopReason::DeadlineTooClose).
    pub fn room(&self) -> Option<Duration> {
        self.room
    }

    /// The wall clock when the attempt ended.
    pub fn wall_clock(&self) -> SystemTime {
        match self.wall_clock {
            Wall::Shows(time) => time,
            Wall::Asked(clock) => clock.now(),
        }
    }
}
