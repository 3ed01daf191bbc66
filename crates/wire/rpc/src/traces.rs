//! Stored runs, and questions about them.

mod client;
mod convert;
mod server;

pub use client::RemoteTraces;
pub use server::TracesServer;
