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
// A stack without gRPC and without downloads meets neither.
#[cfg(feature = "grpc")]
pub use self::grpc_code::GrpcCode;
#[cfg(not(feature = "grpc"))]
pub(crate) use self::grpc_code::GrpcCode;
#[cfg(feature = "resume")]
pub use self::not_resumed::NotResumed;
#[cfg(not(feature = "resume"))]
pub(crate) use self::not_resumed::NotResumed;
pub use self::{
    evidence::Evidence,
    failure::{Cause, Failure, FailureKind, Sent},
    gates::{Gate, Gates},
    header::HintHeader,
    invalid::InvalidPolicy,
    limit_kind::LimitKind,
    refused::Refused,
    stop::{Note, StopReason, WaitReason},
};
