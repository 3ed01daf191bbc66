//! The short numbers of evaluations, and the partitions in which their runs and steps stand.
//!
//! An evaluation belongs to the month of its first record, by the injected clock, and remembers it: all its rows stand in that
//! partition, however long it runs, and whoever knows the evaluation reads one partition. A partition is made together with the
//! first evaluation of its month. Making and dropping partitions excludes one another by an advisory lock, so that an evaluation
//! that is there has its partition.

use fapo_domain::EvaluationId;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use crate::error::Failure;
use crate::postgres::sql::{Columns, args};
use crate::postgres::store::PgStore;

/// The advisory lock that making and dropping partitions holds: "fapo" and "part" as bytes.
const LOCK: i64 = 0x6661_706f_7061_7274;

/// Tables that are partitioned.
pub(crate) const PARTED: [&str; 2] = ["runs", "steps"];

/// Where an evaluation's rows stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its short number.
    pub(crate) id: i64,
    /// Its partition: a month, as 202701.
    pub(crate) part: i64,
}

/// The name of a partition of `table`.
pub(crate) fn partition(table: &str, part: i64) -> String {
    format!("{table}_{part}")
}

/// Where an evaluation's rows stand, if it has any.
pub(crate) async fn find(
    connection: &mut PgConnection,
    evaluation: EvaluationId,
) -> Result<Option<Place>, Failure> {
    let row = args()
        .hash(&evaluation.0)
        .query("SELECT id, part FROM evaluations WHERE hash = $1")
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        Ok(Place {
            id: row.column(0)?,
            part: row.column(1)?,
        })
    })
    .transpose()
}

/// Where an evaluation's rows stand or are to stand. In a transaction of its own: an evaluation without rows is as good as none,
/// and the lock is not held for long.
pub(crate) async fn intern(store: &PgStore, evaluation: EvaluationId) -> Result<Place, Failure> {
    if let Some(place) = find(&mut *store.connection().await?, evaluation).await? {
        return Ok(place);
    }
    let mut tx = store.begin().await?;
    lock_partitions(&mut tx).await?;
    let row = args()
        .int(store.now().0)
        .query(
            "SELECT to_char(to_timestamp($1::double precision / 1000) AT TIME ZONE 'UTC', 'YYYYMM')::bigint",
        )
        .fetch_one(&mut *tx)
        .await?;
    let part = row.column(0)?;
    make_partitions(&mut tx, part).await?;
    args()
        .hash(&evaluation.0)
        .int(part)
        .query("INSERT INTO evaluations (hash, part) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING")
        .execute(&mut *tx)
        .await?;
    let place = find(&mut tx, evaluation)
        .await?
        .ok_or_else(|| Failure::corrupt("an evaluation that was inserted is not there"))?;
    tx.commit().await?;
    Ok(place)
}

/// Holds an evaluation until the transaction ends: it cannot be removed meanwhile. False where it was removed before.
pub(crate) async fn hold(tx: &mut PgConnection, place: Place) -> Result<bool, Failure> {
    let row = args()
        .int(place.id)
        .query("SELECT 1 FROM evaluations WHERE id = $1 FOR KEY SHARE")
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

/// The same, and others that hold it so wait.
pub(crate) async fn hold_alone(tx: &mut PgConnection, place: Place) -> Result<bool, Failure> {
    let row = args()
        .int(place.id)
        .query("SELECT 1 FROM evaluations WHERE id = $1 FOR NO KEY UPDATE")
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

/// Waits until nobody else makes or drops partitions, and keeps them out until the transaction ends.
pub(crate) async fn lock_partitions(tx: &mut PgConnection) -> Result<(), Failure> {
    args()
        .int(LOCK)
        .query("SELECT pg_advisory_xact_lock($1)")
        .execute(tx)
        .await?;
    Ok(())
}

/// Makes the partitions of a month, unless they are there. Made beside their tables and then attached, which does not keep others
/// from writing, as making them in place would.
async fn make_partitions(tx: &mut PgConnection, part: i64) -> Result<(), Failure> {
    for table in PARTED {
        let name = partition(table, part);
        let there = args()
            .text(name.clone())
            .query("SELECT to_regclass($1) IS NOT NULL")
            .fetch_one(&mut *tx)
            .await?
            .flag(0)?;
        if !there {
            sqlx::raw_sql(AssertSqlSafe(format!(
                "CREATE TABLE {name} (LIKE {table} INCLUDING ALL); \
                 ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES IN ({part})"
            )))
            .execute(&mut *tx)
            .await?;
        }
    }
    Ok(())
}
