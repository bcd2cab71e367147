//! Policies as documents, from the environment and from other libraries' settings.

mod documents;
mod import;
mod recipes;
mod round_trip;
