//! What a retry policy does to a service that goes down; `examples/storm` runs it.

pub mod plot;
pub mod simulation;
pub mod table;
pub mod tail;
