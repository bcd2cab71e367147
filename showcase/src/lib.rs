//! The parts of the showcases that have tests of their own.

mod canvas;
pub mod grpc;
pub mod observed;
pub mod storm;
