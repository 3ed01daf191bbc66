//! The schema's way from its beginnings to now, and how alike it is in both databases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fapo_domain::MicroUsd;
use fapo_domain::model::task::Fence;
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::retention::{Retention, RetentionRule};
use fapo_domain::ports::traces::{StepsOf, TraceQueries, Traces};
use fapo_domain::ports::variants::Variants;
use fapo_testkit::clock::ManualClock;
use fapo_testkit::postgres::TestDatabase;
use fapo_testkit::sample;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use crate::opening;
use crate::postgres::{connect, database};

/// The migrations, by their number.
const POSTGRES: [&str; 2] = [
    include_str!("../../../../../migrations/postgres/0001_first.sql"),
    include_str!("../../../../../migrations/postgres/0002_data.sql"),
];

/// A database as an older version left it: so many migrations, and rows.
async fn older(version: usize, seeds: &[&'static str]) -> TestDatabase {
    let database = TestDatabase::empty().await.unwrap();
    let mut connection = database.connect().await.unwrap();
    execute(
        &mut connection,
        "CREATE TABLE schema_version (version bigint PRIMARY KEY, \
         application text NOT NULL CHECK (application = 'fapo'), applied_at bigint NOT NULL)",
    )
    .await;
    for (number, script) in (1..).zip(&POSTGRES[..version]) {
        execute(&mut connection, script).await;
        let row = format!("INSERT INTO schema_version VALUES ({number}, 'fapo', 0)");
        execute(&mut connection, &row).await;
    }
    for seed in seeds {
        execute(&mut connection, seed).await;
    }
    database
}

async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

async fn version(connection: &mut PgConnection) -> i64 {
    sqlx::query("SELECT max(version) FROM schema_version")
        .fetch_one(connection)
        .await
        .unwrap()
        .get(0)
}

const SEED_1: &str = include_str!("seeds/postgres_0001.sql");
const SEED_2: &str = include_str!("seeds/postgres_0002.sql");

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date_with_its_rows() {
    let database = older(1, &[SEED_1]).await;
    let clock = ManualClock::new();
    let store = connect(database.url(), Arc::<ManualClock>::clone(&clock))
        .await
        .unwrap();
    let mut connection = database.connect().await.unwrap();
    assert_eq!(version(&mut connection).await as usize, POSTGRES.len());
    let tree = sample::variant_tree("Answer.");
    assert_eq!(store.get_variant(tree.id()).await.unwrap(), tree);
    let loose = sample::hash("a loose blob");
    assert_eq!(
        store.get_blobs(&[loose]).await.unwrap()[0][..],
        *b"a loose blob"
    );
    // what is new works on what is old: a blob that was there before may go, as nobody knows when it was touched
    let rule = RetentionRule {
        traces_before: ManualClock::START,
        cache_before: None,
        dry_run: false,
    };
    let collected = store.collect(rule).await.unwrap();
    assert_eq!((collected.blobs, collected.runs), (1, 0));
    assert_eq!(store.get_variant(tree.id()).await.unwrap(), tree);
}

#[tokio::test]
async fn a_database_of_the_second_version_is_read_with_its_runs() {
    let database = older(2, &[SEED_1, SEED_2]).await;
    let store = connect(database.url(), ManualClock::new()).await.unwrap();
    let mut connection = database.connect().await.unwrap();
    assert_eq!(version(&mut connection).await as usize, POSTGRES.len());
    let evaluation = sample::evaluation_id("seeded");
    let runs = store.runs(evaluation, &[0], StepsOf::All).await.unwrap();
    assert_eq!(runs[0].output_text.as_deref(), Some("answer 0"));
    assert_eq!(runs[0].steps.len(), 1);
    assert_eq!(
        runs[0].steps[0].output.as_ref().unwrap().text,
        "a long answer"
    );
    let figures = store.aggregate(evaluation).await.unwrap();
    assert_eq!(figures.spend.cost, MicroUsd(40));
    assert_eq!((figures.scored, figures.mean), (1, Some(0.5)));
    // and written to: the next run stands beside it
    store
        .record_runs(None::<Fence>, vec![sample::run_record(evaluation, 1)])
        .await
        .unwrap();
    let row = sqlx::query("SELECT count(*) FROM runs_202612")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), 2);
}

type Schema = BTreeMap<String, BTreeSet<String>>;

async fn sqlite_schema() -> Schema {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(opening::open(&path).await.unwrap());
    let mut connection = SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await
        .unwrap();
    let rows = sqlx::query(
        "SELECT t.name, c.name FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c \
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut schema = Schema::new();
    for row in rows {
        schema.entry(row.get(0)).or_default().insert(row.get(1));
    }
    schema
}

async fn postgres_schema() -> Schema {
    let database = database().await.unwrap();
    let mut connection = database.connect().await.unwrap();
    let rows = sqlx::query(
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = current_schema()",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut schema = Schema::new();
    for row in rows {
        schema.entry(row.get(0)).or_default().insert(row.get(1));
    }
    schema
}

/// What one has and the other has not, with the reason.
const ONLY_SQLITE: &[(&str, &str)] = &[
    // blobs and step results have a number there, so that they are appended
    ("blobs", "seq"),
    ("step_cache", "seq"),
    // its index lags behind its rows
    ("step_index", "*"),
    ("step_index_end", "*"),
];
const ONLY_POSTGRES: &[(&str, &str)] = &[
    // SQLite keeps these in its header
    ("schema_version", "*"),
    // which groups of joined writes were committed, for a process that lost its connection in the middle of one
    ("writers", "*"),
    // partitions
    ("evaluations", "part"),
    ("runs", "part"),
    ("steps", "part"),
    // an import belongs to no process, and its rows are counted within it
    ("datasets", "alive_until"),
    ("case_bodies", "dataset"),
];

fn without(mut schema: Schema, differences: &[(&str, &str)]) -> Schema {
    for (table, column) in differences {
        if *column == "*" {
            assert!(
                schema.remove(*table).is_some(),
                "{table} is not there: strike it from the list"
            );
        } else {
            let there = schema
                .get_mut(*table)
                .is_some_and(|columns| columns.remove(*column));
            assert!(
                there,
                "{table}.{column} is not there: strike it from the list"
            );
        }
    }
    schema
}

#[tokio::test]
async fn both_databases_have_the_same_tables_and_columns() {
    let sqlite = without(sqlite_schema().await, ONLY_SQLITE);
    let postgres = without(postgres_schema().await, ONLY_POSTGRES);
    assert_eq!(
        sqlite.keys().collect::<Vec<_>>(),
        postgres.keys().collect::<Vec<_>>()
    );
    for (table, columns) in &sqlite {
        assert_eq!(columns, &postgres[table], "{table}");
    }
}
