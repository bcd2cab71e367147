//! The keys of the layer.

use std::time::Duration;

use serde::ser::SerializeMap;

use super::{
    InvalidConfig,
    read::{Place, once},
    time,
    value::Value,
};
#[cfg(feature = "ratelimit")]
use crate::shared_hints::PACES;
use crate::{
    own_header::{self, OwnHeader},
    shared_hints::SharedHints,
};

/// What a document says of the layer around the policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LayerKeys {
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) min_attempt: Option<Duration>,
    pub(crate) replay_limit: Option<u64>,
    pub(crate) drain_limit: Option<u64>,
    pub(crate) attempt_header: Option<OwnHeader>,
    pub(crate) max_retries_in_flight: Option<u32>,
    pub(crate) share_hints: Option<bool>,
    pub(crate) pace_below: Option<f64>,
}

impl LayerKeys {
    /// Takes in one entry. `Ok(Some)` gives it back: the key is none of these.
    pub(super) fn set(
        &mut self,
        at: &Place,
        key: &str,
        value: Value,
    ) -> Result<Option<Value>, InvalidConfig> {
        match key {
            "attempt_timeout" => once(&mut self.attempt_timeout, at.time(key, &value)?, at, key)?,
            "deadline" => once(&mut self.deadline, at.time(key, &value)?, at, key)?,
            "min_attempt" => once(&mut self.min_attempt, at.time(key, &value)?, at, key)?,
            "replay_limit" => {
                let bytes = at.count(key, &value, i64::MAX.unsigned_abs())?;
                once(&mut self.replay_limit, bytes, at, key)?;
            }
            "drain_limit" => {
                let bytes = at.count(key, &value, i64::MAX.unsigned_abs())?;
                once(&mut self.drain_limit, bytes, at, key)?;
            }
            "attempt_header" => {
                let text = value.as_text();
                let text = text.ok_or_else(|| at.wrong(key, &value, own_header::ALLOWED))?;
                let name = OwnHeader::try_from(text).map_err(|error| {
                    InvalidConfig::value(at.name(key), error.value(), error.allowed())
                })?;
                once(&mut self.attempt_header, name, at, key)?;
            }
            "max_retries_in_flight" => {
                let count = match value {
                    Value::Int(count) => u32::try_from(count).ok().filter(|count| *count > 0),
                    _ => None,
                };
                let count = count.ok_or_else(|| {
                    at.wrong(key, &value, &format!("a whole number in 1..={}", u32::MAX))
                })?;
                once(&mut self.max_retries_in_flight, count, at, key)?;
            }
            "share_hints" => once(&mut self.share_hints, at.flag(key, &value)?, at, key)?,
            #[cfg(feature = "ratelimit")]
            "pace_below" => {
                let part = at.part(key, &value)?;
                if part == 0.0 {
                    return Err(at.wrong(key, &value, PACES));
                }
                once(&mut self.pace_below, part, at, key)?;
            }
            _ => return Ok(Some(value)),
        }
        Ok(None)
    }

    /// The shared hints that the document asks for.
    pub(crate) fn shared_hints(&self) -> Option<SharedHints> {
        let wanted = self.share_hints.unwrap_or(self.pace_below.is_some());
        if !wanted {
            return None;
        }
        let hints = SharedHints::builder();
        #[cfg(feature = "ratelimit")]
        let hints = match self.pace_below {
            Some(part) => hints.pace_below(part),
            None => hints,
        };
        // The part was looked at when it was read.
        hints.build().ok()
    }

    /// What `over` says goes first.
    pub(super) fn overridden_by(self, over: Self) -> Self {
        Self {
            attempt_timeout: over.attempt_timeout.or(self.attempt_timeout),
            deadline: over.deadline.or(self.deadline),
            min_attempt: over.min_attempt.or(self.min_attempt),
            replay_limit: over.replay_limit.or(self.replay_limit),
            drain_limit: over.drain_limit.or(self.drain_limit),
            attempt_header: over.attempt_header.or(self.attempt_header),
            max_retries_in_flight: over.max_retries_in_flight.or(self.max_retries_in_flight),
            share_hints: over.share_hints.or(self.share_hints),
            pace_below: over.pace_below.or(self.pace_below),
        }
    }

    pub(super) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        for (key, duration) in [
            ("attempt_timeout", self.attempt_timeout),
            ("deadline", self.deadline),
            ("min_attempt", self.min_attempt),
        ] {
            if let Some(duration) = duration {
                map.serialize_entry(key, &time::format(duration))?;
            }
        }
        for (key, bytes) in [
            ("replay_limit", self.replay_limit),
            ("drain_limit", self.drain_limit),
        ] {
            if let Some(bytes) = bytes {
                map.serialize_entry(key, &bytes)?;
            }
        }
        if let Some(name) = &self.attempt_header {
            map.serialize_entry("attempt_header", name.as_str())?;
        }
        if let Some(count) = self.max_retries_in_flight {
            map.serialize_entry("max_retries_in_flight", &count)?;
        }
        if let Some(share) = self.share_hints {
            map.serialize_entry("share_hints", &share)?;
        }
        match self.pace_below {
            Some(part) => map.serialize_entry("pace_below", &part),
            None => Ok(()),
        }
    }
}
