//! The time of one request: when it started, and the one timer that it ever waits for.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::settings::{RequestDeadline, Settings};

/// The request's clock and its one timer.
///
/// Without time limits, nothing is read until an attempt is pending or has failed: an attempt
/// that succeeds at its first poll reads no clock.
pub(crate) struct Clock {
    started: Option<Instant>,
    attempt: Option<Instant>,
    /// The deadline, counted from the start.
    pub(super) limit: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    armed: bool,
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
pub(super) enum Limit {
    Attempt(Duration),
    Deadline(Duration),
}

impl Clock {
    /// The request starts, under the limits of `settings`.
    #[inline(always)]
    pub(crate) fn start(settings: &Settings) -> Self {
        let now = settings.is_timed().then(Instant::now);
        Self {
            started: now,
            attempt: now,
            limit: settings.deadline,
            timer: None,
            armed: false,
        }
    }

    /// A deadline of the request's own.
    pub(super) fn limit(&mut self, deadline: RequestDeadline) {
        let now = *self.started.get_or_insert_with(Instant::now);
        self.attempt = Some(now);
        self.limit = Some(deadline.remaining(now));
    }

    /// The request starts with a wait.
    pub(super) fn start_waiting(&mut self) {
        let now = Instant::now();
        self.started.get_or_insert(now);
        self.armed = false;
    }

    pub(super) fn start_attempt(&mut self, now: Instant) {
        self.started.get_or_insert(now);
        self.attempt = Some(now);
        self.armed = false;
    }

    pub(super) fn end_attempt(&mut self, now: Instant) -> AttemptTime {
        let started = *self.started.get_or_insert(now);
        let attempt = self.attempt.take().unwrap_or(now);
        self.armed = false;
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

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.started?.checked_add(self.limit?)
    }

    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        Some(self.deadline()?.duration_since(now))
    }

    /// Sets the timer; `None` is a time that has come.
    pub(super) fn set_timer(&mut self, at: Option<Instant>) {
        self.armed = at.is_some();
        if let Some(at) = at {
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(at),
                None => self.timer = Some(Box::pin(sleep_until(at))),
            }
        }
    }

    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) if self.armed => {
                ready!(timer.as_mut().poll(cx));
                self.armed = false;
                Poll::Ready(())
            }
            _ => Poll::Ready(()),
        }
    }

    /// Waits until `at`, or for ever. The timer is touched only here, when there is something to
    /// wait for: what is ready at once needs no runtime.
    pub(super) fn poll_until(&mut self, at: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        if at.is_none() {
            return Poll::Pending;
        }
        // It may be set for something else that was waited for before.
        let is_set = self.armed && self.timer.as_ref().map(|timer| timer.deadline()) == at;
        if !is_set {
            self.set_timer(at);
        }
        self.poll_timer(cx)
    }

    /// The attempt in flight is pending: waits for the first of its time limits.
    pub(super) fn poll_attempt(
        &mut self,
        settings: &Settings,
        cx: &mut Context<'_>,
    ) -> Poll<Limit> {
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
            .and_then(|after| Some((attempt.checked_add(after)?, Limit::Attempt(after))));
        let all = self.deadline().zip(self.limit);
        let (at, limit) = match (own, all) {
            (Some((own, _)), Some((all, after))) if all <= own => (all, Limit::Deadline(after)),
            (Some(own), _) => own,
            (None, Some((all, after))) => (all, Limit::Deadline(after)),
            (None, None) => return Poll::Pending,
        };
        self.poll_until(Some(at), cx).map(|()| limit)
    }
}
