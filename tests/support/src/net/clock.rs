//! A clock that stands still until the test moves it, also while sockets are waited for.
//!
//! tokio's paused clock jumps to the next timer as soon as no task can go on. Where the next
//! thing to happen comes from a socket, that is a race: the clock may jump while the bytes are on
//! their way. It does not jump while something runs on a blocking thread.

use std::sync::mpsc::{Sender, channel};

use tokio::runtime::{Builder, Runtime};

/// A runtime of one thread whose clock is paused.
pub fn paused() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}

/// As long as this lives, the paused clock of the runtime that it was made in does not jump.
#[derive(Debug)]
pub struct Still {
    _release: Sender<()>,
}

impl Still {
    /// Stops the clock.
    pub fn new() -> Self {
        let (release, released) = channel();
        tokio::task::spawn_blocking(move || released.recv());
        Self { _release: release }
    }
}
