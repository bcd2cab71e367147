//! What the tests of `tower-http-retry` share.
//!
//! [`net`] has servers that fail for real and the clients that meet them; [`probe`] has what the
//! layer's own tests are made of, without a network; a [`trip::Trip`] is one request through a layer;
//! [`program`] runs the examples.

#![allow(
    clippy::new_without_default,
    reason = "what binds a socket or makes a key should say so"
)]

pub mod net;
pub mod probe;
pub mod program;
pub mod trip;
