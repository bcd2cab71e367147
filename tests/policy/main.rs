//! Whether a request is sent again, and when.

mod fuzz_corpus;
mod hints;
mod properties;
mod reload;
