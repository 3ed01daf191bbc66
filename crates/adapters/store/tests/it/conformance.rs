//! Every persistence port over SQLite in a temporary file, and over Postgres in a database of its own.

use std::sync::Arc;

use fapo_store::{PgStore, SqliteStore, StoreOptions};
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

/// The ports that Postgres has so far, beside SQLite's for the rest.
async fn open_postgres() -> anyhow::Result<Ports> {
    let (store, clock, database) = crate::postgres::open().await?;
    let ports = open().await?;
    let store = Arc::new(store);
    Ok(Ports {
        clock,
        blobs: Arc::<PgStore>::clone(&store),
        variants: Arc::<PgStore>::clone(&store),
        jobs: Arc::<PgStore>::clone(&store),
        tasks: Arc::<PgStore>::clone(&store),
        cache: Arc::<PgStore>::clone(&store),
        ledger: Arc::<PgStore>::clone(&store),
        proposals: Arc::<PgStore>::clone(&store),
        sessions: Arc::<PgStore>::clone(&store),
        tokens: Arc::<PgStore>::clone(&store),
        requests: store,
        keep: Box::new((database, ports.keep)),
        ..ports
    })
}

fapo_testkit::store_suites!(
    postgres,
    open_postgres,
    [
        blobs, variants, jobs, tasks, cache, ledger, proposals, sessions, tokens, requests,
    ]
);
