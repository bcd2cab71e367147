//! Tells those in front of a server that its own retries are used up.
