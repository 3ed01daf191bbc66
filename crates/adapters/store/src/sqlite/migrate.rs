//! The schema's versions: forward only, one numbered file each in `migrations/sqlite/`, never edited once released.
//!
//! SQLite's `user_version` holds the number of the last one applied and changes in the same transaction as the schema;
//! `application_id` tells a fapo store from any other SQLite file.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};

use crate::error::{Failure, SchemaError};
use crate::sqlite::sql::{Columns, args};

/// All migrations, in order; the first makes version 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../../../migrations/sqlite/0001_first.sql"),
    include_str!("../../../../../migrations/sqlite/0002_step_index.sql"),
    include_str!("../../../../../migrations/sqlite/0003_sessions.sql"),
    include_str!("../../../../../migrations/sqlite/0004_readings.sql"),
    include_str!("../../../../../migrations/sqlite/0005_cluster.sql"),
    include_str!("../../../../../migrations/sqlite/0006_touched.sql"),
];

/// The version they make.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// "fapo" as four bytes.
const APPLICATION: i64 = 0x6661_706f;

/// Refuses a file that is not ours to write, before anything is changed in it.
pub(crate) async fn check(connection: &mut SqliteConnection, place: &str) -> Result<(), Failure> {
    version(connection, place).await.map(|_| ())
}

/// Brings the schema up to date. Safe when several processes open the same new file at once.
pub(crate) async fn migrate(connection: &mut SqliteConnection, place: &str) -> Result<(), Failure> {
    if version(connection, place).await? == KNOWN {
        return Ok(());
    }
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    // again, now that nobody else can be at it
    let found = version(&mut tx, place).await?;
    for (index, script) in (1i64..).zip(MIGRATIONS) {
        if index > found {
            sqlx::raw_sql(*script).execute(&mut *tx).await?;
        }
    }
    sqlx::raw_sql(AssertSqlSafe(format!(
        "PRAGMA user_version = {KNOWN}; PRAGMA application_id = {APPLICATION};"
    )))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

async fn version(connection: &mut SqliteConnection, place: &str) -> Result<i64, Failure> {
    let row = args()
        .query(
            "SELECT (SELECT user_version FROM pragma_user_version), \
             (SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)",
        )
        .fetch_one(connection)
        .await?;
    let (found, application, tables) = (
        row.column::<i64>(0)?,
        row.column::<i64>(1)?,
        row.column::<i64>(2)?,
    );
    let place = place.to_owned();
    if application != APPLICATION && (application != 0 || found != 0 || tables != 0) {
        return Err(Failure::Corrupt(Box::new(SchemaError::Foreign { place })));
    }
    if found > KNOWN {
        return Err(Failure::Corrupt(Box::new(SchemaError::Newer {
            place,
            found,
            known: KNOWN,
        })));
    }
    Ok(found)
}
