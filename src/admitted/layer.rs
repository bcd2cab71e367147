//! The admissions as layers.

use tower_layer::Layer;

use super::Admitted;
use crate::{shared_hints::SharedHints, throttle::AdaptiveThrottle};

impl<S> Layer<S> for AdaptiveThrottle {
    type Service = Admitted<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitted::new(inner, self.clone())
    }
}

impl<S> Layer<S> for SharedHints {
    type Service = Admitted<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitted::new(inner, self.clone())
    }
}
