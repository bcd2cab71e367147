#![no_main]

use libfuzzer_sys::fuzz_target;
use fuzz_checks::{Depth, reports};

fuzz_target!(|data: &[u8]| {
    reports::check(data, Depth::of(data));
});
