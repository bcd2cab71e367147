#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_http_retry_fuzz::checks::{Depth, rate_limit};

fuzz_target!(|data: &[u8]| {
    rate_limit::check(data, Depth::of(data));
});
