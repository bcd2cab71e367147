//! The wall clock as it stood when an attempt ended, read once and only if it is asked for.

use std::{sync::OnceLock, time::SystemTime};

/// Reads a clock at most once.
pub(crate) struct WallClock<'a> {
    read: &'a (dyn Fn() -> SystemTime + Sync),
    shown: OnceLock<SystemTime>,
}

impl<'a> WallClock<'a> {
    pub(crate) fn new(read: &'a (dyn Fn() -> SystemTime + Sync)) -> Self {
        Self {
            read,
            shown: OnceLock::new(),
        }
    }

    pub(crate) fn now(&self) -> SystemTime {
        *self.shown.get_or_init(self.read)
    }
}
