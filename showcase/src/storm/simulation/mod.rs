//! Clients with the library's own policies in front of a service that goes down, in virtual time.

mod clients;
mod clock;
mod contender;
mod events;
mod measured;
mod scenario;
mod service;

pub use self::{
    clients::run,
    contender::{Contender, OwnPolicy},
    measured::{Bin, Measured},
    scenario::Scenario,
};
