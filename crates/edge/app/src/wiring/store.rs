//! The store that a process runs on, as one value of ports.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use fapo_domain::clock::Clock;
use fapo_store::{SqliteStore, StoreOptions};

use crate::config::server;
use crate::ports::Ports;

/// Opens the SQLite store in a file. `abort_after_commits` ends the process, as by a kill, right after so many durable commits.
/// `sole_writer` says that no other process writes while it is open.
///
/// # Errors
/// When the file cannot be used.
pub async fn open_sqlite(
    file: &Path,
    clock: &Arc<dyn Clock>,
    abort_after_commits: Option<u64>,
    sole_writer: bool,
) -> anyhow::Result<Arc<SqliteStore>> {
    let mut options = StoreOptions {
        sole_writer,
        ..StoreOptions::default()
    };
    if let Some(last) = abort_after_commits {
        options.on_commit = Some(Arc::new(move |commit| {
            if commit == last {
                std::process::abort();
            }
        }));
    }
    let store = SqliteStore::open(file, Arc::clone(clock), options)
        .await
        .with_context(|| format!("cannot use {}", file.display()))?;
    Ok(Arc::new(store))
}
