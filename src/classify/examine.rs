//! One walk along an error's chain: what is its cause, and what does it prove?

use std::error::Error;

use super::{
    Cause, Failure, FailureKind, Sent,
    chain::first_word,
    proof::{Proof, is_carrier},
    reading::{Place, Reading},
    vouch::Vouch,
    walk::{Chain, MAX_LINKS},
};
use crate::{
    RetryError,
    reason::Evidence,
    report::RetryReport,
    stack::{LayerError, Rejected},
};

/// Reads one link of an error's chain, found at a place; nothing when its type is another's.
type Reader = fn(&(dyn Error + 'static), Place) -> Option<Reading>;

/// Those who know error types, asked in this order about every link.
const READERS: &[Reader] = &[
    super::own::read,
    #[cfg(feature = "reqwest")]
    super::reqwest::read,
    #[cfg(feature = "hyper")]
    super::hyper::read_client,
    #[cfg(feature = "hyper")]
    super::hyper::read,
    #[cfg(feature = "h2")]
    super::h2::read,
    #[cfg(feature = "tower")]
    super::tower::read,
    #[cfg(feature = "tower-http")]
    super::tower::read_http,
    #[cfg(feature = "tonic")]
    super::tonic::read,
    #[cfg(feature = "rustls")]
    super::tls::read,
    super::io::read,
    super::io::read_elapsed,
    super::io::read_http,
    // Knows no types, only messages: last.
    super::messages::read,
];

/// What is known of an error.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) failure: Failure,
    /// What `failure.sent` rests on, where that should be said.
    pub(crate) evidence: Option<Evidence>,
}

impl From<Failure> for Examined {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            evidence: None,
        }
    }
}

/// Examines an error, with what the user promises of error types.
pub(crate) fn examine(error: &(dyn Error + 'static), vouches: &[Vouch]) -> Examined {
    let mut proof = Proof::new(vouches);
    let mut naming = Naming::default();
    let mut links = 0;
    for (index, link) in Chain::new(error).enumerate() {
        // A link's own words are read with what it says itself of the place.
        proof.read(index, link);
        naming.read(index, link, proof.place());
        links = index + 1;
    }
    let refuted = links > MAX_LINKS || repeated(error);
    let sent = proof.proved().filter(|_| !refuted);
    let failure = failure(&naming, &proof, sent);
    let evidence = evidence(error, failure, &proof, refuted);
    Examined { failure, evidence }
}

/// The reports of retry layers further in, wherever their errors are in the chain.
fn inner_reports<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a RetryReport> {
    let errors = Chain::new(error).filter_map(|link| link.downcast_ref::<RetryError>());
    errors.map(RetryError::report)
}

/// How many attempts the outermost layer further in made that says so, wherever its error is in the
/// chain.
pub(crate) fn inner_attempts(error: &(dyn Error + 'static)) -> Option<u32> {
    Chain::new(error).find_map(|link| {
        if let Some(layer) = link.downcast_ref::<LayerError>() {
            return layer.outcome().attempts;
        }
        let retries: &RetryError = link.downcast_ref()?;
        Some(u32::try_from(retries.report().attempt_count()).unwrap_or(u32::MAX))
    })
}

/// The error of a layer below: this one, or what it carries without a word of its own.
pub(crate) fn layer_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a LayerError> {
    let carriers = Chain::new(error).take_while(|link| is_carrier(*link));
    // The first that is no carrier.
    let at = carriers.count();
    Chain::new(error).nth(at)?.downcast_ref()
}

/// What a layer below says that turned the request away, and when it would not.
pub(crate) fn rejected<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Rejected> {
    Chain::new(error).find_map(|link| link.downcast_ref())
}

/// Whether one of them made attempts that may have been applied.
fn repeated(error: &(dyn Error + 'static)) -> bool {
    inner_reports(error).any(|report| *report.effects().end() > 0)
}

/// The cause, as far as the links so far name it.
#[derive(Debug)]
struct Naming {
    cause: Cause,
    /// The link that named it.
    by: usize,
    /// Where it was found, if deeper links are its details.
    settled: Option<Place>,
}

impl Default for Naming {
    fn default() -> Self {
        Self {
            cause: Cause::Unknown,
            by: 0,
            settled: None,
        }
    }
}

impl Naming {
    fn read(&mut self, index: usize, link: &(dyn Error + 'static), at: Place) {
        if self.settled.is_some() && self.cause.is_permanent() {
            return;
        }
        match READERS.iter().find_map(|read| read(link, at)) {
            // No detail: whatever stands above it, a certificate is the same the next time.
            Some(Reading::Settled(cause @ (Cause::Certificate | Cause::ClientCertificate))) => {
                self.cause = cause;
                self.by = index;
                self.settled = Some(at);
            }
            _ if self.settled.is_some() => {}
            Some(Reading::Settled(cause)) => {
                self.cause = cause;
                self.by = index;
                self.settled = Some(at);
            }
            Some(Reading::Guess(cause)) => {
                self.cause = cause;
                self.by = index;
            }
            // Where nothing else is known, the stage is the cause.
            Some(Reading::Deeper) | None if self.cause == Cause::Unknown => self.by = index,
            Some(Reading::Deeper) | None => {}
        }
    }
}

/// The failure: its cause as it is called at its place, and its kind by what is proved.
fn failure(naming: &Naming, proof: &Proof<'_>, sent: Option<Sent>) -> Failure {
    let place = naming.settled.unwrap_or(proof.place());
    let mut cause = place.settle(naming.cause);
    match sent {
        Some(sent) => {
            // A cause that stands above the proof was read without it.
            if sent == Sent::Never && cause.kind() != FailureKind::Connect {
                cause = Place::Connecting.settle(cause);
            }
            Failure::new(cause, sent)
        }
        None => {
            let below_doubt = proof.doubt().is_some_and(|doubt| {
                // A client knows what is wrong with its request, whichever it was.
                naming.by > doubt.link && !(doubt.client && cause.is_user_error())
            });
            let failure = match cause {
                Cause::Unknown | Cause::Status(_) => cause.into(),
                _ if below_doubt => Failure::new(cause, Sent::Unknown).with_kind(FailureKind::Read),
                _ => cause.into(),
            };
            let sent = proof.said().unwrap_or(failure.sent);
            Failure { sent, ..failure }
        }
    }
}

/// What the report should say of why the request was taken for one that may, or may not, have been
/// applied.
fn evidence(
    error: &(dyn Error + 'static),
    failure: Failure,
    proof: &Proof<'_>,
    refuted: bool,
) -> Option<Evidence> {
    if failure.sent.is_safe_to_repeat() {
        return proof.promised().map(|name| Evidence::Vouched {
            type_name: name.into(),
        });
    }
    let reads_like_it = proof.would_prove() || failure.cause.kind() == FailureKind::Connect;
    // What an inner retry layer did is in the record already.
    if refuted || !reads_like_it {
        return None;
    }
    match proof.doubt() {
        // There nothing could have been proved anyway.
        Some(doubt) if !doubt.at.is_open() => None,
        Some(doubt) if doubt.client => Some(Evidence::ForeignClient),
        Some(doubt) => Some(Evidence::Unvouched {
            link: u32::try_from(doubt.link + 1).unwrap_or(u32::MAX),
            shown_as: Chain::new(error).nth(doubt.link).and_then(first_word),
        }),
        None if proof.place() == Place::Nothing => Some(Evidence::NoStage),
        None => None,
    }
}
