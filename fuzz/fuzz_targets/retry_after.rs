#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_http_retry_fuzz::checks::{Depth, retry_after};

fuzz_target!(|data: &[u8]| {
    retry_after::check(data, Depth::of(data));
});
