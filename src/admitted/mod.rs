//! [`Admitted`]: an admission as a layer of its own, for stacks that retry nothing.

mod future;
mod layer;
mod service;

pub use self::{future::AdmittedFuture, service::Admitted};
