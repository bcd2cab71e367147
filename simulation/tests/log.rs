//! What happened in a run, in the order in which it happened: the trace, and all that is checked.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tower_http_retry::{AttemptRecord, RetryErrorKind, RetryReport};

use crate::scenario::Fault;

/// Shared by all hosts of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<(Duration, Event)>>>);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Fault(Fault),

    // --- at a client ---
    /// The layer was given the request.
    Begun {
        request: u32,
    },
    /// The layer gave an attempt to the HTTP client.
    Called {
        request: u32,
        attempt: u32,
    },
    /// The same, of an attempt that was late and is under way already.
    Hedged {
        request: u32,
        attempt: u32,
        /// Whether it went to another endpoint than the first one.
        elsewhere: bool,
    },
    /// The layer said that it goes on after this attempt.
    Retrying {
        request: u32,
        record: AttemptRecord,
    },
    /// The layer said how it ended.
    Told {
        request: u32,
        report: RetryReport,
    },
    /// The caller has its answer.
    Ended {
        request: u32,
        end: End,
    },
    /// The response's body was read.
    Read {
        request: u32,
        body: Received,
    },
    /// All requests of the client have ended.
    Idle {
        client: usize,
        left: Left,
    },

    // --- at the server ---
    /// The head of an attempt arrived.
    Arrived {
        request: u32,
        attempt: u32,
    },
    /// The attempt's body was read.
    Received {
        request: u32,
        attempt: u32,
        body: Received,
    },
    /// The server did what it was asked to.
    Applied {
        request: u32,
        attempt: u32,
    },
    /// The server sends this answer.
    Answered {
        request: u32,
        attempt: u32,
        answer: Answered,
    },
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Response {
        status: u16,
        report: Option<RetryReport>,
    },
    Error {
        kind: RetryErrorKind,
        text: String,
        report: RetryReport,
    },
    /// The caller gave up.
    Cancelled,
}

/// What came of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// It was read to its end and is what was sent.
    Whole,
    /// It was read to its end and is not what was sent.
    Altered { bytes: usize },
    /// It broke off, visibly.
    BrokeOff { bytes: usize, error: String },
    /// It was left unread.
    Left { bytes: usize },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) asked: Option<Asked>,
    /// What the response says of the server's time.
    pub(crate) date: Option<SystemTime>,
}

/// When the server asks a client to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    After(Duration),
    /// In milliseconds, in a header that urllib3 does not know.
    AfterMs(Duration),
    At(SystemTime),
    Unreadable,
}

/// What a client's guards hold when nothing is under way.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Left {
    pub(crate) permits_taken: usize,
    pub(crate) retries_in_flight: u32,
    pub(crate) granted: u64,
    pub(crate) refunded: u64,
    pub(crate) refused: u64,
}

impl Log {
    /// Notes an event at the simulation's time.
    pub(crate) fn note(&self, event: Event) {
        let now = turmoil::sim_elapsed().expect("a host of the simulation");
        self.note_at(now, event);
    }

    pub(crate) fn note_at(&self, at: Duration, event: Event) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((at, event));
    }

    pub(crate) fn take(&self) -> Vec<(Duration, Event)> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
