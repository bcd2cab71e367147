//! What stands between a request and the inner service besides its policy: the adaptive throttle,
//! the limit of retries in flight, and the hints that other requests were given.

use std::time::{Duration, Instant};

use http::{StatusCode, Uri};

use crate::{
    budget::{AdaptiveThrottle, HintBoard, InFlightLimit, InFlightPlace, Slot},
    policy::StopReason,
    settings::Settings,
};

/// The longest that a request is held back for another one's hint, unless the layer says.
const MAX_HOLD: Duration = Duration::from_secs(60);

/// The guards of one request. Exists only where the layer has any.
pub(crate) struct Guards {
    throttle: Option<(AdaptiveThrottle, Slot)>,
    hints: Option<(HintBoard, Slot)>,
    max_hold: Duration,
    in_flight: Option<InFlightLimit>,
    /// The request's place among the retries in flight, once it has one.
    place: Option<InFlightPlace>,
}

/// Whether a first attempt may be sent.
pub(crate) enum Admission {
    Now,
    Held,
    Refused,
}

impl Guards {
    pub(crate) fn of(settings: &Settings, uri: &Uri) -> Option<Self> {
        if !settings.is_guarded() {
            return None;
        }
        let (throttle, hints) = (&settings.throttle, &settings.hints);
        Some(Self {
            throttle: throttle.clone().map(|throttle| {
                let slot = throttle.slot(uri);
                (throttle, slot)
            }),
            hints: hints.clone().map(|hints| {
                let slot = hints.slot(uri);
                (hints, slot)
            }),
            max_hold: settings.max_hold.unwrap_or(MAX_HOLD),
            in_flight: settings.in_flight.clone(),
            place: None,
        })
    }

    /// Asks for the first attempt.
    pub(crate) fn admit(&self, now: Instant) -> Admission {
        if self.throttled(now) {
            Admission::Refused
        } else if self.held(now).is_some() {
            Admission::Held
        } else {
            Admission::Now
        }
    }

    /// Asks for a retry, and takes a place for it. Returns how long it is held back at least.
    /// `told` says that the server named the time of this retry.
    pub(crate) fn admit_retry(&mut self, now: Instant, told: bool) -> Result<Duration, StopReason> {
        let held = self.held(now).filter(|_| !told).unwrap_or_default();
        if let Some(stop) = self.too_long(held) {
            return Err(stop);
        }
        if self.throttled(now) {
            return Err(StopReason::Throttled);
        }
        match &self.in_flight {
            Some(limit) if self.place.is_none() => {
                self.place = limit.acquire();
                if self.place.is_none() {
                    return Err(StopReason::TooManyInFlight { max: limit.max() });
                }
            }
            _ => {}
        }
        Ok(held)
    }

    /// How long nothing may be sent, because the server asked another request to wait.
    pub(crate) fn held(&self, now: Instant) -> Option<Duration> {
        let (hints, slot) = self.hints.as_ref()?;
        hints.left(*slot, now)
    }

    /// Why a request that would be held for this long is not sent at all.
    pub(crate) fn too_long(&self, held: Duration) -> Option<StopReason> {
        let max = self.max_hold;
        (held > max).then_some(StopReason::HeldTooLong { held, max })
    }

    /// The server asked this request to wait.
    pub(crate) fn hinted(&self, now: Instant, wait: Duration) {
        if let Some((hints, slot)) = &self.hints {
            hints.post(*slot, now, wait);
        }
    }

    /// The server answered. What it turned down for overload, or never got, it did not accept.
    pub(crate) fn answered(&self, status: StatusCode, now: Instant) {
        match &self.throttle {
            Some((throttle, slot)) if !matches!(status.as_u16(), 429 | 502..=504) => {
                throttle.on_accept(*slot, now);
            }
            _ => {}
        }
    }

    /// Asks the throttle, which counts the request whatever it says.
    fn throttled(&self, now: Instant) -> bool {
        self.throttle.as_ref().is_some_and(|(throttle, slot)| {
            let rejected = throttle.should_reject(*slot, now, fastrand::f64());
            throttle.on_request(*slot, now);
            rejected
        })
    }
}
