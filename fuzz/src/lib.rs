//! The checks of the fuzz targets, which `tests/fuzz_corpus.rs` runs as well.

#[path = "../checks/mod.rs"]
pub mod checks;
