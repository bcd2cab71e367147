//! The admissions as layers.

use tower_layer::Layer;

use super::Admitted;
#[cfg(feature = "shared-hints")]
use crate::shared_hints::SharedHints;
#[cfg(feature = "throttle")]
use crate::throttle::AdaptiveThrottle;

#[cfg(feature = "throttle")]
impl<S> Layer<S> for AdaptiveThrottle {
    type Service = Admitted<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitted::new(inner, self.clone())
    }
}

#[cfg(feature = "shared-hints")]
impl<S> Layer<S> for SharedHints {
    type Service = Admitted<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitted::new(inner, self.clone())
    }
}
