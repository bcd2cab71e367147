//! The results as pictures, in one set of colours.

mod amplification;
mod loads;
mod processes;
mod tail;

pub use self::{amplification::amplification, loads::loads, processes::processes, tail::tail};

/// The amplification that a policy should stay below.
const GOAL: f64 = 1.2;
