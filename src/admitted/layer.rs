//! The admissions as layers.

use tower_layer::Layer;

use super::Admitted;
#[cfg(any(doc, feature = "shared-hints"))]
use crate::shared_hints::SharedHints;
#[cfg(any(doc, feature = "throttle"))]
use crate::throttle::AdaptiveThrottle;

#[cfg(any(doc, feature = "throttle"))]
impl<S> Layer<S> for AdaptiveThrottle {
    type Service = Admitted<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitted::new(inner, self.clone())
    }
}

#[cfg(any(doc, feature = "shared-hints"))]
impl<S> Layer<S> for SharedHints {
    type Service = Admitted<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitted::new(inner, self.clone())
    }
}
