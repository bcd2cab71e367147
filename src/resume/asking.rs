//! What was asked for, and how far its answer has come.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::{Method, StatusCode, Uri, header::CONTENT_TYPE, response::Parts};
use tokio::time::Instant;

use super::{
    layer::Settings,
    plan::{Plan, content_length},
};
#[cfg(feature = "telemetry")]
use crate::telemetry::Metrics;
use crate::{
    reason::{NotResumed, StopReason},
    report::sanitized,
    snapshot::{Snapshot, Target},
    stack::RequestState,
};

/// A request, as far as it has to be kept.
pub(super) struct Asked<S, P> {
    pub(super) line: Line<S, P>,
    pub(super) settings: Arc<Settings>,
    pub(super) started: Instant,
    /// When it has to be at its end, as it says itself or shares with others.
    pub(super) brought: Option<Instant>,
    /// What it shares with layers further out.
    pub(super) state: Option<RequestState>,
}

/// What it is.
pub(super) enum Line<S, P> {
    /// One that can be sent again, and who sends it.
    Get {
        head: Snapshot,
        service: S,
        policy: P,
    },
    Other {
        method: Method,
        uri: Uri,
    },
}

impl<S, P> Asked<S, P> {
    pub(super) fn method(&self) -> &Method {
        match &self.line {
            Line::Get { head, .. } => head.method(),
            Line::Other { method, .. } => method,
        }
    }

    /// The URL as a report shows it.
    pub(super) fn url(&self) -> String {
        let target = match &self.line {
            Line::Get { head, .. } => head.target(),
            Line::Other { uri, .. } => Target::of(uri),
        };
        match &self.settings.redact_path {
            Some(redact) => sanitized(target.scheme, target.authority, &redact(target.path())),
            None => sanitized(target.scheme, target.authority, target.path_and_query),
        }
    }

    /// So many bytes came after it broke.
    pub(super) fn count_resumed(&self, bytes: u64) {
        #[cfg(feature = "telemetry")]
        if let (Some((metrics, uri)), 1..) = (self.metrics(), bytes) {
            metrics.resumed(bytes, &uri);
        }
        #[cfg(not(feature = "telemetry"))]
        let _ = bytes;
    }

    /// It could not go on.
    pub(super) fn count_given_up(&self, stop: &StopReason) {
        #[cfg(feature = "telemetry")]
        if let Some((metrics, uri)) = self.metrics() {
            metrics.suppressed(metrics.series(&uri), stop.name());
        }
        #[cfg(not(feature = "telemetry"))]
        let _ = stop;
    }

    #[cfg(feature = "telemetry")]
    fn metrics(&self) -> Option<(&Metrics, Uri)> {
        let metrics = self.settings.metrics.as_ref()?;
        let uri = match &self.line {
            Line::Get { head, .. } => head.copy()?.uri,
            Line::Other { uri, .. } => uri.clone(),
        };
        Some((metrics, uri))
    }

    /// When the body has to be at its end, by the layer's own deadline.
    pub(super) fn own_deadline(&self) -> Option<Instant> {
        self.started.checked_add(self.settings.deadline?)
    }

    /// When nothing more is sent for it.
    pub(super) fn ends(&self) -> Option<Instant> {
        match self.settings.deadline {
            // One that never comes takes the place of the request's, too.
            Some(_) => self.own_deadline(),
            None => self.brought,
        }
    }
}

/// How far a body has come.
pub(super) struct Progress {
    /// The download that it is, or why it is none that can go on.
    plan: Result<Plan, NotResumed>,
    /// The bytes that it is to have, if that is known.
    pub(super) length: Option<u64>,
    /// Those that were handed on.
    pub(super) delivered: u64,
    /// Those of them that no count was started anew for.
    fresh: u64,
    /// Bytes to be read over, and then to be handed on.
    skip: u64,
    take: u64,
}

/// Whether what follows the head is a message of its own.
fn is_download(method: &Method, head: &Parts) -> bool {
    let kind = head.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    *method != Method::CONNECT
        && !head.status.is_informational()
        && !kind.eq_ignore_ascii_case("text/event-stream")
}

impl Progress {
    /// What the first response says.
    pub(super) fn of<S, P>(asked: &Asked<S, P>, head: &Parts) -> Self {
        let method = asked.method();
        let plan = match &asked.line {
            _ if !is_download(method, head) => Err(NotResumed::NoDownload),
            Line::Get { .. } => Plan::of(head),
            Line::Other { .. } => Err(NotResumed::NotGet),
        };
        let has_no_body = *method == Method::HEAD
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let length = match &plan {
            Err(NotResumed::NoDownload) => None,
            _ if has_no_body => None,
            Ok(plan) => Some(plan.end - plan.at),
            Err(_) => content_length(&head.headers),
        };
        Self {
            plan,
            length,
            delivered: 0,
            fresh: 0,
            skip: 0,
            take: u64::MAX,
        }
    }

    /// Whether it is a message, and not the beginning of something else.
    pub(super) fn is_download(&self) -> bool {
        self.plan != Err(NotResumed::NoDownload)
    }

    /// What comes next of what has arrived, if anything does.
    pub(super) fn take(&mut self, mut data: impl Buf) -> Option<Bytes> {
        let skipped = self.skip.min(data.remaining() as u64);
        self.skip -= skipped;
        // Both are at most what is in memory.
        data.advance(skipped as usize);
        let given = self.take.min(data.remaining() as u64);
        self.take -= given;
        self.delivered += given;
        self.fresh += given;
        if let Ok(plan) = &mut self.plan {
            plan.at += given;
        }
        (given > 0).then(|| data.copy_to_bytes(given as usize))
    }

    /// Whether all of it was handed on, as far as that is known.
    pub(super) fn has_all(&self) -> bool {
        self.length == Some(self.delivered)
    }

    /// Whether an error behind it says nothing any more.
    pub(super) fn is_whole(&self) -> bool {
        self.plan.is_ok() && self.has_all()
    }

    /// Whether `data` comes behind all that was asked for, in the answer to a continuation.
    pub(super) fn is_past(&self, data: &impl Buf) -> bool {
        self.take == 0 && self.is_whole() && data.has_remaining()
    }

    /// Whether `data` comes behind the part that was promised, which then has ended.
    pub(super) fn is_behind(&self, data: &impl Buf) -> bool {
        self.take == 0 && data.has_remaining()
    }

    /// Whether it may end now.
    pub(super) fn may_end(&self) -> bool {
        self.length.is_none_or(|length| self.delivered >= length)
    }

    /// The download to go on with.
    pub(super) fn plan(&self) -> Result<&Plan, NotResumed> {
        match self.length {
            Some(length) if self.delivered > length => Err(NotResumed::TooLong),
            _ => self.plan.as_ref().map_err(|why| *why),
        }
    }

    /// A continuation: so much of it is to be read over, and so much handed on.
    pub(super) fn go_on(&mut self, skip: u64, take: u64) {
        (self.skip, self.take) = (skip, take);
    }

    /// Whether the part that has ended gave all that it said it would.
    pub(super) fn is_part_whole(&self) -> bool {
        self.take == 0
    }

    /// Whether so many bytes were handed on that the counts start anew; from then on, it takes
    /// as many again.
    pub(super) fn starts_anew(&mut self, bytes: u64) -> bool {
        let enough = self.fresh >= bytes;
        if enough {
            self.fresh = 0;
        }
        enough
    }
}
