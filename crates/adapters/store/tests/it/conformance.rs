//! Every persistence port over SQLite in a temporary file, and over Postgres in a database of its own.

use std::sync::Arc;

use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::clock::ManualClock;
use fapo_testkit::suites::Ports;

async fn open_with(options: StoreOptions) -> anyhow::Result<Ports> {
    let folder = tempfile::tempdir()?;
    let clock = ManualClock::new();
    let store = SqliteStore::open(
        &folder.path().join("store.db"),
        Arc::<ManualClock>::clone(&clock),
        options,
    )
    .await?;
    Ok(Ports::of(store, clock, folder))
}

async fn open() -> anyhow::Result<Ports> {
    open_with(StoreOptions::default()).await
}

/// As the binary opens it.
async fn open_alone() -> anyhow::Result<Ports> {
    open_with(StoreOptions {
        sole_writer: true,
        ..StoreOptions::default()
    })
    .await
}

fapo_testkit::store_suites!(sqlite, open);
fapo_testkit::store_suites!(sqlite_alone, open_alone);

async fn open_postgres() -> anyhow::Result<Ports> {
    let (store, clock, database) = crate::postgres::open().await?;
    Ok(Ports::of(store, clock, database))
}

fapo_testkit::store_suites!(
    postgres,
    open_postgres,
    [
        blobs, variants, datasets, jobs, tasks, traces, questions, scores, cache, ledger, findings,
        proposals, sessions, retention, tokens, requests,
    ]
);
