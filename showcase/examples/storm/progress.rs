//! How far it is.

use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Counts the runs that are done, on the standard error output: in a line of a terminal, or else in
/// a line for each tenth.
pub(crate) struct Progress {
    done: AtomicUsize,
    all: usize,
    in_terminal: bool,
}

impl Progress {
    pub(crate) fn new(all: usize) -> Self {
        Self {
            done: AtomicUsize::new(0),
            all,
            in_terminal: io::stderr().is_terminal(),
        }
    }

    /// One more is done.
    pub(crate) fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let all = self.all;
        let mut err = io::stderr().lock();
        // Whether anybody sees it makes no difference to the rest.
        let _ = if self.in_terminal {
            let end = if done == all { "\r\x1b[K" } else { "" };
            write!(err, "\r{done} of {all} runs{end}")
        } else if done * 10 / all > (done - 1) * 10 / all {
            writeln!(err, "{done} of {all} runs")
        } else {
            Ok(())
        };
    }
}
