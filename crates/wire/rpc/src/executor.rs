//! The executor's questions: is this pipeline right, and what does it do with this case.

mod client;
mod server;

pub use client::RemoteExecutor;
pub use server::ExecutorServer;
