#![no_main]

use libfuzzer_sys::fuzz_target;
use fuzz_checks::{Depth, config};

fuzz_target!(|data: &[u8]| {
    config::check(data, Depth::of(data));
});
