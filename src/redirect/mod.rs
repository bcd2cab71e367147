//! Follows redirects, in one accounting with the retries.
