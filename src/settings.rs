//! What a layer was told, shared by its services and their requests.

use std::{fmt, sync::Arc, time::Duration, time::SystemTime};

use http::request::Parts;

use crate::{
    classify::{Classify, Opinion, Outcome},
    observe::RetryEvent,
    policy::Judgement,
};

/// How much of a failed response is read, so that its connection can be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainLimit {
    /// Bytes at most.
    pub bytes: u64,
    /// Time at most.
    pub time: Duration,
}

impl DrainLimit {
    /// Drops every failed response unread, and with it, under HTTP/1.1, its connection.
    pub const NONE: Self = Self {
        bytes: 0,
        time: Duration::ZERO,
    };

    /// At most `bytes`, for at most the default time.
    pub const fn bytes(bytes: u64) -> Self {
        Self {
            bytes,
            ..Self::DEFAULT
        }
    }

    const DEFAULT: Self = Self {
        bytes: 64 * 1024,
        time: Duration::from_millis(250),
    };
}

impl Default for DrainLimit {
    /// 64 KiB and 250 ms: an error page, not a download.
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl From<u64> for DrainLimit {
    fn from(bytes: u64) -> Self {
        Self::bytes(bytes)
    }
}

/// What each attempt's request carries in its extensions, from the second attempt on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptInfo {
    /// The attempt's number; the first retry is 2.
    pub number: u32,
    /// The time since the request started.
    pub elapsed: Duration,
}

type OnEvent = Arc<dyn Fn(&RetryEvent<'_>) + Send + Sync>;
type BeforeRetry = Arc<dyn Fn(&mut Parts, &AttemptInfo) + Send + Sync>;
type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) classifiers: Vec<Arc<dyn Classify + Send + Sync>>,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) min_attempt: Duration,
    pub(crate) drain: DrainLimit,
    pub(crate) on_event: Option<OnEvent>,
    pub(crate) before_retry: Option<BeforeRetry>,
    pub(crate) wall_clock: Option<WallClock>,
}

impl Settings {
    /// What the first classifier with an opinion says.
    pub(crate) fn judge(&self, outcome: &Outcome<'_>) -> Judgement {
        for classifier in &self.classifiers {
            let by = || classifier.name().to_owned().into();
            match classifier.classify(outcome) {
                Opinion::NoOpinion => {}
                Opinion::Retry(because) => return Judgement::Retry { by: by(), because },
                Opinion::Forbid(because) => return Judgement::Forbid { by: by(), because },
            }
        }
        Judgement::None
    }

    pub(crate) fn wall_clock(&self) -> SystemTime {
        match &self.wall_clock {
            Some(clock) => clock(),
            None => SystemTime::now(),
        }
    }

    /// Whether an attempt can be cut off, so that its start must be known.
    pub(crate) fn has_time_limits(&self) -> bool {
        self.attempt_timeout.is_some() || self.deadline.is_some()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("classifiers", &self.classifiers)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("deadline", &self.deadline)
            .field("min_attempt", &self.min_attempt)
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}
