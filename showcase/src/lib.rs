//! The parts of the showcases that have tests of their own.

pub mod grpc;
pub mod storm;
