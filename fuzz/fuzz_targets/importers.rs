#![no_main]

use libfuzzer_sys::fuzz_target;
use fuzz_checks::{Depth, importers};

fuzz_target!(|data: &[u8]| {
    importers::check(data, Depth::of(data));
});
