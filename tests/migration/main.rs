//! What other libraries document, written with this one: for each, ten uses and what comes of them.
//!
//! A row says what the user wants, how it is written here, and what the server then sees: the waits
//! between the attempts, and how the request ends.

mod backon;
mod dotnet;
mod reqwest_retry;
mod table;
mod tower_retry;
mod urllib3;
