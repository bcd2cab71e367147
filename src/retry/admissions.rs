//! The request's dealings with its [`Admission`]s, which may hold it back or refuse it.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Uri};
use tokio::time::Instant;

use crate::{
    classify::Outcome,
    reason::StopReason,
    stack::{Admission, Admit, Answer, Ask, AskFor, Ticket},
};

/// The admissions of a layer.
pub(super) type List = Arc<[Arc<dyn Admission>]>;

/// What they remember of one request. Exists only where the layer has any.
pub(super) struct Admissions {
    list: List,
    tickets: Tickets,
    /// Whether they have let something through of which they have not heard yet.
    outstanding: bool,
    /// Since when the coming attempt is held back.
    held_since: Option<Instant>,
    /// Whether one of them has held an attempt back to spread it.
    spread: bool,
}

/// One for each admission; nearly always there is only one.
enum Tickets {
    One(Ticket),
    Many(Box<[Ticket]>),
}

impl Tickets {
    fn of(list: &List, uri: &Uri) -> Self {
        match &**list {
            [only] => Self::One(only.ticket(uri)),
            all => Self::Many(all.iter().map(|one| one.ticket(uri)).collect()),
        }
    }

    fn all(&mut self) -> &mut [Ticket] {
        match self {
            Self::One(ticket) => std::slice::from_mut(ticket),
            Self::Many(tickets) => tickets,
        }
    }
}

impl Admissions {
    /// Starts a request to `uri`.
    pub(super) fn enter(list: &List, uri: &Uri) -> Option<Self> {
        if list.is_empty() {
            return None;
        }
        Some(Self {
            tickets: Tickets::of(list, uri),
            list: Arc::clone(list),
            outstanding: false,
            held_since: None,
            spread: false,
        })
    }

    /// Asks all of them, in their order. Returns how long the request is to be held back; zero if
    /// it is not.
    pub(super) fn admit(
        &mut self,
        stage: AskFor,
        now: Instant,
        left: Option<Duration>,
    ) -> Result<Duration, StopReason> {
        let mut ask = Ask::new(now.into_std(), stage);
        ask.left = left;
        ask.held = self
            .held_since
            .map_or(Duration::ZERO, |since| now.duration_since(since));
        self.outstanding = true;
        let mut longest = Duration::ZERO;
        for (admission, ticket) in self.list.iter().zip(self.tickets.all()) {
            match admission.admit(ticket, &ask) {
                Admit::Now => {}
                Admit::Wait(wait) => longest = longest.max(wait),
                Admit::Spread(wait) => {
                    longest = longest.max(wait);
                    self.spread = true;
                }
                Admit::Refuse(stop) => {
                    self.answered(&Answer::dropped(now.into_std()));
                    return Err(stop);
                }
            }
        }
        if !longest.is_zero() {
            self.held_since.get_or_insert(now);
        }
        Ok(longest)
    }

    /// The attempt goes elsewhere: it counts there, and no longer where it would have gone.
    pub(super) fn moved(&mut self, uri: &Uri, now: Instant) {
        self.answered(&Answer::dropped(now.into_std()));
        self.tickets = Tickets::of(&self.list, uri);
        // It has waited already, and is on its way whatever they say.
        let _ = self.admit(AskFor::Retry { told: true }, now, None);
        self.outstanding = true;
    }

    /// The attempt is sent: what holds the next one back is another hold. Returns whether this one
    /// was held back to spread it.
    pub(super) fn sent(&mut self) -> bool {
        self.held_since = None;
        std::mem::take(&mut self.spread)
    }

    /// The head of the response to the attempt that they let through, if there is one.
    pub(super) fn hear(&mut self, outcome: &Outcome<'_>, now: Instant) {
        if let Outcome::Response { headers, .. } = outcome {
            self.head(headers, now);
        }
    }

    /// The head of the response to the attempt that they let through.
    pub(super) fn head(&mut self, headers: &HeaderMap, now: Instant) {
        if self.outstanding {
            for (admission, ticket) in self.list.iter().zip(self.tickets.all()) {
                admission.head(ticket, headers, now.into_std());
            }
        }
    }

    /// What became of the attempt that they let through.
    pub(super) fn answered(&mut self, answer: &Answer) {
        if std::mem::take(&mut self.outstanding) {
            for (admission, ticket) in self.list.iter().zip(self.tickets.all()) {
                admission.answered(ticket, answer);
            }
        }
    }
}

impl Drop for Admissions {
    fn drop(&mut self) {
        if self.outstanding {
            self.answered(&Answer::dropped(Instant::now().into_std()));
        }
    }
}
