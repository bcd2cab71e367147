//! What the layers above are told of a call that failed.

use bytes::Buf;
use http::Response;
use http_body::{Body, Frame};

use super::{GrpcCode, status::Ending};
use crate::{
    body::PeekedBody,
    reason::Cause,
    stack::{LayerOutcome, Opinion},
};

/// The name under which the report shows what is said here.
const BY: &str = "GrpcLayer";

/// Puts what `ending` means for the layers above into the response's extensions; nothing if the
/// call succeeded or goes on. `committed` says why the call must not be repeated, if it must not.
pub(super) fn tell<B: Body>(
    ending: Ending,
    committed: Option<&'static str>,
    response: &mut Response<PeekedBody<B>>,
) {
    let cause = match ending {
        Ending::Open | Ending::Status(GrpcCode::Ok) => return,
        Ending::Status(code) => Cause::Grpc(code),
        Ending::Broken => Cause::ResponseBody,
    };
    let trailers = kept(response.body()).find_map(|frame| frame.trailers_ref().cloned());
    let extensions = response.extensions_mut();
    // A layer further in may have said something of its own.
    let mut outcome = match LayerOutcome::of(extensions) {
        Some(outcome) => outcome.clone(),
        None => LayerOutcome::new(BY),
    };
    outcome.failure = Some(cause.into());
    outcome.trailers = trailers;
    if let Some(why) = committed {
        outcome.opinion = Opinion::Forbid(why.into());
    }
    extensions.insert(outcome);
}

/// Whether a message of the response has come, of which a part is enough.
pub(super) fn has_message<B: Body>(body: &PeekedBody<B>) -> bool {
    kept(body).any(|frame| frame.data_ref().is_some_and(Buf::has_remaining))
}

fn kept<B: Body>(body: &PeekedBody<B>) -> impl Iterator<Item = &Frame<B::Data>> {
    body.kept().filter_map(|frame| frame.as_ref().ok())
}
