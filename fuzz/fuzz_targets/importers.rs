#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_http_retry_fuzz::checks::{Depth, importers};

fuzz_target!(|data: &[u8]| {
    importers::check(data, Depth::of(data));
});
