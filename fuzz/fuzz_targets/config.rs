#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_http_retry_fuzz::checks::{Depth, config};

fuzz_target!(|data: &[u8]| {
    config::check(data, Depth::of(data));
});
