//! How the layers of one stack talk about a request, without knowing each other.
//!
//! | direction | type | where it is | who writes it | who reads it |
//! | --- | --- | --- | --- | --- |
//! | up | [`LayerOutcome`] | the response's extensions, or a [`LayerError`] | a layer that knows more of an answer than its head says | [`RetryLayer`](crate::RetryLayer) |
//! | up | [`Rejected`] | an error | a layer that did not send the request, and knows when it would | [`RetryLayer`](crate::RetryLayer) |
//! | down | [`RequestState`] | the request's extensions | the outermost layer that sends a request more than once | every such layer below it |
//! | beside | [`Admission`] | [`RetryLayer::admission`](crate::RetryLayer::admission) | a throttle, shared hints | the attempt loop |
//!
//! A stack without such layers has none of the three and pays nothing for them: extensions are
//! searched only if there are any.

mod admission;
pub(crate) mod attempt;
#[cfg(feature = "connection")]
mod on_connection;
mod opinion;
mod outcome;
mod rejected;
mod state;
mod time_out;
#[cfg(feature = "hedge")]
mod told;

pub(crate) use self::attempt::{AttemptInfo, PreviousOutcome};
#[cfg(feature = "connection")]
pub(crate) use self::on_connection::OnConnection;
#[cfg(any(feature = "redirect", feature = "resume", feature = "telemetry"))]
pub(crate) use self::state::Lead;
#[cfg(any(feature = "connection", feature = "endpoints", feature = "hedge"))]
pub(crate) use self::time_out::say_late;
#[cfg(any(
    feature = "connection",
    feature = "endpoints",
    feature = "hedge",
    feature = "telemetry"
))]
pub(crate) use self::time_out::time_out;
#[cfg(feature = "hedge")]
pub(crate) use self::told::ToldDeadline;
pub use self::{
    admission::{Admission, Admit, Answer, Ask, AskFor, Ticket},
    opinion::Opinion,
    outcome::{LayerError, LayerOutcome},
    rejected::Rejected,
    state::RequestState,
};
pub(crate) use self::{
    outcome::Changes,
    time_out::{TimeOut, drop_late},
};

/// The timeout of one request's own attempts, for a client that has none of that kind in its
/// requests.
#[cfg(feature = "reqwest")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnTimeout(pub(crate) std::time::Duration);
