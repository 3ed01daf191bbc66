//! Retention: what is old goes, in short transactions, so that others get at the file in between.

use std::collections::HashSet;

use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::retention::{Collected, Retention, RetentionRule};
use futures::TryStreamExt;
use sqlx::SqliteConnection;

use crate::codec::{Cell, read_cell, unpack};
use crate::error::Failure;
use crate::retention::{GRACE, Named, Part, STEP, before, cache_before, count_blobs};
use crate::sqlite::sql::{Columns, args, number_list};
use crate::sqlite::store::SqliteStore;

/// Blobs looked at in one query.
const PAGE: u32 = 2_000;

#[async_trait]
impl Retention for SqliteStore {
    async fn collect(&self, rule: RetentionRule) -> Result<Collected, StoreError> {
        self.run("throw old things away", async {
            let grace = before(self.now(), GRACE);
            let mut collected = Collected::default();
            let old = old_evaluations(&mut *self.reader().await, rule.traces_before).await?;
            // what is only counted is there still, and must not keep its blobs
            let mut passed_over = HashSet::new();
            for evaluation in old {
                if rule.dry_run {
                    count(self, evaluation, &mut collected).await?;
                    passed_over.insert(evaluation);
                } else {
                    remove(self, evaluation, rule.traces_before, &mut collected).await?;
                }
            }
            collected.cache_entries = steps_of_cache(self, &rule).await?;
            let blobs = args()
                .query("SELECT count(*) FROM blobs")
                .fetch_one(&mut *self.reader().await)
                .await?
                .number(0)?;
            for part in Part::all(blobs) {
                let named = mark(self, part, &passed_over).await?;
                sweep(self, &named, grace, rule.dry_run, &mut collected).await?;
            }
            Ok(collected)
        })
        .await
    }
}

/// Evaluations of jobs that became final before `cutoff`. Of those that no job is known to have asked for, nobody can say.
async fn old_evaluations(
    connection: &mut SqliteConnection,
    cutoff: Timestamp,
) -> Result<Vec<i64>, Failure> {
    let rows = args()
        .int(cutoff.0)
        .query(
            "SELECT e.id FROM jobs AS j JOIN job_evaluations AS a ON a.job = j.id JOIN evaluations AS e ON e.hash = a.hash \
             WHERE j.status <> 'running' AND j.updated_at < ? ORDER BY e.id",
        )
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| row.column(0)).collect()
}

async fn count(
    store: &SqliteStore,
    evaluation: i64,
    collected: &mut Collected,
) -> Result<(), Failure> {
    let row = args()
        .int(evaluation)
        .query(
            "SELECT (SELECT count(*) FROM runs WHERE evaluation = ?1), (SELECT count(*) FROM steps WHERE evaluation = ?1)",
        )
        .fetch_one(&mut *store.reader().await)
        .await?;
    collected.evaluations += 1;
    collected.runs += row.number(0)?;
    collected.steps += row.number(1)?;
    Ok(())
}

/// Removes an evaluation: its runs some at a time, each with its steps, then the rest, and last the row that leads here. Stops
/// where its job runs again.
async fn remove(
    store: &SqliteStore,
    evaluation: i64,
    cutoff: Timestamp,
    collected: &mut Collected,
) -> Result<(), Failure> {
    loop {
        let mut writer = store.writer().await;
        let mut tx = writer.begin().await?;
        let still = args()
            .int(evaluation)
            .int(cutoff.0)
            .query(
                "SELECT 1 FROM evaluations AS e JOIN job_evaluations AS a ON a.hash = e.hash JOIN jobs AS j ON j.id = a.job \
                 WHERE e.id = ?1 AND j.status <> 'running' AND j.updated_at < ?2",
            )
            .fetch_optional(&mut *tx)
            .await?;
        if still.is_none() {
            return Ok(());
        }
        // up to the last of so many; null, and so none, where there are no more
        let row = args()
            .int(evaluation)
            .number(u64::from(STEP))
            .query(
                "SELECT max(ordinal) FROM (SELECT ordinal FROM runs WHERE evaluation = ?1 ORDER BY ordinal LIMIT ?2)",
            )
            .fetch_one(&mut *tx)
            .await?;
        let last: Option<i64> = row.column(0)?;
        let mut removed = [0; 2];
        for (removed, statement) in removed.iter_mut().zip([
            "DELETE FROM steps WHERE evaluation = ?1 AND ordinal <= ?2",
            "DELETE FROM runs WHERE evaluation = ?1 AND ordinal <= ?2",
        ]) {
            *removed = args()
                .int(evaluation)
                .opt_int(last)
                .query(statement)
                .execute(&mut *tx)
                .await?
                .rows_affected();
        }
        let all = removed[1] < u64::from(STEP);
        if all {
            for statement in [
                "DELETE FROM scores WHERE evaluation = ?",
                "DELETE FROM findings WHERE evaluation = ?",
                "DELETE FROM clusters WHERE evaluation = ?",
                "DELETE FROM attributions WHERE evaluation = ?",
                "DELETE FROM evaluations WHERE id = ?",
            ] {
                args()
                    .int(evaluation)
                    .query(statement)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        collected.steps += removed[0];
        collected.runs += removed[1];
        collected.evaluations += u64::from(all);
        if all {
            return Ok(());
        }
    }
}

/// Removes, or counts, old step results. Returns how many.
async fn steps_of_cache(store: &SqliteStore, rule: &RetentionRule) -> Result<u64, Failure> {
    let oldest = args()
        .query("SELECT min(created_at) FROM jobs WHERE status = 'running'")
        .fetch_one(&mut *store.reader().await)
        .await?
        .column(0)?;
    let Some(cutoff) = cache_before(rule, oldest) else {
        return Ok(0);
    };
    let (mut last, mut count) = (0, 0);
    loop {
        let rows = args()
            .number(last)
            .int(cutoff)
            .number(u64::from(STEP))
            .query(
                "SELECT seq FROM step_cache WHERE seq > ? AND created_at < ? ORDER BY seq LIMIT ?",
            )
            .fetch_all(&mut *store.reader().await)
            .await?;
        let found = rows
            .iter()
            .map(|row| row.number(0))
            .collect::<Result<Vec<_>, _>>()?;
        let Some(end) = found.last() else {
            return Ok(count);
        };
        last = *end;
        count += found.len() as u64;
        if !rule.dry_run {
            remove_cached(store, number_list(found)).await?;
        }
    }
}

/// Removes rows of the step cache with their places in its index, whose end moves back to the last row that is left: a row that
/// is appended gets the next number after that one, and would be taken for one that is in the index.
async fn remove_cached(store: &SqliteStore, rows: String) -> Result<(), Failure> {
    let mut writer = store.writer().await;
    let mut tx = writer.begin().await?;
    for statement in [
        "DELETE FROM step_index WHERE (key, seq) IN \
         (SELECT key, seq FROM step_cache WHERE seq IN (SELECT value FROM json_each(?1)))",
        "DELETE FROM step_cache WHERE seq IN (SELECT value FROM json_each(?1))",
    ] {
        args()
            .text(rows.clone())
            .query(statement)
            .execute(&mut *tx)
            .await?;
    }
    args()
        .query(
            "UPDATE step_index_end SET seq = min(seq, (SELECT coalesce(max(seq), 0) FROM step_cache))",
        )
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// Reads which blobs of a part are named, leaving out the runs of evaluations that are passed over.
async fn mark(
    store: &SqliteStore,
    part: Part,
    passed_over: &HashSet<i64>,
) -> Result<Named, Failure> {
    let mut named = Named::new(part);
    let mut connection = store.reader().await;
    let evaluations = args()
        .query("SELECT id FROM evaluations")
        .fetch_all(&mut *connection)
        .await?;
    for row in &evaluations {
        let evaluation: i64 = row.column(0)?;
        if passed_over.contains(&evaluation) {
            continue;
        }
        let mut arguments = args();
        let mut cells = arguments
            .int(evaluation)
            .query(
                "SELECT input FROM steps WHERE evaluation = ?1 AND substr(input, 1, 1) = x'02' \
                 UNION ALL SELECT output FROM steps WHERE evaluation = ?1 AND substr(output, 1, 1) = x'02' \
                 UNION ALL SELECT output_text FROM runs WHERE evaluation = ?1 AND substr(output_text, 1, 1) = x'02' \
                 UNION ALL SELECT output_json FROM runs WHERE evaluation = ?1 AND substr(output_json, 1, 1) = x'02'",
            )
            .fetch(&mut *connection);
        while let Some(row) = cells.try_next().await? {
            if let Cell::Blob(hash) = read_cell(row.column(0)?)? {
                named.add(hash.as_bytes());
            }
        }
    }
    {
        let mut files = sqlx::query("SELECT blob FROM variant_files").fetch(&mut *connection);
        while let Some(row) = files.try_next().await? {
            named.add(row.column(0)?);
        }
    }
    let mut bodies = sqlx::query(
        "SELECT spec FROM jobs UNION ALL SELECT body FROM sessions UNION ALL SELECT body FROM proposals",
    )
    .fetch(&mut *connection);
    while let Some(row) = bodies.try_next().await? {
        named.add_json(&unpack(row.column(0)?)?);
    }
    drop(bodies);
    Ok(named)
}

/// Removes, or counts, the blobs of a part that are not named and were last touched before `grace`.
async fn sweep(
    store: &SqliteStore,
    named: &Named,
    grace: Timestamp,
    dry_run: bool,
    collected: &mut Collected,
) -> Result<(), Failure> {
    let mut last = 0;
    loop {
        let rows = args()
            .number(last)
            .int(grace.0)
            .number(u64::from(PAGE))
            .query(
                "SELECT seq, hash, length(body) FROM blobs WHERE seq > ? AND touched_at < ? ORDER BY seq LIMIT ?",
            )
            .fetch_all(&mut *store.reader().await)
            .await?;
        let Some(end) = rows.last() else {
            return Ok(());
        };
        last = end.number(0)?;
        let mut unnamed = Vec::new();
        for row in &rows {
            if named.misses(row.column(1)?) {
                unnamed.push((row.number(0)?, row.number(2)?));
            }
        }
        if dry_run {
            count_blobs(collected, unnamed.into_iter().map(|(_, size)| size));
            continue;
        }
        for some in unnamed.chunks(STEP as usize) {
            let mut writer = store.writer().await;
            let mut tx = writer.begin().await?;
            // the stamp is looked at again: it may have been touched since
            let removed = args()
                .text(number_list(some.iter().map(|(seq, _)| *seq)))
                .int(grace.0)
                .query(
                    "DELETE FROM blobs WHERE seq IN (SELECT value FROM json_each(?1)) AND touched_at < ?2 \
                     RETURNING length(body)",
                )
                .fetch_all(&mut *tx)
                .await?;
            tx.commit().await?;
            let sizes = removed
                .iter()
                .map(|row| row.number(0))
                .collect::<Result<Vec<_>, _>>()?;
            count_blobs(collected, sizes);
        }
    }
}
