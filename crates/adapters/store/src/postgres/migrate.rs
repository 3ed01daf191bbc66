//! The schema's versions: forward only, one numbered file each in `migrations/postgres/`, never edited once released.
//!
//! All that are missing are applied in one transaction under an advisory lock, so that of several processes that start at once
//! one migrates and the others wait for it. `schema_version` holds a row for each that was applied; a database in which it is
//! missing, or is another program's, is not touched unless it is empty.

use fapo_domain::clock::Timestamp;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::error::{Failure, SchemaError};
use crate::postgres::sql::{Columns, args};

/// All migrations, in order; the first makes version 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../../../migrations/postgres/0001_first.sql"),
    include_str!("../../../../../migrations/postgres/0002_data.sql"),
];

/// The version they make.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// The advisory lock that migrating holds: "fapo" and "migr" as bytes. Locks are per database.
const LOCK: i64 = 0x6661_706f_6d69_6772;

/// Refuses a schema that is older than this program's.
pub(crate) async fn require_current(
    connection: &mut PgConnection,
    place: &str,
) -> Result<(), Failure> {
    let found = version(connection, place).await?;
    if found == KNOWN {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "{place} has schema {found}, and this fapo needs {KNOWN}: `fapo migrate` brings it up to date"
    )))
}

/// Brings the schema up to date.
pub(crate) async fn migrate(
    connection: &mut PgConnection,
    place: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    if version(connection, place).await? == KNOWN {
        return Ok(());
    }
    let mut tx = connection.begin().await?;
    // a long migration of another process is waited for, and so may this one take its time
    sqlx::raw_sql("SET LOCAL statement_timeout = 0")
        .execute(&mut *tx)
        .await?;
    args()
        .int(LOCK)
        .query("SELECT pg_advisory_xact_lock($1)")
        .execute(&mut *tx)
        .await?;
    // again, now that nobody else can be at it
    let found = version(&mut tx, place).await?;
    if found == 0 {
        sqlx::raw_sql(
            "CREATE TABLE schema_version (version bigint PRIMARY KEY, \
             application text NOT NULL CHECK (application = 'fapo'), applied_at bigint NOT NULL)",
        )
        .execute(&mut *tx)
        .await?;
    }
    for (index, script) in (1i64..).zip(MIGRATIONS) {
        if index <= found {
            continue;
        }
        sqlx::raw_sql(*script).execute(&mut *tx).await?;
        args()
            .int(index)
            .int(now.0)
            .query("INSERT INTO schema_version (version, application, applied_at) VALUES ($1, 'fapo', $2)")
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The version that is there; 0 for an empty database. Refuses one that is not ours to write, before anything is changed.
async fn version(connection: &mut PgConnection, place: &str) -> Result<i64, Failure> {
    let row = args()
        .query(
            "SELECT \
             (SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace \
             AND relkind IN ('r', 'p', 'v', 'm', 'f')), \
             EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('schema_version') \
             AND attname = 'application' AND NOT attisdropped)",
        )
        .fetch_one(&mut *connection)
        .await?;
    let (tables, ours) = (row.number(0)?, row.flag(1)?);
    let place = place.to_owned();
    if !ours {
        return match tables {
            0 => Ok(0),
            _ => Err(Failure::Corrupt(Box::new(SchemaError::Foreign { place }))),
        };
    }
    let row = args()
        .query("SELECT max(version) FROM schema_version WHERE application = 'fapo'")
        .fetch_one(connection)
        .await?;
    match row.column::<Option<i64>>(0)? {
        None => Err(Failure::Corrupt(Box::new(SchemaError::Foreign { place }))),
        Some(found) if found > KNOWN => Err(Failure::Corrupt(Box::new(SchemaError::Newer {
            place,
            found,
            known: KNOWN,
        }))),
        Some(found) => Ok(found),
    }
}
