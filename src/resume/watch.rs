//! The time that a body takes: one timer for all that is waited for.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of a body. It is made when something is waited for first.
pub(super) struct Watch {
    idle: Option<Duration>,
    /// When somebody began to wait for what comes next.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What is waited for no longer.
pub(super) enum Over {
    /// More of the body.
    Idle(Duration),
    /// Anything.
    Deadline,
}

impl Watch {
    pub(super) fn new(idle: Option<Duration>) -> Self {
        Self {
            idle,
            since: None,
            timer: None,
        }
    }

    /// Something has come.
    pub(super) fn moved(&mut self) {
        self.since = None;
    }

    /// Nothing has come: waits for the first of the limits.
    pub(super) fn poll_body(
        &mut self,
        deadline: Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Poll<Over> {
        if self.idle.is_none() && deadline.is_none() {
            return Poll::Pending;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let idle = self
            .idle
            .and_then(|idle| Some((since.checked_add(idle)?, Over::Idle(idle))));
        let deadline = deadline.map(|at| (at, Over::Deadline));
        let first = match (idle, deadline) {
            (Some(idle), Some(deadline)) if idle.0 < deadline.0 => Some(idle),
            (idle, deadline) => deadline.or(idle),
        };
        match first {
            Some((at, over)) => self.poll_until(at, cx).map(|()| over),
            None => Poll::Pending,
        }
    }

    pub(super) fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }

    /// Waits for the deadline, or for ever.
    pub(super) fn poll_deadline(
        &mut self,
        deadline: Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        match deadline {
            Some(at) => self.poll_until(at, cx),
            None => Poll::Pending,
        }
    }
}
