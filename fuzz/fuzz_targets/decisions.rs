#![no_main]

use libfuzzer_sys::fuzz_target;
use fuzz_checks::{Depth, decisions};

fuzz_target!(|data: &[u8]| {
    decisions::check(data, Depth::of(data));
});
