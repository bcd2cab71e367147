//! Rule 7: the future of a request can be dropped at any time.
//!
//! Each scenario is run once to the end, to count how often its future is polled, and then once
//! for each of these polls, at which the future is dropped: right after it, or when it is to be
//! polled again, and more has happened meanwhile. Whatever it is doing then, nothing more is sent,
//! nothing is leaked, and the budget has what was not spent.
#![cfg(all(feature = "hyper", feature = "h2"))]
#![allow(
    unreachable_pub,
    reason = "written as the modules of a crate of its own"
)]

mod cut;
mod in_memory;
mod on_sockets;
