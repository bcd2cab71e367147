//! The `backoff` table.

use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{
    InvalidConfig, names,
    read::{Place, duration, once, one_of},
    time,
    value::Value,
};
use crate::policy::{Backoff, BackoffKind, Base, Jitter};

/// What a document says of the backoff.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BackoffKeys {
    pub(super) kind: Option<Kind>,
    pub(super) base: Option<Base>,
    pub(super) waits: Option<Vec<Duration>>,
    pub(super) max: Option<Duration>,
    pub(super) multiplier: Option<f64>,
    pub(super) jitter: Option<Jitter>,
    pub(super) throttle_base: Option<Duration>,
    /// One whose waits are a function, which cannot be written: kept as it is.
    pub(super) function: Option<Backoff>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Urllib3,
    Exponential,
    Linear,
    Constant,
    List,
    Fibonacci,
    None,
}

const KINDS: [(&str, Kind); 7] = [
    ("urllib3", Kind::Urllib3),
    ("exponential", Kind::Exponential),
    ("linear", Kind::Linear),
    ("constant", Kind::Constant),
    ("list", Kind::List),
    ("fibonacci", Kind::Fibonacci),
    ("none", Kind::None),
];

const JITTERS: [(&str, Jitter); 4] = [
    ("none", Jitter::None),
    ("full", Jitter::Full),
    ("equal", Jitter::Equal),
    ("decorrelated", Jitter::Decorrelated),
];

impl BackoffKeys {
    pub(super) fn set(&mut self, at: &Place, key: &str, value: Value) -> Result<(), InvalidConfig> {
        match key {
            "kind" => once(&mut self.kind, at.choice(key, &value, &KINDS)?, at, key),
            "base" => once(&mut self.base, read_base(at, key, &value)?, at, key),
            "max" => once(&mut self.max, at.cap(key, &value)?, at, key),
            "throttle_base" => once(&mut self.throttle_base, at.time(key, &value)?, at, key),
            "multiplier" => once(&mut self.multiplier, at.number(key, &value)?, at, key),
            "jitter" => once(&mut self.jitter, read_jitter(at, key, &value)?, at, key),
            "waits" => {
                let allowed = "a list of waits, such as [\"100ms\", 1, \"5s\"]";
                let waits = at.list(key, value, allowed)?;
                let waits: Result<_, _> = waits.iter().map(|wait| at.time(key, wait)).collect();
                once(&mut self.waits, waits?, at, key)
            }
            unknown => Err(names::unknown(at, unknown, names::BACKOFF)),
        }
    }

    /// Whether the kind is named, so that nothing is left of another backoff.
    fn is_whole(&self) -> bool {
        self.kind.is_some() || self.waits.is_some() || self.function.is_some()
    }

    /// Changes `backoff`, or makes a new one if the kind is named.
    pub(super) fn apply(&self, at: &Place, backoff: &Backoff) -> Result<Backoff, InvalidConfig> {
        let mut backoff = match (self.kind, &self.waits) {
            (None | Some(Kind::List), Some(waits)) => Backoff::list(waits.iter().copied()),
            (Some(Kind::List), None) => {
                return Err(InvalidConfig::conflict(at.name("kind"), "needs `waits`"));
            }
            (Some(_), Some(_)) => {
                let why = "do not go with this kind, only with \"list\"";
                return Err(InvalidConfig::conflict(at.name("waits"), why));
            }
            (None, None) => self.function.as_ref().unwrap_or(backoff).clone(),
            (Some(kind), None) => {
                let zero = Duration::ZERO;
                if self.base.is_none() && !matches!(kind, Kind::None | Kind::Urllib3) {
                    return Err(InvalidConfig::conflict(at.name("kind"), "needs `base`"));
                }
                match kind {
                    Kind::Urllib3 => Backoff::urllib3(0.0),
                    Kind::Exponential => Backoff::exponential(zero),
                    Kind::Linear => Backoff::linear(zero),
                    Kind::Fibonacci => Backoff::fibonacci(zero),
                    Kind::Constant => Backoff::constant(zero),
                    Kind::None | Kind::List => Backoff::none(),
                }
            }
        };
        if let Some(base) = self.base {
            if self.kind == Some(Kind::None) {
                let why = "does not go with the kind \"none\"";
                return Err(InvalidConfig::conflict(at.name("base"), why));
            }
            backoff.set_base(base);
        }
        if let Some(max) = self.max {
            backoff = backoff.max(max);
        }
        if let Some(multiplier) = self.multiplier {
            backoff = backoff.multiplier(multiplier);
        }
        if let Some(jitter) = self.jitter {
            backoff = backoff.jitter(jitter);
        }
        if let Some(base) = self.throttle_base {
            backoff = backoff.throttle_base(base);
        }
        Ok(backoff)
    }

    /// What `over` says goes first.
    pub(super) fn overridden_by(self, over: Self) -> Self {
        if over.is_whole() {
            return over;
        }
        Self {
            kind: self.kind,
            waits: self.waits,
            base: over.base.or(self.base),
            max: over.max.or(self.max),
            multiplier: over.multiplier.or(self.multiplier),
            jitter: over.jitter.or(self.jitter),
            throttle_base: over.throttle_base.or(self.throttle_base),
            function: self.function,
        }
    }
}

impl From<&Backoff> for BackoffKeys {
    fn from(backoff: &Backoff) -> Self {
        let (kind, waits) = match backoff.kind() {
            BackoffKind::Urllib3 => (Kind::Urllib3, None),
            BackoffKind::Exponential => (Kind::Exponential, None),
            BackoffKind::Linear => (Kind::Linear, None),
            BackoffKind::Constant => (Kind::Constant, None),
            BackoffKind::Fibonacci => (Kind::Fibonacci, None),
            BackoffKind::List(waits) => (Kind::List, Some(waits.to_vec())),
            BackoffKind::Custom(_) => {
                return Self {
                    function: Some(backoff.clone()),
                    ..Self::default()
                };
            }
        };
        Self {
            kind: Some(kind),
            base: waits.is_none().then(|| backoff.base_as_set()),
            waits,
            max: Some(backoff.get_max()),
            multiplier: backoff.multiplier_as_set(),
            jitter: Some(backoff.get_jitter()),
            throttle_base: backoff.get_throttle_base(),
            function: None,
        }
    }
}

/// A number of seconds stays one: urllib3's factors can be finer than a duration.
pub(super) fn read_base(at: &Place, key: &str, value: &Value) -> Result<Base, InvalidConfig> {
    match value.as_f64().filter(|n| n.is_finite() && *n >= 0.0) {
        Some(factor) => Ok(Base::Factor(factor)),
        None => at.time(key, value).map(Base::Exact),
    }
}

pub(super) fn read_jitter(at: &Place, key: &str, value: &Value) -> Result<Jitter, InvalidConfig> {
    let named = JITTERS
        .iter()
        .find(|(name, _)| value.as_text() == Some(name));
    let read = match named {
        Some((_, jitter)) => Some(*jitter),
        None => around(value).or_else(|| duration(value).map(Jitter::Additive)),
    };
    read.ok_or_else(|| {
        let names = one_of(JITTERS.iter().map(|(name, _)| *name));
        let allowed = format!(
            "{names}, \"around\" and a part in 0..=1 (\"around 0.2\"), or the most that is added, \
             in seconds or as text"
        );
        at.wrong(key, value, &allowed)
    })
}

/// `around 0.2`
fn around(value: &Value) -> Option<Jitter> {
    let part = value.as_text()?.strip_prefix("around ")?.trim().parse();
    let part = part.ok().filter(|part| (0.0..=1.0).contains(part))?;
    Some(Jitter::Around(part))
}

/// A cap as it is written.
pub(super) fn cap(max: Duration) -> String {
    match max {
        Duration::MAX => "unlimited".to_owned(),
        max => time::format(max),
    }
}

impl Serialize for BackoffKeys {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.function.is_some() {
            let why = "`backoff` cannot be written: its waits are a function";
            return Err(serde::ser::Error::custom(why));
        }
        let mut map = to.serialize_map(None)?;
        let name = |kind| KINDS.iter().find(|(_, known)| *known == kind);
        if let Some((name, _)) = self.kind.and_then(name) {
            map.serialize_entry("kind", name)?;
        }
        match self.base {
            Some(Base::Exact(base)) => map.serialize_entry("base", &time::format(base))?,
            Some(Base::Factor(factor)) => map.serialize_entry("base", &factor)?,
            None => {}
        }
        if let Some(waits) = &self.waits {
            let waits: Vec<_> = waits.iter().map(|wait| time::format(*wait)).collect();
            map.serialize_entry("waits", &waits)?;
        }
        if let Some(max) = self.max {
            map.serialize_entry("max", &cap(max))?;
        }
        if let Some(multiplier) = self.multiplier {
            map.serialize_entry("multiplier", &multiplier)?;
        }
        match self.jitter {
            Some(Jitter::Additive(most)) => map.serialize_entry("jitter", &time::format(most))?,
            Some(Jitter::Around(part)) => {
                map.serialize_entry("jitter", &format_args!("around {part}"))?;
            }
            Some(jitter) => {
                let named = JITTERS.iter().find(|(_, known)| *known == jitter);
                map.serialize_entry("jitter", named.map_or("none", |(name, _)| name))?;
            }
            None => {}
        }
        if let Some(base) = self.throttle_base {
            map.serialize_entry("throttle_base", &time::format(base))?;
        }
        map.end()
    }
}
