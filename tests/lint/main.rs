//! What is wrong with a policy.

mod findings;
