//! A Tower layer that retries HTTP requests and never fails silently.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod body;
pub mod classify;
pub mod policy;

mod error;
mod future;
mod human;
mod layer;
mod observe;
mod report;
#[cfg(feature = "serde")]
mod serde_http;
mod service;
mod settings;
mod snapshot;

pub use self::{
    error::{AttemptTimedOut, RetryError, RetryErrorKind},
    future::ResponseFuture,
    layer::RetryLayer,
    observe::{RetryEvent, TARGET},
    report::{AttemptOutcome, AttemptRecord, RetryReport, WaitRecord},
    service::Retry,
    settings::{AttemptInfo, DrainLimit},
};

/// A boxed error of any type, as Tower services use them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
