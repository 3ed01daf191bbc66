//! What is seen from inside only: a disk that is full (made by SQLite's own limit on the number of pages), damaged rows, and
//! the index that lags behind.

use std::sync::Arc;

use fapo_domain::model::case::Split;
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::traces::{StepsOf, Traces};
use fapo_domain::ports::variants::Variants;
use fapo_testkit::clock::ManualClock;
use fapo_testkit::sample;

use super::*;
use crate::sqlite::sql::args;

async fn store(folder: &Path) -> SqliteStore {
    SqliteStore::open(
        &folder.join("store.db"),
        ManualClock::new(),
        StoreOptions::default(),
    )
    .await
    .unwrap()
}

/// Lets the file grow by so many pages and no further.
async fn allow_pages(store: &SqliteStore, pages: i64) {
    let mut writer = store.writer().await;
    let mut tx = writer.begin().await.unwrap();
    let count: i64 = args()
        .query("PRAGMA page_count")
        .fetch_one(&mut *tx)
        .await
        .unwrap()
        .column(0)
        .unwrap();
    let limit = format!("PRAGMA max_page_count = {}", count + pages);
    sqlx::raw_sql(sqlx::AssertSqlSafe(limit))
        .execute(&mut *tx)
        .await
        .unwrap();
}

fn noise(bytes: usize) -> Arc<[u8]> {
    (0u64..)
        .flat_map(|n| *fapo_domain::ContentHash::of(&n.to_le_bytes()).as_bytes())
        .take(bytes)
        .collect()
}

#[tokio::test]
async fn a_full_disk_is_told_with_its_place_and_nothing_is_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let evaluation = sample::evaluation_id("e");
    let before = vec![sample::run_record(evaluation, 0)];
    store.record_runs(None, before.clone()).await.unwrap();
    allow_pages(&store, 4).await;

    let runs = (0..256)
        .map(|n| sample::run_record(evaluation, n))
        .collect();
    let error = store.record_runs(None, runs).await.unwrap_err();
    let StoreError::Unwritable { place, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(place.ends_with("store.db"));
    assert!(
        fapo_domain::error::chain(&error).contains("full"),
        "{error:?}"
    );
    let all: Vec<u64> = (0..256).collect();
    assert_eq!(
        store.runs(evaluation, &all, StepsOf::All).await.unwrap(),
        before
    );

    let error = store.put_blobs(vec![noise(100_000)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unwritable { .. }));
    let mut tree = sample::variant_tree("x");
    tree.insert("large", noise(100_000));
    let error = store.put_variant(&tree).await.unwrap_err();
    assert!(matches!(error, StoreError::Unwritable { .. }));
    assert!(store.get_variant(tree.id()).await.is_err());
    let import = store.begin_import("p").await.unwrap();
    let cases = (0..5_000).map(|n| {
        let case = sample::case(&format!("c{n}"), "a question", "an answer");
        sample::incoming(Split::Train, n, case)
    });
    let error = store
        .import_cases(import, cases.collect())
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Unwritable { .. }));

    // space again: the same store goes on
    allow_pages(&store, 1_000_000).await;
    let runs = (0..256)
        .map(|n| sample::run_record(evaluation, n))
        .collect();
    store.record_runs(None, runs).await.unwrap();
    assert_eq!(
        store
            .runs(evaluation, &all, StepsOf::All)
            .await
            .unwrap()
            .len(),
        256
    );
}

#[tokio::test]
async fn joined_writers_all_hear_of_a_full_disk_and_can_go_on_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    allow_pages(&store, 2).await;
    let large = |number| {
        let mut entry = sample::cache_entry(number);
        let text: String = noise(20_000)
            .iter()
            .map(|byte| char::from(byte % 64 + 48))
            .collect();
        entry.step.output = sample::output(&text);
        entry
    };
    let writes = (0..20).map(|number| store.put_step(large(number), None));
    for outcome in futures::future::join_all(writes).await {
        assert!(
            matches!(outcome, Err(StoreError::Unwritable { .. })),
            "{outcome:?}"
        );
    }
    let fingerprint = large(0).fingerprint;
    assert!(!store.has_any(fingerprint).await.unwrap());
    allow_pages(&store, 1_000_000).await;
    store.put_step(large(1), None).await.unwrap();
    assert!(store.has_any(fingerprint).await.unwrap());
    let found = store.get_step(large(1).key, fingerprint).await.unwrap();
    assert_eq!(found, Some(large(1).step));
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let entry = sample::cache_entry(1);
    store.put_step(entry.clone(), None).await.unwrap();
    {
        let mut writer = store.writer().await;
        let mut tx = writer.begin().await.unwrap();
        args()
            .bytes(vec![9, 9, 9])
            .query("UPDATE step_cache SET body = ?")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    let error = store
        .get_step(entry.key, entry.fingerprint)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

/// Many more than wait for the index at a time, with keys that come twice.
#[tokio::test(flavor = "multi_thread")]
async fn entries_are_found_before_and_after_they_are_indexed_and_the_first_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let entry = |number: u32, text: &str| {
        let mut entry = sample::cache_entry(number);
        entry.step.output = sample::output(text);
        entry
    };
    let indexed = async || {
        let row = args()
            .query("SELECT (SELECT count(*) FROM step_index), (SELECT count(*) FROM step_cache)")
            .fetch_one(&mut *store.reader().await)
            .await
            .unwrap();
        (row.number(0).unwrap(), row.number(1).unwrap())
    };
    let put = async |numbers: std::ops::Range<u32>, text: &'static str| {
        let writes = numbers.map(|number| store.put_step(entry(number, text), None));
        futures::future::try_join_all(writes).await.unwrap();
    };
    let check = async |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let want = entry(number, "first");
            let found = store.get_step(want.key, want.fingerprint).await.unwrap();
            assert_eq!(found, Some(want.step), "{number}");
        }
    };
    put(0..300, "first").await;
    put(0..300, "second").await;
    assert_eq!(indexed().await, (0, 600), "they wait");
    check(0..300).await;
    put(300..1500, "first").await;
    // another write follows the indexing, so it has ended
    put(1500..1501, "first").await;
    let (in_index, rows) = indexed().await;
    assert!(
        in_index >= 1024 - 300 && rows == 1801,
        "{in_index} of {rows}"
    );
    put(0..1501, "third").await;
    check(0..1501).await;
    let absent = entry(9_999, "never");
    let found = store
        .get_step(absent.key, absent.fingerprint)
        .await
        .unwrap();
    assert_eq!(found, None);
}
