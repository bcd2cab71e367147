#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_http_retry_fuzz::checks::{Depth, decisions};

fuzz_target!(|data: &[u8]| {
    decisions::check(data, Depth::of(data));
});
