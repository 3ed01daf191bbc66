//! New databases, old ones, other people's, and servers that are not there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use fapo_domain::clock::Clock;
use fapo_domain::error::chain;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::blobs::Blobs;
use fapo_store::{PgOptions, PgStore};
use fapo_testkit::clock::ManualClock;
use fapo_testkit::postgres::TestDatabase;
use futures::future::try_join_all;
use sqlx::Row;

/// As a test may use it: few connections, because many tests run at once.
pub(crate) fn options(url: &str) -> PgOptions {
    PgOptions {
        connections: 4,
        acquire_timeout: Duration::from_secs(60),
        ..PgOptions::new(url.parse().unwrap())
    }
}

pub(crate) async fn connect(url: &str, clock: Arc<dyn Clock>) -> Result<PgStore, StoreError> {
    PgStore::connect(&options(url), clock).await
}

/// A database with the schema, for this test alone.
pub(crate) async fn database() -> Result<TestDatabase> {
    TestDatabase::migrated(|url| async move {
        connect(&url, ManualClock::new()).await?.disconnect().await;
        Ok(())
    })
    .await
}

/// A store over a database of its own, which is to be kept as long.
pub(crate) async fn open() -> Result<(PgStore, Arc<ManualClock>, TestDatabase)> {
    let database = database().await?;
    let clock = ManualClock::new();
    let store = connect(database.url(), Arc::<ManualClock>::clone(&clock)).await?;
    Ok((store, clock, database))
}

/// The stores of two processes over one database, with one clock.
pub(crate) async fn open_two() -> ([PgStore; 2], TestDatabase) {
    let (first, clock, database) = open().await.unwrap();
    let second = connect(database.url(), clock).await.unwrap();
    ([first, second], database)
}

pub(crate) async fn execute(database: &TestDatabase, sql: &str) {
    let mut connection = database.connect().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn six_processes_may_start_on_an_empty_database_at_once() {
    let database = TestDatabase::empty().await.unwrap();
    let stores = try_join_all((0..6).map(|_| {
        let url = database.url().to_owned();
        async move {
            tokio::spawn(async move { connect(&url, ManualClock::new()).await })
                .await
                .unwrap()
        }
    }))
    .await
    .unwrap();
    for (store, number) in stores.iter().zip(0u8..) {
        let bytes: Arc<[u8]> = Arc::from(vec![number; 9]);
        let hash = store.put_blobs(vec![Arc::clone(&bytes)]).await.unwrap();
        assert_eq!(stores[0].get_blobs(&hash).await.unwrap(), [bytes]);
    }
    let mut connection = database.connect().await.unwrap();
    let row = sqlx::query("SELECT count(*), max(version) FROM schema_version")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(
        row.get::<i64, _>(0),
        row.get::<i64, _>(1),
        "each applied once"
    );
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let database = database().await.unwrap();
    execute(
        &database,
        "INSERT INTO schema_version VALUES (99, 'fapo', 0)",
    )
    .await;
    let error = connect(database.url(), ManualClock::new())
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    let text = chain(&error);
    assert!(text.contains("newer fapo (schema 99"), "{text}");
    assert!(text.contains("update fapo"), "{text}");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_alone() {
    for theirs in [
        "CREATE TABLE theirs (x int)",
        // what other programs keep their versions in
        "CREATE TABLE schema_version (version bigint)",
    ] {
        let database = TestDatabase::empty().await.unwrap();
        execute(&database, theirs).await;
        let error = connect(database.url(), ManualClock::new())
            .await
            .unwrap_err();
        let text = chain(&error);
        assert!(text.contains("another program"), "{text}");
        let mut connection = database.connect().await.unwrap();
        let row = sqlx::query(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(row.get::<i64, _>(0), 1);
    }
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_behind() {
    let database = TestDatabase::empty().await.unwrap();
    // a type of this name stands in the way of a table in the middle of the first migration
    execute(&database, "CREATE TYPE tasks AS (x int)").await;
    let error = connect(database.url(), ManualClock::new())
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    execute(&database, "DROP TYPE tasks").await;
    let store = connect(database.url(), ManualClock::new()).await.unwrap();
    store.put_blobs(vec![Arc::from(&b"x"[..])]).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_reached_or_entered_is_told_with_its_place_and_without_its_password() {
    let database = TestDatabase::empty().await.unwrap();
    let absent = database.url().replace("fapo_test_", "fapo_absent_");
    let error = connect(&absent, ManualClock::new()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unwritable { .. }), "{error:?}");
    assert!(chain(&error).contains("fapo_absent_"));

    let nobody = PgOptions {
        acquire_timeout: Duration::from_millis(300),
        // a port where nobody listens
        ..options("postgres://me:sesame@127.0.0.1:1/fapo")
    };
    let error = PgStore::connect(&nobody, ManualClock::new())
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(!format!("{error:?}{}", chain(&error)).contains("sesame"));
}
