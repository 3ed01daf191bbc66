//! The removal of old evaluations. Every step looks again, under a lock of the job's row, whether the job is final still, and takes
//! the evaluation's row for itself first: who records runs holds that row, so none are recorded beside a removal and left behind.

use fapo_domain::clock::Timestamp;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::retention::Collected;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::{COLLECT, add, count};
use crate::error::{Failure, is_lock_timeout};
use crate::postgres::evaluations::{PARTED, Place, lock_partitions, partition};
use crate::postgres::sql::{Columns, args};
use crate::postgres::store::{PgStore, PgTx};
use crate::retention::STEP;

/// What belongs to an evaluation beside its runs and steps.
const BESIDE: [&str; 4] = ["scores", "findings", "clusters", "attributions"];

/// Removes old evaluations of a partition: with the partition, where there are no others in it and nobody is at it, and else one
/// by one.
pub(super) async fn part(
    store: &PgStore,
    part: i64,
    places: &[Place],
    cutoff: Timestamp,
    collected: &mut Collected,
) -> Result<(), StoreError> {
    let alone = store
        .run(COLLECT, || async {
            let mut connection = store.connection().await?;
            is_all_old(&mut connection, part, cutoff).await
        })
        .await?;
    if alone {
        let mut counted = Collected::default();
        for place in places {
            while store.run(COLLECT, || beside(store, *place, cutoff)).await? {}
            add(
                &mut counted,
                store.run(COLLECT, || count(store, *place)).await?,
            );
        }
        if try_to_drop(store, part, cutoff).await? {
            add(collected, counted);
            return Ok(());
        }
    }
    for place in places {
        while store
            .run(COLLECT, || some(store, *place, cutoff))
            .await
            .map(|step| {
                add(collected, step.removed);
                step.more
            })?
        {}
    }
    Ok(())
}

/// Drops partitions in which nothing is left: those of months whose evaluations went one by one.
pub(super) async fn empty_parts(store: &PgStore, cutoff: Timestamp) -> Result<(), StoreError> {
    let parts = store
        .run(COLLECT, || async {
            let rows = args()
                .query(
                    "SELECT part FROM (SELECT DISTINCT substring(c.relname FROM '[0-9]+$')::bigint AS part \
                     FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid \
                     WHERE i.inhparent IN (to_regclass('runs'), to_regclass('steps')) AND c.relkind = 'r') AS parts \
                     WHERE NOT EXISTS (SELECT 1 FROM evaluations AS e WHERE e.part = parts.part) ORDER BY part",
                )
                .fetch_all(store.pool())
                .await?;
            rows.iter()
                .map(|row| row.column(0))
                .collect::<Result<Vec<i64>, _>>()
        })
        .await?;
    for part in parts {
        try_to_drop(store, part, cutoff).await?;
    }
    Ok(())
}

/// Drops a partition, if its locks can be had soon. Whether it did.
async fn try_to_drop(store: &PgStore, part: i64, cutoff: Timestamp) -> Result<bool, StoreError> {
    store
        .run(COLLECT, || async {
            match drop_part(store, part, cutoff).await {
                Err(failure) if is_lock_timeout(&failure) => Ok(false),
                other => other,
            }
        })
        .await
}

/// Whether all evaluations of a partition are of jobs that became final before `cutoff`.
async fn is_all_old(
    connection: &mut PgConnection,
    part: i64,
    cutoff: Timestamp,
) -> Result<bool, Failure> {
    args()
        .int(part)
        .int(cutoff.0)
        .query(
            "SELECT NOT EXISTS (SELECT 1 FROM evaluations AS e LEFT JOIN job_evaluations AS a ON a.hash = e.hash \
             LEFT JOIN jobs AS j ON j.id = a.job \
             WHERE e.part = $1 AND (j.id IS NULL OR j.status = 'running' OR j.updated_at >= $2))",
        )
        .fetch_one(connection)
        .await?
        .flag(0)
}

/// Drops a partition with its evaluations, of which nothing else is left. False, and nothing is changed, where one of them is not
/// old after all, or has something left. Gives up soon where it has to wait for locks: whoever came after it would wait, too.
async fn drop_part(store: &PgStore, part: i64, cutoff: Timestamp) -> Result<bool, Failure> {
    let mut tx = store.begin().await?;
    sqlx::raw_sql("SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = 0")
        .execute(&mut *tx)
        .await?;
    lock_partitions(&mut tx).await?;
    for lock in [
        "SELECT 1 FROM jobs WHERE id IN (SELECT a.job FROM job_evaluations AS a JOIN evaluations AS e ON e.hash = a.hash \
         WHERE e.part = $1) ORDER BY id FOR SHARE",
        "SELECT 1 FROM evaluations WHERE part = $1 ORDER BY id FOR UPDATE",
    ] {
        args().int(part).query(lock).execute(&mut *tx).await?;
    }
    if !is_all_old(&mut tx, part, cutoff).await? {
        return Ok(false);
    }
    for table in BESIDE {
        let left = args()
            .int(part)
            .query(AssertSqlSafe(format!(
                "SELECT EXISTS (SELECT 1 FROM {table} WHERE evaluation IN (SELECT id FROM evaluations WHERE part = $1))"
            )))
            .fetch_one(&mut *tx)
            .await?
            .flag(0)?;
        if left {
            return Ok(false);
        }
    }
    args()
        .int(part)
        .query("DELETE FROM evaluations WHERE part = $1")
        .execute(&mut *tx)
        .await?;
    for table in PARTED {
        let name = partition(table, part);
        sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE IF EXISTS {name}")))
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// Begins a transaction that may remove something of an evaluation. `None` where its job is not final any more, or the evaluation
/// is gone.
async fn enter(store: &PgStore, place: Place, cutoff: Timestamp) -> Result<Option<PgTx>, Failure> {
    let mut tx = store.begin().await?;
    let old = args()
        .int(place.id)
        .int(cutoff.0)
        .query(
            "SELECT 1 FROM jobs AS j WHERE j.id = (SELECT a.job FROM job_evaluations AS a JOIN evaluations AS e \
             ON e.hash = a.hash WHERE e.id = $1) AND j.status <> 'running' AND j.updated_at < $2 FOR SHARE",
        )
        .fetch_optional(&mut *tx)
        .await?;
    let held = args()
        .int(place.id)
        .query("SELECT 1 FROM evaluations WHERE id = $1 FOR UPDATE")
        .fetch_optional(&mut *tx)
        .await?;
    Ok((old.is_some() && held.is_some()).then_some(tx))
}

/// Removes some of what belongs to an evaluation beside its runs. Whether there is more of it.
async fn beside(store: &PgStore, place: Place, cutoff: Timestamp) -> Result<bool, Failure> {
    let Some(mut tx) = enter(store, place, cutoff).await? else {
        return Ok(false);
    };
    let more = remove_beside(&mut tx, place).await?;
    tx.commit().await?;
    Ok(more)
}

async fn remove_beside(tx: &mut PgConnection, place: Place) -> Result<bool, Failure> {
    for table in BESIDE {
        let removed = args()
            .int(place.id)
            .int(i64::from(STEP))
            .query(AssertSqlSafe(format!(
                "DELETE FROM {table} WHERE ctid = ANY (ARRAY (SELECT ctid FROM {table} WHERE evaluation = $1 LIMIT $2))"
            )))
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if removed >= u64::from(STEP) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A step of a removal.
struct Step {
    removed: Collected,
    more: bool,
}

/// Removes some of an evaluation: runs with their steps, and with the last of them the rest, and the row that leads here.
async fn some(store: &PgStore, place: Place, cutoff: Timestamp) -> Result<Step, Failure> {
    let mut removed = Collected::default();
    let Some(mut tx) = enter(store, place, cutoff).await? else {
        return Ok(Step {
            removed,
            more: false,
        });
    };
    // up to the last of so many; null, and so none, where there are no more
    let row = args()
        .int(place.part)
        .int(place.id)
        .int(i64::from(STEP))
        .query(
            "SELECT max(ordinal) FROM (SELECT ordinal FROM runs WHERE part = $1 AND evaluation = $2 \
             ORDER BY ordinal LIMIT $3) AS next_ones",
        )
        .fetch_one(&mut *tx)
        .await?;
    let last: Option<i64> = row.column(0)?;
    for (removed, statement) in [
        (
            &mut removed.steps,
            "DELETE FROM steps WHERE part = $1 AND evaluation = $2 AND ordinal <= $3",
        ),
        (
            &mut removed.runs,
            "DELETE FROM runs WHERE part = $1 AND evaluation = $2 AND ordinal <= $3",
        ),
    ] {
        *removed = args()
            .int(place.part)
            .int(place.id)
            .opt_int(last)
            .query(statement)
            .execute(&mut *tx)
            .await?
            .rows_affected();
    }
    let mut more = removed.runs >= u64::from(STEP);
    if !more {
        more = remove_beside(&mut tx, place).await?;
    }
    if !more {
        args()
            .int(place.id)
            .query("DELETE FROM evaluations WHERE id = $1")
            .execute(&mut *tx)
            .await?;
        removed.evaluations = 1;
    }
    tx.commit().await?;
    Ok(Step { removed, more })
}
