//! Policies as documents, from the environment and from other libraries' settings.

mod documents;
mod import;
#[cfg(feature = "serde")]
mod recipes;
mod round_trip;
mod shadow;
