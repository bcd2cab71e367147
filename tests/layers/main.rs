//! The layer among others, and around other clients.

mod order;
mod reqwest_service;
mod stacks;
mod talk;
