//! What failed, and at which stage.

mod errors;
