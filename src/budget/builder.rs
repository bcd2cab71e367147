//! The settings of a budget, and what is allowed for them.

use super::{
    Costs, Inner, Mode, OwnLine, RetryBudget, Rules, Scope, Store,
    bucket::{Limits, MAX_UNITS, UNITS_PER_TOKEN},
    table::Table,
};
use crate::reason::{FailureKind, InvalidPolicy};

/// What the default gives to a process whose requests all fail: a tenth of its own rate, and
/// something for one that hardly sends any.
const MIN_RATIO: f64 = 0.1;
const MIN_PER_SECOND: f64 = 0.005;

/// What the default capacity holds of a minimum rate, and at least.
const CAPACITY_SECONDS: f64 = 1.0;
const LEAST_DEFAULT_CAPACITY: f64 = 20.0;

const SLOTS: usize = 1024;
const MAX_SLOTS: usize = 1 << 20;

const AMOUNT: &str = "0, or from 0.001 to 268435";
const CAPACITY: &str = "from 0.001 to 268435";
const MIN_RATIOS: &str = "0, or from 0.001 to 1";
const RATIO: &str = "0, or from 0.001 to 1000";

/// Builds a [`RetryBudget`]; see [`RetryBudget::builder`].
///
/// Amounts are in tokens, of which a retry takes one unless a [`cost`](Self::cost) is set. They
/// are rounded to a thousandth; an amount that this would make 0 is an error.
#[derive(Clone, Debug)]
#[must_use]
pub struct RetryBudgetBuilder {
    ratio: f64,
    min_ratio: f64,
    min_per_second: f64,
    capacity: Option<f64>,
    costs: [f64; 4],
    throttle_cost: Option<f64>,
    kind: Kind,
    scope: Scope,
    slots: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Aws,
    Grpc,
}

impl RetryBudgetBuilder {
    pub(super) fn new() -> Self {
        Self {
            ratio: 0.2,
            min_ratio: MIN_RATIO,
            min_per_second: MIN_PER_SECOND,
            capacity: None,
            costs: [1.0; 4],
            throttle_cost: None,
            kind: Kind::Plain,
            scope: Scope::PerAuthority,
            slots: SLOTS,
        }
    }

    /// The settings of [`RetryBudget::aws`].
    pub fn aws() -> Self {
        Self {
            ratio: 1.0,
            min_ratio: 0.0,
            min_per_second: 0.0,
            capacity: Some(500.0),
            costs: [14.0; 4],
            throttle_cost: Some(5.0),
            kind: Kind::Aws,
            ..Self::new()
        }
    }

    /// The settings of [`RetryBudget::grpc`]; `max_tokens` is the capacity.
    pub fn grpc(max_tokens: u32, token_ratio: f64) -> Self {
        // A6 ignores further decimals. The small addend is for decimals that have no exact
        // binary form: 0.29 times 1000 must not become 289.
        let ratio = (token_ratio * 1000.0 + 1e-6).floor() / 1000.0;
        Self {
            ratio: if ratio == 0.0 { token_ratio } else { ratio },
            min_ratio: 0.0,
            min_per_second: 0.0,
            capacity: Some(f64::from(max_tokens)),
            kind: Kind::Grpc,
            ..Self::new()
        }
    }

    /// As a configuration has them.
    #[cfg(feature = "serde")]
    pub(super) fn written(self, kind: super::BudgetKind) -> super::Written {
        super::Written {
            kind,
            ratio: self.ratio,
            min_ratio: self.min_ratio,
            min_per_second: self.min_per_second,
            capacity: self.capacity,
            costs: self.costs,
            throttle_cost: self.throttle_cost,
            shared: false,
            slots: None,
        }
    }

    /// The tokens that a success earns: 0.2 allows for retries that are 20 % of the successes.
    /// Default 0.2; 0, or from 0.001 to 1000.
    pub fn ratio(mut self, tokens: f64) -> Self {
        self.ratio = tokens;
        self
    }

    /// The tokens that a request earns that fails and asks for a retry, once: what is left to a
    /// process when nothing succeeds, as a part of what it sends. Default 0.1, in 0..=1; 0, or
    /// from 0.001.
    ///
    /// It is a minimum that follows the process's own rate: of 100 requests a second that fail, 10
    /// are repeated in a second, of one in 10 seconds it is one in 100. A rate of retries that is
    /// set in seconds cannot do that: 10 a second are a tenth of what a busy process sends, and no
    /// limit for one that sends a request a second; many such processes are together a storm that
    /// none of them sees.
    pub fn min_ratio(mut self, tokens: f64) -> Self {
        self.min_ratio = tokens;
        self
    }

    /// The tokens that are earned each second without any request. Default 0.005, which is one in
    /// 200 seconds, so that a client that sends a request now and then, each of which fails once,
    /// is not without retries for ever; 0, or from 0.001 to 268 435.
    ///
    /// With a budget per authority each authority has this rate to itself. It is credited in
    /// steps of 10 ms, for up to 21 years after the budget was built.
    ///
    /// It is a rate for each process, whatever that sends; see [`min_ratio`](Self::min_ratio) for
    /// what that means for many of them.
    pub fn min_per_second(mut self, tokens: impl Into<f64>) -> Self {
        self.min_per_second = tokens.into();
        self
    }

    /// The tokens that can be saved up, and that a bucket starts with: how many retries may come
    /// at once. From 0.001 to 268 435, and not less than the highest cost.
    ///
    /// By default what the minimum rate earns in one second, at least 20 and what two retries of
    /// the highest cost take. So 20 requests that fail at the same time, those in flight on a
    /// connection that breaks, for instance, are all repeated.
    ///
    /// What is saved up is what a fault begins with. A process that makes *r* requests a second
    /// of a server that fails them all adds, in the first *t* seconds, at most
    ///
    /// > min_ratio + (capacity + min_per_second · *t*) / (*r* · *t*)
    ///
    /// of its own load. With the defaults that is 10 % and 20 requests: 30 % in the first second
    /// and 10 % in the long run at 100 requests a second, 43 % in the first 10 minutes at one
    /// request in 10 seconds. A capacity of 100 would add 110 % in that first second, just when
    /// the server has the least to spare; in the simulation `showcase/examples/storm` it makes a
    /// service that had 40 % of its capacity for 3 seconds need 9 seconds to recover, and not 3.5.
    ///
    /// A process that sends little can spend what it has saved up on three retries of each
    /// request for a while: for about a minute at one request in 10 seconds. A fleet of such
    /// processes is a storm for as long as that lasts, and a lower capacity makes it shorter.
    ///
    /// A higher one is of use where more requests fail at once and the server is well.
    pub fn capacity(mut self, tokens: impl Into<f64>) -> Self {
        self.capacity = Some(tokens.into());
        self
    }

    /// The tokens that a retry after a failure of `kind` takes. Default 1; 0 makes such retries
    /// free.
    pub fn cost(mut self, kind: FailureKind, tokens: impl Into<f64>) -> Self {
        self.costs[index(kind)] = tokens.into();
        self
    }

    /// The tokens that a retry takes when the server asked for less load (429, for instance),
    /// whatever the failure's kind. By default the kind's cost.
    pub fn throttle_cost(mut self, tokens: impl Into<f64>) -> Self {
        self.throttle_cost = Some(tokens.into());
        self
    }

    /// Which requests share a bucket. Default [`Scope::PerAuthority`].
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// How many keys can have a bucket at the same time; of no interest with [`Scope::Shared`].
    /// Default 1024; from 1 to 1 048 576, rounded up to a power of two of at least 8. A slot
    /// takes 16 bytes, all of which are allocated when the budget is built.
    ///
    /// Only keys that asked for a retry have a bucket, and it passes to another key as soon as
    /// it is full again (after `capacity / min_per_second` seconds at the latest) or, without a
    /// minimum rate, was not asked for 60 seconds. Tokens are never made by that: a bucket
    /// passes on as it is. A key that finds none of the 8 slots where it may live has to share
    /// another key's bucket for the moment, and earns nothing: too few retries rather than too
    /// many.
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// Builds the budget.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of its range, and also one that could never grant a
    /// retry: a cost above the capacity, or neither a ratio nor a minimum.
    pub fn build(self) -> Result<RetryBudget, InvalidPolicy> {
        let rules = self
            .rules()
            .map_err(|wrong| InvalidPolicy::new(wrong.field, wrong.value, wrong.allowed))?;
        if !(1..=MAX_SLOTS).contains(&self.slots) {
            return Err(InvalidPolicy::new("slots", self.slots, "from 1 to 1048576"));
        }
        Ok(self.finish(rules))
    }

    /// For settings that are known to be valid. It does not contain what an error says, since to print
    /// floats takes 17 KB.
    pub(crate) fn build_unchecked(self) -> RetryBudget {
        match self.rules() {
            Ok(rules) => self.finish(rules),
            Err(wrong) => unreachable!("the presets are valid, but {}", wrong.field),
        }
    }

    fn finish(self, rules: Rules) -> RetryBudget {
        let store = match self.scope {
            Scope::Shared => Store::One(OwnLine::default()),
            Scope::PerAuthority | Scope::Key(_) => Store::Many(Table::new(self.slots)),
        };
        Inner::new(rules, self.scope, store)
    }

    fn rules(&self) -> Result<Rules, Wrong> {
        let deposit = units("ratio", self.ratio, 1000 * UNITS_PER_TOKEN, RATIO)?;
        let rate = units("min_per_second", self.min_per_second, MAX_UNITS, AMOUNT)?;
        let min_deposit = units("min_ratio", self.min_ratio, UNITS_PER_TOKEN, MIN_RATIOS)?;
        if deposit == 0 && rate == 0 && min_deposit == 0 {
            return Err(Wrong::new(
                "ratio",
                self.ratio,
                "more than 0, or a min_ratio or min_per_second of more than 0",
            ));
        }
        let cost = |field, tokens| units(field, tokens, MAX_UNITS, AMOUNT);
        let costs = Costs {
            connect: cost("cost", self.costs[0])?,
            read: cost("cost", self.costs[1])?,
            status: cost("cost", self.costs[2])?,
            other: cost("cost", self.costs[3])?,
            throttled: match self.throttle_cost {
                Some(tokens) => Some(cost("throttle_cost", tokens)?),
                None => None,
            },
        };
        let highest = self.costs.iter().copied().fold(0.0, f64::max);
        let capacity = self.capacity.unwrap_or_else(|| {
            (self.min_per_second * CAPACITY_SECONDS)
                .max(LEAST_DEFAULT_CAPACITY)
                .max(2.0 * highest.max(self.throttle_cost.unwrap_or(0.0)))
                .min(f64::from(MAX_UNITS / UNITS_PER_TOKEN))
        });
        if matches!(self.kind, Kind::Grpc) && !(1.0..=1000.0).contains(&capacity) {
            return Err(Wrong::new("max_tokens", capacity, "from 1 to 1000"));
        }
        let capacity_units = units("capacity", capacity, MAX_UNITS, CAPACITY)?;
        if capacity_units == 0 {
            return Err(Wrong::new("capacity", capacity, CAPACITY));
        }
        for (field, tokens, units) in [
            ("cost", self.costs[0], costs.connect),
            ("cost", self.costs[1], costs.read),
            ("cost", self.costs[2], costs.status),
            ("cost", self.costs[3], costs.other),
            (
                "throttle_cost",
                self.throttle_cost.unwrap_or(0.0),
                costs.throttled.unwrap_or(0),
            ),
        ] {
            if units > capacity_units {
                return Err(Wrong::new(field, tokens, "at most the capacity"));
            }
        }
        Ok(Rules {
            limits: Limits {
                capacity: capacity_units,
                rate,
            },
            deposit,
            min_deposit,
            costs,
            mode: match self.kind {
                Kind::Plain => Mode::Plain,
                Kind::Aws => Mode::GivesBack,
                Kind::Grpc => Mode::Threshold(capacity_units / 2),
            },
        })
    }
}

/// A number that is out of its range.
struct Wrong {
    field: &'static str,
    value: f64,
    allowed: &'static str,
}

impl Wrong {
    fn new(field: &'static str, value: f64, allowed: &'static str) -> Self {
        Self {
            field,
            value,
            allowed,
        }
    }
}

fn index(kind: FailureKind) -> usize {
    match kind {
        FailureKind::Connect => 0,
        FailureKind::Read => 1,
        FailureKind::Status => 2,
        FailureKind::Other => 3,
    }
}

/// `tokens` in units, rounded to the nearest; an error if it is no number, out of range, or
/// vanishes by the rounding.
fn units(field: &'static str, tokens: f64, max: u32, allowed: &'static str) -> Result<u32, Wrong> {
    let scaled = (tokens * f64::from(UNITS_PER_TOKEN)).round();
    let vanishes = scaled == 0.0 && tokens != 0.0;
    if vanishes || !(0.0..=f64::from(max)).contains(&scaled) {
        return Err(Wrong::new(field, tokens, allowed));
    }
    Ok(scaled as u32)
}
