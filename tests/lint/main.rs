//! What is wrong with a policy.

#[cfg(feature = "serde")]
mod anti_patterns;
mod findings;
