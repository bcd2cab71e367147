//! What is gRPC's own in a policy: its codes, the settings of gRFC A6, and policies by method.

mod builder;
mod codes;
mod methods;

pub use self::methods::GrpcPolicies;
pub(super) use self::{
    builder::{backoff, throttling},
    codes::{CodeSet, code_of},
};
