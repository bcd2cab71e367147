//! What the layer tells the server in the head of an attempt.

use std::time::Duration;

use http::{Extensions, HeaderMap, HeaderValue, Request};

use super::{LayerSettings, depth::RetryDepth, layer::GRPC_ATTEMPTS};
use crate::{
    reason::{Cause, Sent, StopReason},
    stack::{AttemptInfo, PreviousOutcome},
};

/// Writes how long the attempt can take, of a request that has the time `left`, if it has a
/// deadline.
///
/// What the request says itself is never made longer.
///
/// # Errors
///
/// There is less time than the header can say: the attempt could not end in time.
pub(super) fn deadline(
    headers: &mut HeaderMap,
    left: Option<Duration>,
    settings: &LayerSettings,
) -> Result<Told, StopReason> {
    let Some(header) = &settings.deadline_header else {
        return Ok(Told::default());
    };
    let least = header.least();
    if let Some(left) = left.filter(|left| *left < least) {
        return Err(StopReason::DeadlineTooClose {
            left,
            needed: least,
        });
    }
    let attempt = settings.attempt_timeout.map(|time| time.max(least));
    let own = header.read(headers);
    let Some(time) = [attempt, left, own].into_iter().flatten().min() else {
        return Ok(Told::default());
    };
    headers.insert(header.name().clone(), header.write(time));
    Ok(Told::until(header, time))
}

/// The same for a whole request.
pub(super) fn deadline_of<B>(
    request: &mut Request<B>,
    left: Option<Duration>,
    settings: &LayerSettings,
) -> Result<(), StopReason> {
    let told = deadline(request.headers_mut(), left, settings)?;
    told.note(request.extensions_mut());
    Ok(())
}

/// What the server was told, for the layers below.
#[derive(Default)]
#[must_use = "layers below have to know it"]
pub(super) struct Told {
    #[cfg(feature = "hedge")]
    told: Option<crate::stack::ToldDeadline>,
}

#[cfg(feature = "hedge")]
impl Told {
    fn until(header: &crate::deadline_header::DeadlineHeader, time: Duration) -> Self {
        let until = tokio::time::Instant::now().checked_add(time);
        let header = header.clone();
        Self {
            told: until.map(|until| crate::stack::ToldDeadline { header, until }),
        }
    }

    pub(super) fn note(self, extensions: &mut Extensions) {
        if let Some(told) = self.told {
            extensions.insert(told);
        }
    }
}

#[cfg(not(feature = "hedge"))]
impl Told {
    fn until(_: &crate::deadline_header::DeadlineHeader, _: Duration) -> Self {
        Self::default()
    }

    pub(super) fn note(self, _: &mut Extensions) {}
}

/// Writes into a first attempt which one it is.
pub(super) fn first(headers: &mut HeaderMap, settings: &LayerSettings) {
    if let Some(header) = &settings.attempt_count_header {
        headers.insert(header.name().clone(), HeaderValue::from(1));
    }
}

/// Writes into a retry which attempt it is, and why there is one; `info` is that of the retry, and
/// `uncounted` of the attempts before it were not processed and sent again outside of the counts.
pub(super) fn retry(
    headers: &mut HeaderMap,
    info: &AttemptInfo,
    uncounted: u32,
    settings: &LayerSettings,
) {
    if let Some(header) = &settings.attempt_header {
        // gRFC A6, "Exposed Retry Metadata": those are none, and nothing is said of none.
        let before = match header.as_str() == GRPC_ATTEMPTS {
            true => (info.number - 1).saturating_sub(uncounted),
            false => info.number - 1,
        };
        match before {
            0 => drop(headers.remove(header.name())),
            before => drop(headers.insert(header.name().clone(), HeaderValue::from(before))),
        }
    }
    if let Some(header) = &settings.attempt_count_header {
        headers.insert(header.name().clone(), HeaderValue::from(info.number));
    }
    if let Some(header) = &settings.retry_reason_header {
        headers.insert(header.name().clone(), reason(info.previous));
    }
    if settings.tells_depth {
        RetryDepth::of(headers).deeper().write(headers);
    }
}

/// What the attempt before came to, in a word: that of the layer's docs.
fn reason(previous: PreviousOutcome) -> HeaderValue {
    let failure = match previous {
        PreviousOutcome::Response(status) => return HeaderValue::from(status.as_u16()),
        PreviousOutcome::Failed(failure) => failure,
    };
    HeaderValue::from_static(match failure.cause {
        Cause::AttemptTimeout | Cause::Timeout | Cause::ConnectTimeout => "timeout",
        _ if failure.sent == Sent::Unprocessed => "unprocessed",
        _ => failure.kind.as_str(),
    })
}

/// How deep a request is in the retries of others, by its headers and by what its maker says of the
/// request that it answers.
fn depth<B>(request: &Request<B>) -> RetryDepth {
    let said = request.extensions().get().copied().unwrap_or_default();
    RetryDepth::of(request.headers()).max(said)
}

/// Why a request is not retried here, if it is because others retry it.
pub(super) fn retried_above<B>(
    request: &mut Request<B>,
    settings: &LayerSettings,
) -> Option<StopReason> {
    let depth = match (settings.max_depth, settings.tells_depth) {
        (None, false) => return None,
        _ => depth(request),
    };
    // So that those behind know it, too.
    if settings.tells_depth && depth > RetryDepth::of(request.headers()) {
        depth.write(request.headers_mut());
    }
    let max = settings.max_depth.filter(|max| depth.get() > *max)?;
    let depth = depth.get();
    Some(StopReason::RetriedAbove { depth, max })
}
