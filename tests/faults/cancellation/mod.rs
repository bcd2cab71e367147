//! Rule 7: the future of a request can be dropped at any time.
//!
//! Each scenario is run once to the end, to count how often its future is polled, and then once
//! for each of these polls, at which the future is dropped: right after it, or when it is to be
//! polled again, and more has happened meanwhile. Whatever it is doing then, nothing more is sent,
//! nothing is leaked, and the budget has what was not spent.
#![cfg(all(feature = "hyper", feature = "h2"))]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the modules are parts of this test and of `fault_matrix`"
)]

mod support;

#[path = "fault_matrix/cell.rs"]
mod cell;
#[path = "cancellation/cut.rs"]
mod cut;
#[path = "fault_matrix/faults.rs"]
mod faults;
#[path = "cancellation/in_memory.rs"]
mod in_memory;
#[path = "cancellation/on_sockets.rs"]
mod on_sockets;
#[path = "fault_matrix/rules.rs"]
mod rules;
#[path = "fault_matrix/uploads.rs"]
mod uploads;
