//! What `examples/observed` reads from its own page of metrics, and draws of it.

mod page;
mod panels;

pub use self::{page::Page, panels::panels};
