//! When a request is sent again: pure decisions, without clock, I/O or runtime.

mod invalid;

pub use self::invalid::InvalidPolicy;
