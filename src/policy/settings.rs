//! The settings of a policy, all in one table.
//!
//! From it are made the fields and what the presets have in them (here), the setters of
//! [`RetryPolicyBuilder`](super::RetryPolicyBuilder), the getters and the `Debug` of
//! [`RetryPolicy`](super::RetryPolicy), and what documents and the environment say. A new setting
//! is a row here, and a test of what it does.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, Method, StatusCode};

use super::{
    Backoff, Jitter, Limit, Methods, Preset, ResetHeader, RetryAfterMode,
    grpc::{self, CodeSet},
    hints::Hints,
    limit::{PerKind, StatusSet},
};
use crate::budget::RetryBudget;

/// Hands the table to a macro.
///
/// A row has the setting's name, which is its key in documents, and its kind; what each preset
/// has; and four texts: what the setter does (the row's own comment), what the getter returns,
/// what a document may say, and what the default preset has, with the reason.
///
/// The limits are no rows: they are one for each `LimitKind`.
macro_rules! settings_table {
    ($then:ident) => {
        $then! {
            /// How often a request that was never processed (cancelled in the pool,
            /// REFUSED_STREAM, GOAWAY) is sent again at once and for any method, outside of the
            /// counts and the budget.
            ///
            /// RFC 9113, section 8.7, is the reason why that is safe. Has no effect on the
            /// urllib3 preset, which counts these as connect failures, and none when `total`
            /// allows no retry at all, which to gRPC is no reason.
            unprocessed: Count {
                presets: { Default => 2, Urllib3 => 0, Grpc => 1 },
                get: "How often a request that was refused unprocessed is sent again outside of the counts.",
                key: "a number of retries",
                why: "2 | what a server refused unprocessed is sent again at once, for any method, outside of the counts (RFC 9113, section 8.7)",
            }
            /// The methods that may be repeated although the request may have been applied:
            /// [`Methods::any`], or a set. The empty set means none.
            allowed_methods: MethodSet {
                presets: {
                    Default => Methods::idempotent(),
                    Urllib3 => Methods::urllib3(),
                    // The codes say what may be repeated.
                    Grpc => Methods::any(),
                },
                get: "The methods that may be repeated.",
                key: "a list, of which an empty one means none, `\"idempotent\"` for all of [`Methods::idempotent`](crate::policy::Methods::idempotent), or `\"any\"` (`false`, `null`)",
                why: "[`Methods::idempotent`]: GET HEAD OPTIONS TRACE PUT DELETE QUERY PROPFIND and the others of IANA's registry | RFC 9110, section 9.2.2; another method is repeated only after a connect failure, or with an `Idempotency-Key` header or [`Idempotent`](super::Idempotent) mark",
            }
            /// The statuses that are retried, in 100..=999.
            status_forcelist: Statuses {
                presets: {
                    Default => [408, 425, 429, 500, 502, 503, 504].into(),
                    Urllib3 | Grpc => [].into(),
                },
                get: "The statuses that are retried, in ascending order.",
                key: "a list of statuses",
                why: "408 425 429 500 502 503 504 | the statuses that say \"not now\"; 501 and 505 say \"never\". One from 500 on that is not registered, Cloudflare's 520 for instance, is as good as 500 (RFC 9110, section 15)",
            }
            /// The gRPC codes that are retried.
            ///
            /// Under the gRPC preset whoever lists a code says with it that a call that ends so
            /// may be sent again, so the method is not asked about. Under the default preset the
            /// rule for the method holds as for any status; on the urllib3 preset it has no
            /// effect.
            retryable_status_codes: Codes {
                presets: { Default | Grpc => CodeSet::UNAVAILABLE, Urllib3 => CodeSet::NONE },
                get: "The gRPC codes that are retried, in ascending order.",
                key: "a list of gRPC codes by name: `[\"UNAVAILABLE\"]`",
                why: "UNAVAILABLE | the gRPC code that says \"not now\"",
            }
            /// The statuses that say that the server did not process the request, so that it is sent
            /// again for any method. A status counts only where
            /// [`status_forcelist`](Self::status_forcelist) has it, too. Has no effect on the
            /// urllib3 preset.
            ///
            /// Whoever adds one vouches for it, and the report says so: for 401, 408, 417 or 429 of a
            /// server that is known to look at the request no further.
            unprocessed_statuses: Statuses {
                presets: { Default | Grpc => [421, 425].into(), Urllib3 => [].into() },
                get: "The statuses that say that a request was not processed, in ascending order.",
                key: "a list of statuses",
                why: "421 425 | a server that answers so did not process the request (RFC 9110, section 15.5.20; RFC 8470, section 5.2)",
            }
            /// The statuses after which a request is sent again once at most, each: a 425, or a 401
            /// for which a hook gets a new token. A status counts only where
            /// [`status_forcelist`](Self::status_forcelist) has it, too. Has no effect on the
            /// urllib3 preset.
            once_statuses: Statuses {
                presets: { Default | Grpc | Urllib3 => [].into() },
                get: "The statuses after which a request is sent again once at most, in ascending order.",
                key: "a list of statuses",
                why: "none | `total` and `status` limit them all",
            }
            /// Whether the server's `Retry-After` is obeyed, and under the default preset every
            /// other hint of [`hints`](super::hints). None of them is read when this is `false`.
            respect_retry_after_header: Flag {
                presets: { Default | Urllib3 | Grpc => true },
                get: "Whether the server's hints are obeyed.",
                key: "`true` or `false`",
                why: "true | the server knows better; RFC 9110, section 10.2.3",
            }
            /// The longest wait that a server can ask for.
            retry_after_max: Cap {
                presets: {
                    Default => Duration::from_secs(60),
                    Urllib3 => Duration::from_secs(21_600),
                    // gRPC's pushback has no cap but the deadline.
                    Grpc => Duration::MAX,
                },
                get: "The longest wait that a server can ask for.",
                key: "a duration, or `\"unlimited\"`",
                why: "60 s | what asks for more is an outage, and someone else's to wait for",
            }
            /// What happens when a server asks for more than
            /// [`retry_after_max`](Self::retry_after_max).
            retry_after_mode: Mode {
                presets: {
                    Default | Grpc => RetryAfterMode::GiveUp,
                    Urllib3 => RetryAfterMode::Clamp,
                },
                get: "What happens when a server asks for more.",
                key: "`\"clamp\"` or `\"give_up\"`",
                why: "give up | coming back earlier than asked is a broken promise, waiting longer is a broken client",
            }
            /// Adds up to this part of what the server asks for to the wait, evenly distributed,
            /// so that clients that were told the same time do not come back together: 0.1 is a
            /// tenth. In 0..=1.
            ///
            /// Nothing is ever taken away, and what is compared with
            /// [`retry_after_max`](Self::retry_after_max) is what the server asks for. gRPC's
            /// pushback is exact and has no jitter.
            retry_after_jitter: Part {
                presets: { Default => 0.1, Urllib3 | Grpc => 0.0 },
                get: "The most that is added to what a server asks for, as a part of it.",
                key: "a number in 0..=1",
                why: "a tenth | a crowd that was told the same second should not come back in it; nobody comes earlier than told",
            }
            /// The header in which the server forbids retries with `false`, `x-should-retry` by
            /// default; `None` if no such header counts. Has no effect on the urllib3 preset.
            should_retry_header: Header {
                presets: {
                    Default => Some(HeaderName::from_static("x-should-retry")),
                    Urllib3 | Grpc => None,
                },
                get: "The header in which a server forbids retries.",
                key: "the name of a header, or `false`",
                why: "`x-should-retry` | see [`hints`](super::hints) for all that a server can say, and what comes first",
            }
            /// The headers that say when a rate limit starts anew, in the order in which they are
            /// to be read, in place of [`ResetHeader::defaults`]. Has no effect on the urllib3
            /// preset.
            reset_headers: Resets {
                presets: {
                    Default => ResetHeader::defaults().into(),
                    Urllib3 | Grpc => Arc::default(),
                },
                get: "The headers that say when a rate limit starts anew, in the order in which they are read.",
                key: "a list of header names, or of tables with `name`, `format` (`\"auto\"`, `\"seconds\"`, `\"milliseconds\"`, `\"epoch\"`, `\"go_duration\"` or `\"rfc3339\"`) and `remaining`; see [`ResetHeader`](crate::policy::ResetHeader)",
                why: "[the usual ones](ResetHeader::defaults) | a limit that starts anew in ten seconds is no reason to come back after one",
            }
            /// Whether a failure status becomes an error once its retries are used up. By default,
            /// and when this is `false`, the last response is returned with its body untouched.
            raise_on_status: Flag {
                presets: { Default | Grpc => false, Urllib3 => true },
                get: "Whether a failure status is an error once its retries are used up.",
                key: "`true` or `false`",
                why: "false | the caller gets the last response, body and all",
            }
            /// Makes all jitter repeatable: the n-th request of the policy always draws the same
            /// numbers.
            seed: Seed {
                presets: { Default | Urllib3 | Grpc => None },
                get: "The seed of all jitter, where it is repeatable.",
                key: "a whole number",
                why: "none | only a test wants to know what will be drawn",
            }
            /// The backoff as a whole: its kind, base, cap and jitter.
            backoff: Waits {
                presets: {
                    Default => Backoff::exponential(Duration::from_millis(100))
                        .max(Duration::from_secs(20))
                        .jitter(Jitter::Full),
                    Urllib3 => Backoff::urllib3(0.0),
                    Grpc => grpc::backoff(),
                },
                get: "The waits between attempts.",
                key: "a table; see below",
                why: "exponential, 100 ms doubling to 20 s, full jitter | spreads clients best for the least work (AWS Architecture Blog, \"Exponential Backoff And Jitter\")",
            }
            /// The budget that all requests under this policy share, or `None` for no such
            /// protection.
            budget: Budget {
                presets: {
                    Default => Some(RetryBudget::default()),
                    Urllib3 => None,
                    Grpc => Some(grpc::throttling()),
                },
                get: "The budget that all requests under this policy, and under its clones, share.",
                key: "a table, see below, or `false`",
                why: "20 % of the successes, 10 % of what fails, 20 at once | retries cannot multiply an overload (Google SRE book, \"Handling Overload\")",
            }
        }
    };
}
pub(crate) use settings_table;

/// What a setting of each kind is in memory.
macro_rules! stored {
    (Budget) => { Option<RetryBudget> };
    (Cap) => { Duration };
    (Codes) => { CodeSet };
    (Count) => { u32 };
    (Flag) => { bool };
    (Header) => { Option<HeaderName> };
    (MethodSet) => { Methods };
    (Mode) => { RetryAfterMode };
    (Part) => { f64 };
    (Resets) => { Arc<[ResetHeader]> };
    (Seed) => { Option<u64> };
    (Statuses) => { StatusSet };
    (Waits) => { Backoff };
}

macro_rules! fields {
    ($(
        $(#[$doc:meta])*
        $name:ident: $kind:ident {
            presets: { $($($preset:ident)|+ => $value:expr),+ $(,)? },
            $($text:ident: $what:literal,)*
        }
    )*) => {
        /// Everything a policy can be told.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct Settings {
            pub(crate) preset: Preset,
            pub(crate) limits: PerKind<Limit>,
            $(pub(crate) $name: stored!($kind),)*
        }

        impl Settings {
            /// What `preset` has.
            pub(super) fn of(preset: Preset) -> Self {
                Self {
                    preset,
                    limits: limits(preset),
                    $($name: match preset { $($(Preset::$preset)|+ => $value,)+ },)*
                }
            }
        }
    };
}
settings_table!(fields);

/// A limit for all retries together, and none for the single kinds.
fn limits(preset: Preset) -> PerKind<Limit> {
    let total = match preset {
        Preset::Default | Preset::Grpc => 3,
        Preset::Urllib3 => 10,
    };
    let none = Limit::Unlimited;
    PerKind::new([Limit::AtMost(total), none, none, none, none, none])
}

impl Settings {
    /// Which of a server's hints are read.
    pub(super) fn hints(&self) -> Hints<'_> {
        Hints {
            should_retry: self.should_retry_header.as_ref(),
            resets: &self.reset_headers,
        }
    }

    /// The statuses below 400 that are no success by themselves.
    pub(super) fn asked(&self) -> StatusSet {
        let mut asked = self.status_forcelist.clone();
        if self.preset == Preset::Grpc {
            // Without a `grpc-status`, all but 200 are failures.
            for status in (100..400).filter(|status| *status != 200) {
                asked.insert(status);
            }
        }
        asked
    }

    /// Whether `status` is retried. Under the default preset a status from 500 on that is not
    /// registered is "equivalent to the x00 status code of that class", and one from 600 on is
    /// treated "as if it were a 5xx" (RFC 9110, section 15).
    pub(super) fn lists(&self, status: StatusCode) -> bool {
        let code = status.as_u16();
        self.status_forcelist.contains(code)
            || self.preset == Preset::Default
                && code >= 500
                && !REGISTERED_5XX.contains(&code)
                && self.status_forcelist.contains(500)
    }

    pub(super) fn allows(&self, method: &Method) -> bool {
        match self.preset {
            Preset::Urllib3 => self.allowed_methods.contains_upper(method),
            Preset::Default | Preset::Grpc => self.allowed_methods.contains(method),
        }
    }
}

/// The server errors of IANA's registry of status codes, as of 2026-11.
const REGISTERED_5XX: [u16; 11] = [500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511];
