//! [`ResumeError`]: a body that broke and could not go on.

use std::{error::Error, fmt, time::Duration};

use crate::{
    BoxError, human::Human, reason::Cause, reason::StopReason, report::RetryReport, text::one_line,
};

/// A response body that broke and could not go on.
///
/// `source()` is the original error, that of the body, untouched;
/// [`downcast_inner`](Self::downcast_inner) gives it in its own type. A body that ended too early,
/// stalled, or passed its deadline had none.
pub struct ResumeError {
    inner: Box<Inner>,
}

struct Inner {
    kind: ResumeErrorKind,
    delivered: u64,
    length: Option<u64>,
    report: RetryReport,
    source: Option<BoxError>,
}

/// What happened to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResumeErrorKind {
    /// It failed with an error.
    Failed,
    /// It ended before all had arrived that its head has promised.
    Short,
    /// Nothing arrived for so long.
    Idle {
        /// The [idle timeout](super::ResumeLayer::idle_timeout).
        after: Duration,
    },
    /// The deadline passed.
    Deadline {
        /// The deadline, counted from the request's start.
        deadline: Duration,
    },
}

impl ResumeErrorKind {
    pub(super) fn cause(self) -> Cause {
        match self {
            Self::Failed => Cause::ResponseBody,
            Self::Short => Cause::UnexpectedEof,
            Self::Idle { .. } | Self::Deadline { .. } => Cause::Timeout,
        }
    }
}

impl ResumeError {
    pub(super) fn new(
        kind: ResumeErrorKind,
        (delivered, length): (u64, Option<u64>),
        report: RetryReport,
        source: Option<BoxError>,
    ) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                delivered,
                length,
                report,
                source,
            }),
        }
    }

    /// What happened to the body.
    pub fn kind(&self) -> ResumeErrorKind {
        self.inner.kind
    }

    /// How many bytes were handed on before.
    pub fn delivered(&self) -> u64 {
        self.inner.delivered
    }

    /// Why it could not go on: [`StopReason::NotResumable`], or the knob of the policy that
    /// decided.
    pub fn stop_reason(&self) -> &StopReason {
        &self.inner.report.stop
    }

    /// What was tried.
    pub fn report(&self) -> &RetryReport {
        &self.inner.report
    }

    /// The original error, if it is an `E`.
    pub fn downcast_inner<E: Error + 'static>(&self) -> Option<&E> {
        self.inner.source.as_ref()?.downcast_ref()
    }

    /// The original error, if there was one.
    pub fn into_inner(self) -> Option<BoxError> {
        self.inner.source
    }
}

impl fmt::Display for ResumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.inner.report;
        write!(f, "{} {}: the body ", report.method, one_line(&report.url))?;
        match self.inner.kind {
            ResumeErrorKind::Failed => f.write_str("broke off")?,
            ResumeErrorKind::Short => f.write_str("ended too early")?,
            ResumeErrorKind::Idle { after } => write!(f, "stalled for {}", Human(after))?,
            ResumeErrorKind::Deadline { deadline } => {
                write!(f, "passed its deadline of {}", Human(deadline))?;
            }
        }
        write!(f, " after {}", self.inner.delivered)?;
        if let Some(length) = self.inner.length {
            write!(f, " of {length}")?;
        }
        write!(f, " bytes and could not go on: {}", report.stop)
    }
}

impl fmt::Debug for ResumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.inner.source.as_deref();
        f.debug_struct("ResumeError")
            .field("kind", &self.inner.kind)
            .field("delivered", &self.inner.delivered)
            .field("length", &self.inner.length)
            .field("report", &self.inner.report)
            // As text, since what its own `Debug` shows may hold secrets.
            .field(
                "source",
                &source.map(|source| crate::classify::chain(source)),
            )
            .finish()
    }
}

impl Error for ResumeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}
