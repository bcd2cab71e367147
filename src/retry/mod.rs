//! The attempt loop: [`RetryLayer`], [`Retry`] and [`ResponseFuture`]. It is the only place that
//! sleeps, reads a clock or drops a response.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `layer`, `headers`, `lint`, `settings` | what a user says, and what a request brings along |
//! | `lint`, `rehearse` | what is wrong with a layer, and what it would do |
//! | `service` | how a request starts |
//! | `future` | the future, and the loop over its states |
//! | `states` | one function for each state |
//! | `verdict` | what becomes of an attempt that has ended, by the rules of the kernel |
//! | `ending` | the ends that come from outside of an attempt's outcome |
//! | `admissions` | the request's dealings with what may hold it back or refuse it |
//! | `kept`, `history`, `extras`, `clock` | what is remembered of a request |
//! | `counted` | what is counted of it, where the layer has metrics |
//! | `told`, `depth` | what the server is told in an attempt's head, and what those further out say |
//! | `drain` | how a failed response is read to its end |

mod admissions;
mod clock;
mod counted;
#[cfg_attr(not(feature = "headers"), allow(dead_code, unreachable_pub))]
mod depth;
mod drain;
mod ending;
mod extras;
mod future;
mod history;
mod kept;
mod layer;
// After the layer, whose page begins with what makes it.
#[cfg(feature = "headers")]
mod headers;
mod lint;
#[cfg(feature = "dry-run")]
mod rehearse;
mod service;
mod settings;
mod states;
mod told;
mod verdict;

#[cfg(feature = "headers")]
pub use self::depth::RetryDepth;
pub(crate) use self::settings::LayerSettings;
#[cfg(feature = "dry-run")]
pub(crate) use self::settings::RequestOptions;
pub use self::{
    future::ResponseFuture,
    layer::RetryLayer,
    service::Retry,
    settings::{DrainLimit, RequestDeadline, RetryContext},
};
