//! What all requests share: budgets and the adaptive throttle.

mod buckets;
mod throttle;
