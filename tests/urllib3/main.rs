//! Whether `RetryPolicy::urllib3` decides as the real one does.

mod differential;
mod harness;
mod requests_e2e;
mod session;
mod tally;
mod vectors;
