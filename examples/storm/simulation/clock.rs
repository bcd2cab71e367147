//! Virtual time, also for what reads tokio's clock by itself.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    time,
};

/// A paused clock of tokio's that follows the simulation.
#[derive(Debug)]
pub(super) struct Clock {
    runtime: Runtime,
    start: Instant,
    shown: Duration,
}

impl Clock {
    /// tokio's clock lags behind by up to this: exact enough for tower's budget, whose steps are
    /// of a second, and much cheaper than to set it for each event.
    const LAG: Duration = Duration::from_millis(10);

    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        let start = {
            let _inside = runtime.enter();
            time::Instant::now().into_std()
        };
        Ok(Self {
            runtime,
            start,
            shown: Duration::ZERO,
        })
    }

    /// Does something that reads tokio's clock.
    pub(super) fn with<R>(&self, read: impl FnOnce() -> R) -> R {
        let _inside = self.runtime.enter();
        read()
    }

    /// Goes on to `now`; what it is as an instant.
    pub(super) fn follow(&mut self, now: Duration) -> Instant {
        let behind = now.saturating_sub(self.shown);
        if behind >= Self::LAG {
            self.runtime.block_on(time::advance(behind));
            self.shown = now;
        }
        self.start + now
    }
}
