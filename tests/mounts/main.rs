//! Policies by the prefix of a URL.

mod routing;
