//! The policies that are compared, made of the library's own objects with their own defaults.

use std::{io, sync::Arc, time::Duration};

use tower::retry::budget::TpsBudget;
use tower_http_retry::{
    budget::{RetryBudget, RetryBudgetBuilder},
    config::RetryConfig,
    policy::{Backoff, InvalidPolicy, RetryPolicy, RetryPolicyBuilder},
    throttle::AdaptiveThrottle,
};

/// What the processes retry by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// No retry.
    None,
    /// Three, one second apart: the loop that everybody writes.
    Fixed,
    /// Three, after 100, 200 and 400 ms.
    Exponential,
    /// The same waits at most, evenly distributed: the default policy without its budget.
    FullJitter,
    /// urllib3's `Retry(total=5, backoff_factor=…, status_forcelist=[429, 500, 502, 503, 504])`,
    /// with tenths of a second as its factor.
    Urllib3 { tenths: u8 },
    /// [`RetryPolicy::default`].
    Budget,
    /// The default policy with a budget that can save up 100 tokens.
    Budget100,
    /// The default policy with a minimum of 10 retries a second for each process.
    MinPerSecond,
    /// The default policy with the quota of the AWS SDKs.
    Aws,
    /// The default policy with gRPC's `retryThrottling`, as in the example of gRFC A6.
    Grpc,
    /// The default policy with a budget for the size of the process: a minimum rate of a tenth of
    /// what it sends, and a capacity of one second of that, but of one retry at least.
    Fitted,
    /// The default policy and an [`AdaptiveThrottle`] with its defaults.
    Throttle,
    /// The default policy and a throttle that looks back 10 seconds, not 2 minutes, and refuses 9
    /// requests in 10 at most.
    QuickThrottle,
    /// The default policy with tower's [`TpsBudget`] in place of its own.
    Tower,
    /// A policy of the user's own, without mounts.
    Own(&'static OwnPolicy),
}

/// A policy from a document.
#[derive(Debug, PartialEq)]
pub struct OwnPolicy {
    /// What it is called.
    pub name: String,
    /// Its document.
    pub config: RetryConfig,
}

impl Eq for OwnPolicy {}

impl Contender {
    /// Those that are set side by side.
    pub const ALL: [Self; 13] = [
        Self::None,
        Self::Fixed,
        Self::Exponential,
        Self::FullJitter,
        Self::Urllib3 { tenths: 1 },
        Self::Urllib3 { tenths: 10 },
        Self::Tower,
        Self::Aws,
        Self::Grpc,
        Self::Budget100,
        Self::Budget,
        Self::Throttle,
        Self::QuickThrottle,
    ];

    /// A short name.
    pub fn name(self) -> String {
        match self {
            Self::None => "no retries".into(),
            Self::Fixed => "3 retries, fixed wait".into(),
            Self::Exponential => "3 retries, exponential".into(),
            Self::FullJitter => "3 retries, full jitter".into(),
            Self::Urllib3 { tenths } => {
                format!("urllib3, factor {}", f64::from(tenths) / 10.0)
            }
            Self::Tower => "tower's TpsBudget".into(),
            Self::Budget => "budget (the default)".into(),
            Self::Budget100 => "budget, capacity 100".into(),
            Self::Fitted => "budget, min 10 % of rate".into(),
            Self::MinPerSecond => "budget, min 10/s".into(),
            Self::Aws => "the AWS SDKs' quota".into(),
            Self::Grpc => "gRPC's throttling".into(),
            Self::Throttle => "budget + throttle, 2 min".into(),
            Self::QuickThrottle => "budget + throttle, 10 s".into(),
            Self::Own(own) => own.name.clone(),
        }
    }

    /// What one process has that makes `rate` requests per second. To be called where tokio's
    /// clock is the one of the simulation.
    ///
    /// # Errors
    ///
    /// The user's own document makes no policy.
    pub(super) fn process(self, rate: f64, seed: u64) -> io::Result<Process> {
        if let Self::Own(own) = self {
            // Each has a budget of its own.
            return Ok(Process {
                policy: own.config.build().map_err(io::Error::other)?,
                throttle: None,
            });
        }
        self.made(rate, seed).map_err(io::Error::other)
    }

    fn made(self, rate: f64, seed: u64) -> Result<Process, InvalidPolicy> {
        // One authority needs one slot. The table's size makes no other difference, except that
        // 100 000 of the usual size would not fit into memory.
        let budget = || RetryBudget::builder().slots(1);
        let base = || RetryPolicy::builder().budget(None);
        let default = || -> Result<RetryPolicyBuilder, InvalidPolicy> {
            Ok(RetryPolicy::builder().budget(budget().build()?))
        };
        let throttle = || AdaptiveThrottle::builder().slots(1);
        let first = Duration::from_millis(100);
        let (policy, throttle) = match self {
            Self::None | Self::Own(_) => (base().total(0), None),
            Self::Fixed => (
                base().backoff(Backoff::constant(Duration::from_secs(1))),
                None,
            ),
            Self::Exponential => (base().backoff(Backoff::exponential(first)), None),
            Self::FullJitter => (base(), None),
            Self::Urllib3 { tenths } => (
                RetryPolicy::urllib3_builder()
                    .total(5)
                    .backoff_factor(f64::from(tenths) / 10.0)
                    .status_forcelist([429, 500, 502, 503, 504]),
                None,
            ),
            Self::Tower => {
                let budget = RetryBudget::from_tower(Arc::new(TpsBudget::default()));
                (base().budget(budget), None)
            }
            Self::Budget => (default()?, None),
            Self::Budget100 => (base().budget(budget().capacity(100).build()?), None),
            Self::Fitted => {
                let tenth = rate / 10.0;
                // Less than a thousandth is nothing.
                let least = if tenth < 0.001 { 0.0 } else { tenth };
                let budget = budget().min_ratio(0.0).min_per_second(least);
                (
                    base().budget(budget.capacity(tenth.max(1.0)).build()?),
                    None,
                )
            }
            Self::MinPerSecond => {
                let budget = budget().min_ratio(0.0).min_per_second(10).capacity(10);
                (base().budget(budget.build()?), None)
            }
            Self::Aws => (
                base().budget(RetryBudgetBuilder::aws().slots(1).build()?),
                None,
            ),
            Self::Grpc => {
                let budget = RetryBudgetBuilder::grpc(10, 0.1).slots(1);
                (base().budget(budget.build()?), None)
            }
            Self::Throttle => (default()?, Some(throttle().build()?)),
            Self::QuickThrottle => {
                let window = Duration::from_secs(10);
                let throttle = throttle().window(window).max_probability(0.9).build()?;
                (default()?, Some(throttle))
            }
        };
        Ok(Process {
            policy: policy.seed(seed).build()?,
            throttle,
        })
    }
}

/// What the requests of a process share.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) policy: RetryPolicy,
    pub(super) throttle: Option<AdaptiveThrottle>,
}
