//! The layer among others, and around other clients.

mod admitted;
mod breaker;
#[cfg(all(feature = "connection", feature = "peek"))]
mod connection;
#[cfg(feature = "endpoints")]
mod endpoints;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(all(feature = "grpc", feature = "h2", feature = "hyper"))]
mod grpc_policy;
#[cfg(all(feature = "grpc", feature = "h2", feature = "hyper", feature = "serde"))]
mod grpcio;
#[cfg(feature = "hedge")]
mod hedge;
mod order;
#[cfg(feature = "tonic")]
mod origin;
#[cfg(feature = "peek")]
mod peek;
#[cfg(feature = "redirect")]
mod redirect;
mod reqwest_service;
#[cfg(feature = "resume")]
mod resume;
#[cfg(all(feature = "resume", feature = "h2", feature = "hyper"))]
mod resume_http2;
#[cfg(any(feature = "peek", feature = "resume"))]
mod scripted;
mod stacks;
mod talk;
mod values;
#[cfg(feature = "veto")]
mod veto;
