//! What happened to all requests: counters and spans.
