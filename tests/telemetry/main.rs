//! What a subscriber hears.

mod lint;
mod span;
