//! [`OnConnection`]: what a layer that can leave connections hands up.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// The connection that an attempt was on, for whoever further out finds out that it is a bad one.
#[derive(Clone)]
pub(crate) struct OnConnection(Arc<Inner<dyn Fn() -> bool + Send + Sync>>);

struct Inner<F: ?Sized> {
    left: AtomicBool,
    leave: F,
}

impl OnConnection {
    /// `leave` leaves it, and returns whether it could.
    pub(crate) fn new(leave: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let left = AtomicBool::new(false);
        Self(Arc::new(Inner { left, leave }))
    }

    pub(crate) fn leave(&self) {
        if (self.0.leave)() {
            self.0.left.store(true, Relaxed);
        }
    }

    pub(crate) fn is_left(&self) -> bool {
        self.0.left.load(Relaxed)
    }
}

impl PartialEq for OnConnection {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for OnConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnConnection")
            .field("left", &self.is_left())
            .finish_non_exhaustive()
    }
}
