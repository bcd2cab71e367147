//! The words of a report, each with its stable name: why a request was not sent again, where a
//! wait comes from, what failed, and which setting is wrong.
//!
//! Everything else is built upon these words, and they know nothing of it. The rooms that hand
//! them out name them, too: [`policy`](crate::policy) has what it decides with, and
//! [`classify`](mod@crate::classify) what it finds in errors.

mod evidence;
mod failure;
mod gates;
mod grpc_code;
mod header;
mod invalid;
mod limit_kind;
mod not_resumed;
mod refused;
mod stop;

#[cfg(feature = "grpc")]
pub use self::grpc_code::UnknownGrpcCode;
pub use self::{
    evidence::Evidence,
    failure::{Cause, Failure, FailureKind, Sent},
    gates::{Gate, Gates},
    grpc_code::GrpcCode,
    header::HintHeader,
    invalid::InvalidPolicy,
    limit_kind::LimitKind,
    not_resumed::NotResumed,
    refused::Refused,
    stop::{Note, StopReason, WaitReason},
};
