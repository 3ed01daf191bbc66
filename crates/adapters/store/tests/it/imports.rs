//! Imports that nobody finished.

use fapo_domain::model::case::Split;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::datasets::{Datasets, IncomingCase};
use fapo_testkit::sample;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::opening::open;

fn cases(count: u64) -> Vec<IncomingCase> {
    (0..count)
        .map(|n| {
            let case = sample::case(&format!("c{n}"), &format!("question {n}"), "answer");
            sample::incoming(Split::Train, n + 1, case)
        })
        .collect()
}

async fn rows(path: &std::path::Path) -> i64 {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .connect()
        .await
        .unwrap();
    sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM cases) + (SELECT count(*) FROM case_bodies) \
         + (SELECT count(*) FROM import_rows) + (SELECT count(*) FROM datasets)",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn an_abandoned_import_leaves_nothing_once_the_store_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    {
        let store = open(&path).await.unwrap();
        let import = store.begin_import("p").await.unwrap();
        store.import_cases(import, cases(300)).await.unwrap();
    }
    assert_eq!(rows(&path).await, 901);
    let store = open(&path).await.unwrap();
    assert_eq!(rows(&path).await, 0);
    // and its ids are free
    let import = store.begin_import("p").await.unwrap();
    assert!(
        store
            .import_cases(import, cases(3))
            .await
            .unwrap()
            .is_empty()
    );
    store.commit_import(import).await.unwrap();
    assert_eq!(rows(&path).await, 7);
}

#[tokio::test]
async fn opening_beside_a_living_import_does_not_touch_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let importer = open(&path).await.unwrap();
    let import = importer.begin_import("p").await.unwrap();
    importer.import_cases(import, cases(10)).await.unwrap();
    let other = open(&path).await.unwrap();
    let dataset = importer.commit_import(import).await.unwrap();
    assert_eq!(dataset.cases[&Split::Train], 10);
    // the import belongs to the process that began it
    let import = importer.begin_import("p").await.unwrap();
    let refused = other.import_cases(import, cases(1)).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    assert_eq!(other.get_dataset(dataset.id).await.unwrap(), dataset);
}

#[tokio::test]
async fn a_large_import_is_removed_in_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).await.unwrap();
    let kept = store.begin_import("p").await.unwrap();
    store.import_cases(kept, cases(10)).await.unwrap();
    store.commit_import(kept).await.unwrap();
    let import = store.begin_import("p").await.unwrap();
    for batch in cases(41_000).chunks(5_000) {
        store.import_cases(import, batch.to_vec()).await.unwrap();
    }
    store.abort_import(import).await.unwrap();
    assert_eq!(rows(&path).await, 21);
}
