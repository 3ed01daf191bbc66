//! Jobs, as clients see them.

mod client;
mod convert;
mod lineage;
mod server;
mod upload;
mod watch;

pub use client::RemoteOptimizer;
pub use server::OptimizerServer;
