//! Virtual time, also for what reads tokio's clock by itself.

use std::{
    cell::Cell,
    io,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, EnterGuard, Runtime},
    time,
};

/// A paused clock of tokio's that follows the simulation.
#[derive(Debug)]
pub(super) struct Clock {
    runtime: Runtime,
    start: Instant,
    shown: Cell<Duration>,
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
            shown: Cell::new(Duration::ZERO),
        })
    }

    /// As long as this is there, it is what this thread's tokio goes by.
    pub(super) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Goes on to `now`; what it is as an instant.
    pub(super) fn follow(&self, now: Duration) -> Instant {
        let behind = now.saturating_sub(self.shown.get());
        if behind >= Self::LAG {
            self.runtime.block_on(time::advance(behind));
            self.shown.set(now);
        }
        self.start + now
    }
}
