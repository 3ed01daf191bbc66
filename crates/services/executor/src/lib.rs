//! Runs pipelines over cases: steps in parallel, caps, cache, traces.

mod config;
mod json;
mod key;
mod outcome;
mod plan;
pub mod retrieval;
mod run;
mod sample;
mod steps;
mod trace;

pub use config::ExecutorConfig;
