//! Retention: what is old goes, in short transactions, or with a whole partition at once.

mod blobs;
mod remove;

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::retention::{Collected, Retention, RetentionRule};

use crate::error::Failure;
use crate::postgres::datasets;
use crate::postgres::evaluations::Place;
use crate::postgres::sql::{Columns, args};
use crate::postgres::store::PgStore;
use crate::retention::{GRACE, Part, STEP, before, cache_before};

const COLLECT: &str = "throw old things away";

#[async_trait]
impl Retention for PgStore {
    async fn collect(&self, rule: RetentionRule) -> Result<Collected, StoreError> {
        let grace = before(self.now(), GRACE);
        let mut collected = Collected::default();
        let old = self
            .run(COLLECT, || old_evaluations(self, rule.traces_before))
            .await?;
        // what is only counted is there still, and must not keep its blobs
        let mut passed_over = HashSet::new();
        if rule.dry_run {
            for place in old {
                let counted = self.run(COLLECT, || count(self, place)).await?;
                add(&mut collected, counted);
                passed_over.insert(place.id);
            }
        } else {
            self.once(COLLECT, datasets::drop_abandoned(self)).await?;
            for (part, places) in by_part(old) {
                remove::part(self, part, &places, rule.traces_before, &mut collected).await?;
            }
            remove::empty_parts(self, rule.traces_before).await?;
        }
        collected.cache_entries = steps_of_cache(self, &rule).await?;
        let row = self
            .run(COLLECT, || async {
                Ok(args()
                    .query("SELECT count(*) FROM blobs")
                    .fetch_one(self.pool())
                    .await?)
            })
            .await?;
        let count = self.once(COLLECT, async { row.number(0) }).await?;
        for part in Part::all(count) {
            let named = self
                .run(COLLECT, || blobs::mark(self, part, &passed_over))
                .await?;
            blobs::sweep(self, &named, grace, rule.dry_run, &mut collected).await?;
        }
        Ok(collected)
    }
}

/// Evaluations of jobs that became final before `cutoff`. Of those that no job is known to have asked for, nobody can say.
async fn old_evaluations(store: &PgStore, cutoff: Timestamp) -> Result<Vec<Place>, Failure> {
    let rows = args()
        .int(cutoff.0)
        .query(
            "SELECT e.id, e.part FROM jobs AS j JOIN job_evaluations AS a ON a.job = j.id \
             JOIN evaluations AS e ON e.hash = a.hash \
             WHERE j.status <> 'running' AND j.updated_at < $1 ORDER BY e.id",
        )
        .fetch_all(store.pool())
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Place {
                id: row.column(0)?,
                part: row.column(1)?,
            })
        })
        .collect()
}

fn by_part(places: Vec<Place>) -> BTreeMap<i64, Vec<Place>> {
    let mut parts: BTreeMap<i64, Vec<Place>> = BTreeMap::new();
    for place in places {
        parts.entry(place.part).or_default().push(place);
    }
    parts
}

async fn count(store: &PgStore, place: Place) -> Result<Collected, Failure> {
    let row = args()
        .int(place.part)
        .int(place.id)
        .query(
            "SELECT (SELECT count(*) FROM runs WHERE part = $1 AND evaluation = $2), \
             (SELECT count(*) FROM steps WHERE part = $1 AND evaluation = $2)",
        )
        .fetch_one(store.pool())
        .await?;
    Ok(Collected {
        evaluations: 1,
        runs: row.number(0)?,
        steps: row.number(1)?,
        ..Collected::default()
    })
}

fn add(collected: &mut Collected, more: Collected) {
    collected.evaluations += more.evaluations;
    collected.runs += more.runs;
    collected.steps += more.steps;
}

/// Removes, or counts, old step results. Returns how many.
async fn steps_of_cache(store: &PgStore, rule: &RetentionRule) -> Result<u64, StoreError> {
    let oldest = store
        .run(COLLECT, || async {
            let row = args()
                .query("SELECT min(created_at) FROM jobs WHERE status = 'running'")
                .fetch_one(store.pool())
                .await?;
            row.column(0)
        })
        .await?;
    let Some(cutoff) = cache_before(rule, oldest) else {
        return Ok(0);
    };
    let (mut last, mut count) = (Vec::new(), 0);
    // in the order of the keys, so that what was removed is not met again
    loop {
        let (removed, end) = store
            .run(COLLECT, || cached(store, &last, cutoff, rule.dry_run))
            .await?;
        count += removed;
        match end {
            Some(end) => last = end,
            None => return Ok(count),
        }
    }
}

/// The next old step results after the key `last`: how many, and the last one's key; `None` after the last.
async fn cached(
    store: &PgStore,
    last: &[u8],
    cutoff: i64,
    dry_run: bool,
) -> Result<(u64, Option<Vec<u8>>), Failure> {
    let mut tx = store.begin().await?;
    // how long it takes to find some among many that are young is not known
    sqlx::raw_sql("SET LOCAL statement_timeout = 0")
        .execute(&mut *tx)
        .await?;
    let rows = args()
        .bytes(last)
        .int(cutoff)
        .int(i64::from(STEP))
        .query(
            "SELECT key FROM step_cache WHERE key > $1 AND created_at < $2 ORDER BY key LIMIT $3",
        )
        .fetch_all(&mut *tx)
        .await?;
    let keys = rows
        .iter()
        .map(|row| row.column::<Vec<u8>>(0))
        .collect::<Result<Vec<_>, _>>()?;
    let end = keys.last().cloned();
    let mut count = keys.len() as u64;
    if !dry_run && count > 0 {
        count = args()
            .byte_lists(keys)
            .query("DELETE FROM step_cache WHERE key = ANY($1)")
            .execute(&mut *tx)
            .await?
            .rows_affected();
        tx.commit().await?;
    }
    Ok((count, end))
}
