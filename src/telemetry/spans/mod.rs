//! A span of each attempt.

mod future;
mod layer;
mod service;

pub use self::{future::AttemptSpanFuture, layer::AttemptSpanLayer, service::AttemptSpan};
