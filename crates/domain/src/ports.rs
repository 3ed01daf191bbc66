//! The ports: one trait per outside capability.
//!
//! All are async, batched and free of shared memory, so that each can stand behind a network. Each method says what it
//! guarantees: whether it is atomic, whether repeating it is harmless, and what order it keeps.

pub mod access;
pub mod agents;
pub mod blobs;
pub mod cache;
pub mod code;
pub mod datasets;
pub mod diagnosis;
pub mod jobs;
pub mod ledger;
pub mod limits;
pub mod models;
pub mod optimizer;
pub mod pipelines;
pub mod questions;
pub mod queue;
pub mod relay;
pub mod retention;
pub mod sandbox;
pub mod scores;
pub mod sessions;
pub mod store_error;
pub mod tasks;
pub mod trace_context;
pub mod traces;
pub mod variants;
pub mod work;

pub use store_error::StoreError;
