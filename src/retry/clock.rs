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
    attempt: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// As good as never, and small enough to be added to any instant.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The moment `wait` after `now`.
pub(super) fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(FAR)
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
        let now = settings.is_timed().then(Instant::now);
        Self {
            started: now,
            attempt: now,
            timer: None,
        }
    }

    /// The time that a request with a deadline of its own has, from its start.
    pub(super) fn limit(&mut self, deadline: RequestDeadline) -> Duration {
        let now = *self.started.get_or_insert_with(Instant::now);
        self.attempt = Some(now);
        deadline.remaining(now)
    }

    /// The request starts with a wait.
    pub(super) fn start_waiting(&mut self, now: Instant) {
        self.started.get_or_insert(now);
    }

    pub(super) fn start_attempt(&mut self, now: Instant) {
        self.started.get_or_insert(now);
        self.attempt = Some(now);
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
        let attempt = self.attempt.take().unwrap_or(now);
        let offset = attempt.duration_since(started);
        let took = now.duration_since(attempt);
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
        let attempt = match self.attempt {
            Some(attempt) => attempt,
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
