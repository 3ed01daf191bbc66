//! The SQLite store.
//!
//! One file in WAL mode holds everything. [`SqliteStore`] implements every persistence port of `fapo_domain::ports`:
//! blobs, datasets, variants, jobs, tasks, traces, scores, findings, proposals, sessions, the step cache, the ledger, tokens and
//! requests.
//!
//! * All writes go through one connection, each in a `BEGIN IMMEDIATE` transaction, so nothing is ever half-written and
//!   two processes on one file wait for each other instead of failing. Reads have a few connections of their own and
//!   never wait for a writer.
//! * `StepCache::put_step`, `Ledger::reserve` and `Ledger::settle` run once per model call. Concurrent ones are joined
//!   into one commit (`writer.rs`), concurrent `get_step`s into one query (`reader.rs`).
//! * With `synchronous = NORMAL` a commit survives the death of the process at any moment. It may be lost, as a whole
//!   and together with all later ones, when the machine loses power.
//! * Time comes from the injected clock only.

mod blobs;
mod cache;
mod connections;
mod datasets;
mod findings;
mod jobs;
mod ledger;
mod migrate;
mod proposals;
mod questions;
mod reader;
mod requests;
mod retention;
mod scores;
mod sessions;
mod sql;
mod store;
mod tasks;
mod tokens;
mod traces;
mod variants;
mod writer;

pub use store::{SqliteStore, StoreOptions};
