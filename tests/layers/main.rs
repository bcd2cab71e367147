//! The layer among others, and around other clients.

mod admitted;
#[cfg(feature = "grpc")]
mod grpc;
mod order;
mod reqwest_service;
mod stacks;
mod talk;
