//! Every persistence port over SQLite in a temporary file.

use std::sync::Arc;

use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::clock::ManualClock;
use fapo_testkit::suites::Ports;

async fn open() -> anyhow::Result<Ports> {
    let folder = tempfile::tempdir()?;
    let clock = ManualClock::new();
    let store = SqliteStore::open(
        &folder.path().join("store.db"),
        Arc::<ManualClock>::clone(&clock),
        StoreOptions::default(),
    )
    .await?;
    Ok(Ports::of(store, clock, folder))
}

fapo_testkit::store_suites!(sqlite, open);
