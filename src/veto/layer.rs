//! [`VetoLayer`]: what a user writes around a server's handlers.

use tower_layer::Layer;

use super::Veto;

/// Answers with a veto where a handler's own retries are used up; see [the module](super).
#[derive(Clone, Copy, Debug, Default)]
pub struct VetoLayer(());

impl VetoLayer {
    /// The only one there is.
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for VetoLayer {
    type Service = Veto<S>;

    fn layer(&self, inner: S) -> Veto<S> {
        Veto::new(inner)
    }
}
