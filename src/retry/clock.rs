//! The time of one request: when it started, and the one timer that it ever waits for.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::settings::{LayerSettings, RequestDeadline};

/// The request's clock and its one timer.
///
/// Without time limits, nothing is read until an attempt is pending or has failed: an attempt
/// that succeeds at its first poll reads no clock.
pub(super) struct Clock {
    started: Option<Instant>,
    attempt: AttemptStart,
    timer: Option<Pin<Box<Sleep>>>,
}

/// When the attempt in flight started, in nanoseconds after the request: half as large as the
/// moment itself, and every request has one.
#[derive(Clone, Copy, PartialEq)]
struct AttemptStart(u64);

impl AttemptStart {
    /// With the request.
    const AT_ONCE: Self = Self(0);

    /// There is none, or nobody knows.
    const UNKNOWN: Self = Self(u64::MAX);

    fn after(since: Duration) -> Self {
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX - 1))
    }

    fn get(self) -> Option<Duration> {
        (self != Self::UNKNOWN).then(|| Duration::from_nanos(self.0))
    }
}

/// The times of an attempt that has ended.
#[derive(Clone, Copy)]
pub(super) struct AttemptTime {
    /// From the request's start to the attempt's.
    pub(super) offset: Duration,
    pub(super) took: Duration,
    /// From the request's start until now.
    pub(super) elapsed: Duration,
}

/// Which time limit an attempt ran into.
pub(super) enum TimeLimit {
    Attempt(Duration),
    Deadline(Duration),
}

impl Clock {
    /// The request starts, under the limits of `settings`.
    #[inline(always)]
    pub(super) fn start(settings: &LayerSettings) -> Self {
        let mut clock = Self {
            started: None,
            attempt: AttemptStart::UNKNOWN,
            timer: None,
        };
        if settings.is_timed() {
            clock.start_attempt(Instant::now());
        }
        clock
    }

    /// The time that a request with a deadline of its own has, from its start.
    pub(super) fn limit(&mut self, deadline: RequestDeadline) -> Duration {
        let now = *self.started.get_or_insert_with(Instant::now);
        self.attempt = AttemptStart::AT_ONCE;
        deadline.remaining(now)
    }

    /// The request starts with a wait.
    pub(super) fn start_waiting(&mut self, now: Instant) {
        self.started.get_or_insert(now);
    }

    #[inline]
    pub(super) fn start_attempt(&mut self, now: Instant) {
        self.attempt = match self.started {
            Some(started) => AttemptStart::after(now.duration_since(started)),
            None => {
                self.started = Some(now);
                AttemptStart::AT_ONCE
            }
        };
    }

    pub(super) fn end_attempt(&mut self, now: Instant) -> AttemptTime {
        let Some(started) = self.started else {
            // It had ended when it was first looked at.
            self.started = Some(now);
            return AttemptTime {
                offset: Duration::ZERO,
                took: Duration::ZERO,
                elapsed: Duration::ZERO,
            };
        };
        let until = now.duration_since(started);
        let offset = self.attempt.get().unwrap_or(until);
        self.attempt = AttemptStart::UNKNOWN;
        let took = until.saturating_sub(offset);
        AttemptTime {
            offset,
            took,
            elapsed: offset.saturating_add(took),
        }
    }

    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        self.started
            .map_or(Duration::ZERO, |started| now.duration_since(started))
    }

    /// When the request has to be at its end, if all of it may take as long as `limit`.
    pub(super) fn deadline(&self, limit: Option<Duration>) -> Option<Instant> {
        self.started?.checked_add(limit?)
    }

    /// The time left until then.
    pub(super) fn left(&self, limit: Option<Duration>, now: Instant) -> Option<Duration> {
        Some(self.deadline(limit)?.duration_since(now))
    }

    /// Waits until `at`, or for ever. The timer is touched only here, when there is something to
    /// wait for: what is ready at once needs no runtime.
    pub(super) fn poll_until(&mut self, at: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = at else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        // It may be set for something else that was waited for before.
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }

    /// Waits until the whole request, which may take as long as `limit`, has to be at its end.
    /// Returns that limit.
    pub(super) fn poll_deadline(
        &mut self,
        limit: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Duration> {
        match self.deadline(limit).zip(limit) {
            Some((at, limit)) => self.poll_until(Some(at), cx).map(|()| limit),
            None => Poll::Pending,
        }
    }

    /// The limit of the whole request, if that is over.
    pub(super) fn passed(&self, limit: Option<Duration>, now: Instant) -> Option<Duration> {
        limit.filter(|_| self.deadline(limit).is_some_and(|at| at <= now))
    }

    /// The attempt in flight is pending: waits for the first of its time limits, of which `limit`
    /// is the whole request's.
    pub(super) fn poll_attempt(
        &mut self,
        limit: Option<Duration>,
        settings: &LayerSettings,
        cx: &mut Context<'_>,
    ) -> Poll<TimeLimit> {
        let attempt = match self.started.zip(self.attempt.get()) {
            Some((started, since)) => started + since,
            None => {
                let now = Instant::now();
                self.start_attempt(now);
                now
            }
        };
        let own = settings
            .attempt_timeout
            .and_then(|after| Some((attempt.checked_add(after)?, TimeLimit::Attempt(after))));
        let all = self.deadline(limit).zip(limit);
        let (at, limit) = match (own, all) {
            (Some((own, _)), Some((all, after))) if all <= own => (all, TimeLimit::Deadline(after)),
            (Some(own), _) => own,
            (None, Some((all, after))) => (all, TimeLimit::Deadline(after)),
            (None, None) => return Poll::Pending,
        };
        self.poll_until(Some(at), cx).map(|()| limit)
    }
}
