//! What failures say, and the sessions of coding agents.

mod client;
mod convert;
mod server;

pub use client::RemoteDiagnosis;
pub use server::DiagnosisServer;
