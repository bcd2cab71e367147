//! The closed table: which error, found where, proves that a request was not applied.
//!
//! This is the only place where [`Sent::Never`] and [`Sent::Unprocessed`] come from. The table for
//! people is in [`classify`](super#what-proves-that-a-request-was-not-applied); each of its rows
//! is a [`Step::Proves`] below, and everything else leads on to a [`Place`] where less is proved.

#![cfg_attr(
    not(all(feature = "hyper", feature = "h2", feature = "reqwest")),
    allow(dead_code, reason = "only client errors name a place")
)]

use std::error::Error;

use super::{NeverSent, Sent, Stage, reading::Place, vouch::Vouch, walk::pointed};
use crate::{
    RetryError,
    stack::{LayerError, Rejected},
};

/// What a link makes of what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The request was certainly not applied; what is below happened at this place.
    Proves(Sent, Place),
    /// What the next link says is to be read as at this place.
    To(Place),
    /// An error of a type that nobody knows or vouched for: what is below tells the cause, and
    /// proves nothing.
    Unvouched,
    /// The same, of a client which may have sent more than one request.
    ForeignClient,
}

/// A link below which nothing is proved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    /// Its number, from 0 on.
    pub(super) link: usize,
    pub(super) at: Place,
    /// Whether it is known: the error of a client which may have sent more than one request.
    pub(super) client: bool,
}

/// What the links of a chain prove, one after the other.
#[derive(Debug)]
pub(super) struct Proof<'v> {
    vouches: &'v [Vouch],
    place: Place,
    /// The first doubtful link.
    doubt: Option<Doubt>,
    /// What was proved, or would have been without the doubt.
    proved: Option<Sent>,
    /// The type whose promise it rests on.
    promised: Option<&'static str>,
    /// Whether a layer says that the server has answered, which is no proof of anything.
    answered: bool,
}

impl<'v> Proof<'v> {
    pub(super) fn new(vouches: &'v [Vouch]) -> Self {
        Self {
            vouches,
            place: Place::Nothing,
            doubt: None,
            proved: None,
            promised: None,
            answered: false,
        }
    }

    /// How far the request had come, by the links so far.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The first doubtful link.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        self.doubt
    }

    /// Whether the links prove that the request was not applied, but for the doubt.
    pub(super) fn would_prove(&self) -> bool {
        self.proved.is_some()
    }

    /// What the links prove.
    pub(super) fn proved(&self) -> Option<Sent> {
        self.proved.filter(|_| self.doubt.is_none())
    }

    /// The type whose promise the proof rests on.
    pub(super) fn promised(&self) -> Option<&'static str> {
        self.promised.filter(|_| self.proved().is_some())
    }

    /// What is known of the request where nothing is proved, if a layer says it.
    pub(super) fn said(&self) -> Option<Sent> {
        self.answered.then_some(Sent::Answered)
    }

    /// Reads the next link.
    pub(super) fn read(&mut self, index: usize, link: &(dyn Error + 'static)) {
        if self.proved.is_some() {
            return;
        }
        let (step, at) = (self.step(link), self.place);
        let mut doubt = |client| {
            let link = index;
            self.doubt.get_or_insert(Doubt { link, at, client });
        };
        match step {
            Step::Proves(sent, place) => {
                self.proved = Some(sent);
                self.place = place;
            }
            Step::To(place) => self.place = place,
            Step::Unvouched => doubt(false),
            Step::ForeignClient => doubt(true),
        }
    }

    fn step(&mut self, link: &(dyn Error + 'static)) -> Step {
        let at = self.place;
        if let Some((stage, name)) = Vouch::find(self.vouches, link) {
            self.promised.get_or_insert(name);
            return match (stage, at) {
                (Stage::NeverSent, at) => never_sent(at),
                (Stage::Transparent, Place::OneRequest) => Step::To(Place::Nothing),
                (Stage::Transparent, at) => Step::To(at),
                (Stage::Call, Place::Nothing | Place::OneRequest) => {
                    rows(link, Place::Called).unwrap_or(Step::To(Place::Called))
                }
                (Stage::Call, at) => Step::To(at),
            };
        }
        if link.is::<NeverSent>() || link.is::<Rejected>() {
            return never_sent(at);
        }
        if let Some(error) = link.downcast_ref::<LayerError>() {
            self.answered |= error.outcome().sent == Some(Sent::Answered);
            return layer(error, at);
        }
        if pointed(link).is_some() || link.is::<RetryError>() {
            return Step::To(at);
        }
        if link.is::<std::io::Error>() {
            // Over HTTP, what a connection's I/O says is about the connection: it may itself be
            // a stream of another one.
            return Step::To(match at {
                Place::Nothing => at,
                at => further(at),
            });
        }
        rows(link, at).unwrap_or(Step::Unvouched)
    }
}

/// What the table says; nothing of a type that is in none of its rows.
fn rows(link: &(dyn Error + 'static), at: Place) -> Option<Step> {
    TABLE.iter().find_map(|rows| rows(link, at))
}

/// What the rows about the types of one crate say of a link; nothing for another's type.
type Rows = fn(&(dyn Error + 'static), Place) -> Option<Step>;

/// All rows of the table.
const TABLE: &[Rows] = &[
    #[cfg(feature = "hyper")]
    hyper_util,
    #[cfg(feature = "hyper")]
    hyper,
    #[cfg(feature = "h2")]
    h2,
    #[cfg(feature = "tower")]
    tower,
    #[cfg(feature = "reqwest")]
    reqwest,
    #[cfg(feature = "tonic")]
    tonic,
    silent,
];

/// Whether a link adds nothing to what it carries, whoever made that.
pub(super) fn is_carrier(link: &(dyn Error + 'static)) -> bool {
    #[cfg(feature = "tower")]
    if link.is::<tower::buffer::error::ServiceError>() {
        return true;
    }
    let carries = |error: &std::io::Error| error.get_ref().is_some();
    pointed(link).is_some() || link.downcast_ref().is_some_and(carries)
}

/// Behind a link that proves nothing, although its type is known.
fn further(at: Place) -> Place {
    match at {
        Place::Nothing | Place::OneRequest | Place::Called | Place::Stream => Place::Exchange,
        Place::Connecting | Place::Exchange | Place::Body => at,
    }
}

/// What says itself that nothing was written.
fn never_sent(at: Place) -> Step {
    match at {
        Place::Nothing | Place::Called => Step::Proves(Sent::Never, Place::Connecting),
        at => Step::To(at),
    }
}

/// A layer of the family, which says itself what it knows.
fn layer(error: &LayerError, at: Place) -> Step {
    let outcome = error.outcome();
    match (at, outcome.sent) {
        (Place::Nothing, Some(Sent::Never)) => Step::Proves(Sent::Never, Place::Connecting),
        (Place::Nothing, Some(Sent::Unprocessed)) => Step::Proves(Sent::Unprocessed, at),
        // The last of several attempts says nothing of those before it.
        (_, None) if outcome.attempts.is_none_or(|attempts| attempts <= 1) => Step::To(at),
        _ => Step::To(further(at)),
    }
}

/// hyper-util's client. Its errors are those of a call that has no response's head yet.
#[cfg(feature = "hyper")]
fn hyper_util(link: &(dyn Error + 'static), at: Place) -> Option<Step> {
    let error: &hyper_util::client::legacy::Error = link.downcast_ref()?;
    Some(match at {
        // A request is handed to a connection that was checked out, and from then on each error
        // names that one and has a source.
        Place::Nothing
            if error.is_connect() || error.connect_info().is_none() || error.source().is_none() =>
        {
            Step::Proves(Sent::Never, Place::Connecting)
        }
        Place::Nothing => Step::To(Place::Called),
        at => Step::To(further(at)),
    })
}

/// hyper's connections.
#[cfg(feature = "hyper")]
fn hyper(link: &(dyn Error + 'static), at: Place) -> Option<Step> {
    let error: &hyper::Error = link.downcast_ref()?;
    Some(match at {
        // From the queue in front of the connection. Elsewhere an upgrade that was not completed
        // is `canceled`, too.
        Place::Called if error.is_canceled() => Step::Proves(Sent::Never, at),
        _ if super::hyper::is_of_response_body(error) => Step::To(Place::Body),
        #[cfg(feature = "h2")]
        Place::Called
            if error
                .source()
                .is_some_and(|source| source.is::<h2::Error>()) =>
        {
            Step::To(Place::Stream)
        }
        at => Step::To(further(at)),
    })
}

/// HTTP/2's own words (RFC 9113, sections 6.8 and 8.7). They are the peer's to say, about a request
/// that it has not begun to answer.
#[cfg(feature = "h2")]
fn h2(link: &(dyn Error + 'static), at: Place) -> Option<Step> {
    let error: &h2::Error = link.downcast_ref()?;
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    Some(match at {
        // The h2 crate hands a GOAWAY to the streams above its last one alone.
        Place::Stream if error.is_remote() && (refused || error.is_go_away()) => {
            Step::Proves(Sent::Unprocessed, at)
        }
        at => Step::To(further(at)),
    })
}

/// tower's layers.
#[cfg(feature = "tower")]
fn tower(link: &(dyn Error + 'static), at: Place) -> Option<Step> {
    if link.is::<tower::load_shed::error::Overloaded>() {
        // The service below was never called.
        Some(never_sent(at))
    } else if link.is::<tower::buffer::error::ServiceError>() {
        Some(Step::To(at))
    } else if link.is::<tower::timeout::error::Elapsed>() {
        Some(Step::To(further(at)))
    } else {
        None
    }
}

/// reqwest's client, which can send more than one request for each that it is given.
#[cfg(feature = "reqwest")]
fn reqwest(link: &(dyn Error + 'static), at: Place) -> Option<Step> {
    if let Some(error) = link.downcast_ref::<crate::reqwest::ReqwestError>() {
        return Some(match at {
            Place::Nothing if error.is_of_one_request() => Step::To(Place::OneRequest),
            Place::Nothing => Step::ForeignClient,
            at => Step::To(further(at)),
        });
    }
    let error: &reqwest::Error = link.downcast_ref()?;
    Some(match at {
        // Its others are about the request before, or about the response after the exchange.
        Place::OneRequest if error.is_request() => Step::To(Place::Nothing),
        Place::Nothing => Step::ForeignClient,
        at => Step::To(further(at)),
    })
}

/// tonic's channel. It sends each call once, over a connection of hyper's.
#[cfg(feature = "tonic")]
fn tonic(link: &(dyn Error + 'static), at: Place) -> Option<Step> {
    if link.is::<tonic::ConnectError>() {
        return Some(never_sent(at));
    }
    if link.is::<tonic::TimeoutExpired>() {
        return Some(Step::To(further(at)));
    }
    // The response's body has errors of another type.
    link.is::<tonic::transport::Error>().then(|| {
        Step::To(match at {
            Place::Nothing => Place::Called,
            at => further(at),
        })
    })
}

/// Known types that say nothing of how far the request had come.
fn silent(link: &(dyn Error + 'static), at: Place) -> Option<Step> {
    let known = super::own::is_known(link)
        || link.is::<tokio::time::error::Elapsed>()
        || link.is::<http::Error>()
        || link.is::<http::uri::InvalidUri>()
        || link.is::<http::uri::InvalidUriParts>();
    #[cfg(feature = "rustls")]
    let known = known || link.is::<rustls::Error>();
    #[cfg(feature = "tower-http")]
    let known = known || link.is::<tower_http::timeout::TimeoutError>();
    known.then(|| Step::To(further(at)))
}
