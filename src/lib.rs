//! A Tower layer that retries HTTP requests and never fails silently.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod body;
pub mod budget;
pub mod classify;
pub mod policy;

/// A boxed error of any type, as Tower services use them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
