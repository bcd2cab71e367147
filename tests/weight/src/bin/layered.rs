//! hyper's client below the default layer.

use tower::Layer;
use tower_http_retry::{RetryLayer, policy::RetryPolicy};

fn main() {
    let layer = RetryLayer::new(RetryPolicy::default());
    weight::run(layer.layer(weight::client()));
}
