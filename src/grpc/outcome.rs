//! What the layers above are told of a call that failed.

use http::Response;

use super::{
    GrpcCode,
    status::{Ending, Pushback},
};
use crate::{
    reason::Cause,
    stack::{LayerOutcome, Opinion},
};

/// The name under which the report shows what is said here.
const BY: &str = "GrpcLayer";

/// Puts what `ending` means for the layers above into the response's extensions; nothing if the
/// call succeeded or goes on.
pub(super) fn tell<B>(ending: Ending, response: &mut Response<B>) {
    match ending {
        Ending::Open | Ending::Status(GrpcCode::Ok, _) => return,
        Ending::Status(..) | Ending::Broken => {}
    }
    let extensions = response.extensions_mut();
    // A layer further in may have said something of its own.
    let mut outcome = match LayerOutcome::of(extensions) {
        Some(outcome) => outcome.clone(),
        None => LayerOutcome::new(BY),
    };
    match ending {
        Ending::Status(code, pushback) => {
            outcome.failure = Some(Cause::Grpc(code).into());
            match pushback {
                Pushback::None => {}
                Pushback::After(wait) => outcome.wait = Some(wait),
                Pushback::Never => {
                    outcome.opinion = Opinion::Forbid("grpc-retry-pushback-ms".into());
                }
            }
        }
        Ending::Broken => outcome.failure = Some(Cause::ResponseBody.into()),
        Ending::Open => {}
    }
    extensions.insert(outcome);
}
