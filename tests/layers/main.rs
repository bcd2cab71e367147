//! The layer among others, and around other clients.

mod admitted;
mod order;
mod reqwest_service;
mod stacks;
mod talk;
