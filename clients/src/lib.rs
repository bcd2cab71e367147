//! What the tests of real clients have in common: servers that misbehave to order, places where no
//! server is, and one table of what must come of it.
//!
//! Nothing here knows any client. Each file in `tests/` puts the retry layer into one client that
//! others wrote, says at its head how that client's type is written down, sends the [`table`]
//! through it, and adds what is special about it.

pub mod expected;
pub mod grpc;
pub mod places;
pub mod script;
pub mod server;
pub mod story;
pub mod table;
pub mod tls;

pub use self::{
    expected::claim,
    places::Place,
    script::{Answer, Step},
    server::{Received, Server},
    story::Told,
    table::{Case, Outcome},
};
