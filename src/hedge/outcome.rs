//! Which of two outcomes counts, and what the layers above are told of them.

use std::time::Duration;

use http::Response;

use crate::{
    BoxError,
    classify::{self, Sent},
    policy::{Note, RetryPolicy},
    stack::{self, LayerError, LayerOutcome, Opinion},
};

/// The name under which the report shows what is said here.
const BY: &str = "HedgeLayer";

/// How a request, or its hedge, ended.
pub(super) type Outcome<B> = Result<Response<B>, BoxError>;

/// Whether it is no answer, so that the other one is worth waiting for.
///
/// A 404 is an answer: the other one would get the same.
#[inline]
pub(super) fn is_failure<B>(outcome: &Outcome<B>, policy: &RetryPolicy) -> bool {
    match outcome {
        Ok(response) => {
            let status = response.status();
            status.as_u16() >= 400 && policy.takes_for_failure(status)
                || LayerOutcome::of(response.extensions()).is_some_and(says_failure)
                || classify::grpc::failure(response.headers()).is_some()
        }
        Err(_) => true,
    }
}

/// What a layer below takes for a failure. One that must not be repeated is an answer.
fn says_failure(below: &LayerOutcome) -> bool {
    match below.opinion {
        Opinion::Forbid(_) => false,
        Opinion::Retry(_)
        | Opinion::RetryIn(..)
        | Opinion::LeaveConnection(_)
        | Opinion::Unprocessed(_) => true,
        Opinion::NoOpinion => below.failure.is_some(),
    }
}

/// How long the server asks for nothing to be sent.
#[cold]
pub(super) fn asked<B>(outcome: &Outcome<B>, policy: &RetryPolicy) -> Option<Duration> {
    let response = outcome.as_ref().ok()?;
    let below = LayerOutcome::of(response.extensions()).and_then(|below| below.wait);
    below.or_else(|| policy.asked_by(response.status(), response.headers()))
}

/// Of two failures the one that counts, and whether it is the hedge's: a response before an error,
/// the first request before its hedge.
pub(super) fn better<B>(first: Outcome<B>, hedge: Outcome<B>) -> (Outcome<B>, Outcome<B>, bool) {
    match (&first, &hedge) {
        (Err(_), Ok(_)) => (hedge, first, true),
        _ => (first, hedge, false),
    }
}

/// A request that was hedged is dropped because its time is over: it was sent twice.
pub(super) fn say_late(after: Duration) {
    stack::say_late(BY, |outcome| {
        let attempts = outcome.attempts.unwrap_or(1).saturating_add(1);
        outcome.attempts = Some(attempts);
        outcome.notes.push(Note::Hedged { after, won: false });
    });
}

/// What is certain of a request, by the error that it ended with.
pub(super) fn proved<B>(outcome: &Outcome<B>) -> Option<Sent> {
    let error = outcome.as_ref().err()?;
    let sent = classify::classify(&**error).sent;
    sent.is_safe_to_repeat().then_some(sent)
}

/// What the layers above should know of a request that was sent twice.
pub(super) struct Story {
    /// How long after the first request the hedge was sent.
    pub(super) after: Duration,
    /// Whether the outcome is the hedge's.
    pub(super) won: bool,
    /// How often the layers further in sent the other one.
    pub(super) others: u32,
    /// What is certain of both.
    pub(super) proved: Option<Sent>,
    /// The option by which somebody vouches for the hedge's body.
    pub(super) vouched_by: Option<&'static str>,
}

/// How often layers further in sent what ended so.
pub(super) fn attempts<B>(outcome: &Outcome<B>) -> u32 {
    let below = match outcome {
        Ok(response) => LayerOutcome::of(response.extensions()),
        Err(error) => error.downcast_ref().map(LayerError::outcome),
    };
    below.and_then(|below| below.attempts).unwrap_or(1)
}

impl Story {
    /// Puts it into the outcome, for the layers above.
    pub(super) fn tell<B>(self, outcome: Outcome<B>) -> Outcome<B> {
        match outcome {
            Ok(mut response) => {
                let below = LayerOutcome::of(response.extensions()).cloned();
                response.extensions_mut().insert(self.outcome(below));
                Ok(response)
            }
            Err(error) => {
                let below = error.downcast_ref().map(LayerError::outcome).cloned();
                Err(LayerError::around(self.outcome(below), error).into())
            }
        }
    }

    fn outcome(self, below: Option<LayerOutcome>) -> LayerOutcome {
        let mut outcome = below.unwrap_or_else(|| LayerOutcome::new(BY));
        let attempts = outcome.attempts.unwrap_or(1).saturating_add(self.others);
        outcome.attempts = Some(attempts);
        let (after, won) = (self.after, self.won);
        outcome.notes.push(Note::Hedged { after, won });
        if let Some(by) = self.vouched_by {
            outcome.notes.push(Note::BodyVouched { by: by.into() });
        }
        // What is certain of one of them says nothing of the other.
        outcome.sent = self.proved;
        if self.proved.is_none() {
            if let Opinion::Unprocessed(because) = outcome.opinion {
                outcome.opinion = Opinion::Retry(because);
            }
        }
        outcome
    }
}
