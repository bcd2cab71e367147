//! What a gRPC response says in its head.

use http::{HeaderMap, HeaderName};

use super::{Cause, Failure};
use crate::reason::GrpcCode;

/// A text would be parsed by each look-up.
static STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// How the gRPC call failed whose response has these headers, if they say so: then the response
/// is nothing but trailers ("trailers-only").
#[inline]
pub(crate) fn failure(headers: &HeaderMap) -> Option<Failure> {
    if headers.is_empty() {
        return None;
    }
    match GrpcCode::from_header(headers.get(&STATUS)?) {
        GrpcCode::Ok => None,
        code => Some(Cause::Grpc(code).into()),
    }
}

/// Whether they say that it succeeded, which goes before the HTTP status (gRPC's "HTTP to gRPC Status
/// Code Mapping": for responses without a `grpc-status`).
pub(crate) fn is_ok(headers: &HeaderMap) -> bool {
    let status = headers.get(&STATUS).map(GrpcCode::from_header);
    status == Some(GrpcCode::Ok)
}
