#![no_main]

use libfuzzer_sys::fuzz_target;
use fuzz_checks::{Depth, retry_after};

fuzz_target!(|data: &[u8]| {
    retry_after::check(data, Depth::of(data));
});
