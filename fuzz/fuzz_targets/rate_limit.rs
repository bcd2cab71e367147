#![no_main]

use libfuzzer_sys::fuzz_target;
use fuzz_checks::{Depth, rate_limit};

fuzz_target!(|data: &[u8]| {
    rate_limit::check(data, Depth::of(data));
});
