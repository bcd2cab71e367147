//! Servers and networks that fail, on real sockets and at the limits of what is possible.

mod cancellation;
mod limits;
mod matrix;
mod unreachable;
