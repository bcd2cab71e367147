//! How a request's body is kept and sent again.

mod allocations;
mod diagnostics;
mod whole;
mod wire;
