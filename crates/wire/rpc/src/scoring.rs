//! The scorer's questions: what is this run worth, how do these two compare.

mod client;
mod server;

pub use client::{RemoteScorer, ScorerOffer};
pub use server::ScorerServer;
