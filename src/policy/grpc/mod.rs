//! What is gRPC's own in a policy: its codes, the settings of gRFC A6, and policies by method.

mod builder;
mod codes;
#[cfg(any(feature = "grpc", feature = "serde"))]
mod methods;
#[cfg(any(feature = "grpc", feature = "serde"))]
mod session;

#[cfg(any(feature = "grpc", feature = "serde"))]
pub use self::methods::GrpcPolicies;
#[cfg(feature = "serde")]
pub(crate) use self::methods::OTHERS;
pub(super) use self::{
    builder::{backoff, throttling},
    codes::{CodeSet, code_of},
};
