//! The Postgres store.
//!
//! [`PgStore`] implements the persistence ports of `fapo_domain::ports` for a cluster: any number of processes use one database
//! at once, and any of them may die.
//!
//! * Rows are locked where they are decided upon, always in this order, so that no two transactions wait for each other: the
//!   job's row, task rows, account rows by job id, and then rows with a key of their own, by that key. A transaction that
//!   Postgres breaks off all the same (a deadlock, a failed serialization) changed nothing and is tried again, a few times.
//! * Everything runs at READ COMMITTED, where each *statement* sees what was committed before it began. So what is decided
//!   under a lock is read by a statement after the one that took it.
//! * A write after a claim reads the task's row `FOR SHARE` in its own transaction (`fence.rs`): a later claim waits for it, or
//!   was committed before and makes it `StaleLease`.
//! * Runs and steps are partitioned by month (`evaluations.rs`), so that what is old goes with its partition (`retention.rs`). Who
//!   writes rows of an evaluation holds its row, and who removes it takes that row for itself.
//! * `StepCache::put_step`, `Ledger::reserve` and `Ledger::settle` run once per model call. Concurrent ones of a process are
//!   joined into one commit, concurrent `get_step`s into one query.
//! * A commit is durable when it returns (`synchronous_commit` stays as the server has it, by default on).
//! * Time comes from the injected clock only, as milliseconds since 1970 in `bigint` columns.

mod blobs;
mod cache;
mod datasets;
mod evaluations;
mod fence;
mod findings;
mod jobs;
mod ledger;
mod migrate;
mod options;
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

pub use options::{DatabaseUrl, PgOptions};
pub use store::PgStore;
