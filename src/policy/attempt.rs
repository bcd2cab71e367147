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
    reason::Failure,
    reason::Note,
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

/// What the classifiers said of an outcome; see [`Opinion`](crate::classify::Opinion).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Judgement {
    /// Nothing.
    #[default]
    None,
    /// The outcome is a transient failure.
    Retry {
        /// The classifier's name.
        by: Cow<'static, str>,
        /// Its reason.
        because: Cow<'static, str>,
    },
    /// The server refused the request without processing it.
    Unprocessed {
        /// The classifier's name.
        by: Cow<'static, str>,
        /// Its reason.
        because: Cow<'static, str>,
    },
    /// The request must not be sent again.
    Forbid {
        /// The classifier's name.
        by: Cow<'static, str>,
        /// Its reason.
        because: Cow<'static, str>,
    },
}

impl Judgement {
    /// Whether somebody takes the outcome for a transient failure.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Retry { .. } | Self::Unprocessed { .. })
    }

    /// Whether somebody knows that the request was not processed.
    pub(crate) fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Unprocessed { .. })
    }

    /// What the report says of it.
    pub(crate) fn note(&self) -> Option<Note> {
        match self.clone() {
            Self::Retry { by, because } => Some(Note::Reclassified { by, because }),
            Self::Unprocessed { by, because } => Some(Note::Unprocessed { by, because }),
            Self::None | Self::Forbid { .. } => None,
        }
    }
}

/// One attempt and how it ended.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    number: u32,
    method: &'a Method,
    outcome: Outcome<'a>,
    judgement: Judgement,
    layer_failure: Option<Failure>,
    layer_hint: Option<(Duration, Cow<'static, str>)>,
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
    pub fn new(number: u32, method: &'a Method, outcome: Outcome<'a>) -> Self {
        Self {
            number,
            method,
            outcome,
            judgement: Judgement::None,
            layer_failure: None,
            layer_hint: None,
            elapsed: Duration::ZERO,
            room: None,
            wall_clock: Wall::Shows(SystemTime::UNIX_EPOCH),
        }
    }

    /// Sets the time since the request started.
    #[must_use]
    pub fn with_elapsed(mut self, elapsed: Duration) -> Self {
        self.elapsed = elapsed;
        self
    }

    /// Sets the longest wait after which another attempt could still end before the deadline.
    #[must_use]
    pub fn with_room(mut self, room: impl Into<Option<Duration>>) -> Self {
        self.room = room.into();
        self
    }

    /// Sets the wall clock, which dates in `Retry-After` are compared with.
    #[must_use]
    pub fn with_wall_clock(mut self, now: SystemTime) -> Self {
        self.wall_clock = Wall::Shows(now);
        self
    }

    /// The same, with a clock that is read when it is asked for.
    pub(crate) fn with_wall_clock_of(mut self, clock: &'a WallClock<'a>) -> Self {
        self.wall_clock = Wall::Asked(clock);
        self
    }

    /// Sets what the classifiers said.
    #[must_use]
    pub fn with_judgement(mut self, judgement: Judgement) -> Self {
        self.judgement = judgement;
        self
    }

    /// Sets what a layer below found to have failed in the response.
    pub(crate) fn with_layer_failure(mut self, failure: Option<Failure>) -> Self {
        self.layer_failure = failure;
        self
    }

    /// Sets how long the server asks to wait, as a layer below has read, and that layer's name.
    pub(crate) fn with_layer_hint(mut self, asked: Option<(Duration, Cow<'static, str>)>) -> Self {
        self.layer_hint = asked;
        self
    }

    /// How long the server asks to wait, where the head does not say so, and who has read it.
    pub(crate) fn layer_hint(&self) -> Option<&(Duration, Cow<'static, str>)> {
        self.layer_hint.as_ref()
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
    pub fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// What failed in a response whose status does not say so: a gRPC call, by its `grpc-status`,
    /// or what a layer below found
    /// ([`LayerOutcome::failure`](crate::stack::LayerOutcome::failure)).
    pub fn layer_failure(&self) -> Option<Failure> {
        self.layer_failure
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
