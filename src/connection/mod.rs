//! Leaves a connection that a retry must not meet again.
