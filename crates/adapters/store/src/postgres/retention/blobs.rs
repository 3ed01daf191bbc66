//! Blobs that nothing names any more: which rows name some, and the removal of the rest.

use std::collections::HashSet;

use fapo_domain::clock::Timestamp;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::retention::Collected;
use futures::TryStreamExt;

use super::COLLECT;
use crate::codec::{Cell, read_cell, unpack};
use crate::error::Failure;
use crate::postgres::evaluations::Place;
use crate::postgres::sql::{Columns, args};
use crate::postgres::store::{PgStore, PgTx};
use crate::retention::{Named, Part, STEP, count_blobs};

/// Blobs looked at in one query.
const PAGE: u32 = 2_000;

/// Reads which blobs of a part are named, leaving out the runs of evaluations that are passed over. Each statement sees its own
/// state: what is named later is kept by its stamp.
pub(super) async fn mark(
    store: &PgStore,
    part: Part,
    passed_over: &HashSet<i64>,
) -> Result<Named, Failure> {
    let mut named = Named::new(part);
    let mut tx = store.begin().await?;
    // it reads everything there is
    sqlx::raw_sql("SET LOCAL statement_timeout = 0")
        .execute(&mut *tx)
        .await?;
    let evaluations = args()
        .query("SELECT id, part FROM evaluations")
        .fetch_all(&mut *tx)
        .await?;
    for row in &evaluations {
        let place = Place {
            id: row.column(0)?,
            part: row.column(1)?,
        };
        if !passed_over.contains(&place.id) {
            mark_runs(&mut tx, place, &mut named).await?;
        }
    }
    {
        let mut files = sqlx::query("SELECT blob FROM variant_files").fetch(&mut *tx);
        while let Some(row) = files.try_next().await? {
            named.add(row.column(0)?);
        }
    }
    let mut bodies = sqlx::query(
        "SELECT spec FROM jobs UNION ALL SELECT body FROM sessions UNION ALL SELECT body FROM proposals",
    )
    .fetch(&mut *tx);
    while let Some(row) = bodies.try_next().await? {
        named.add_json(&unpack(row.column(0)?)?);
    }
    drop(bodies);
    Ok(named)
}

async fn mark_runs(tx: &mut PgTx, place: Place, named: &mut Named) -> Result<(), Failure> {
    let mut arguments = args();
    let mut cells = arguments
        .int(place.part)
        .int(place.id)
        .query(
            r"SELECT input FROM steps WHERE part = $1 AND evaluation = $2 AND substr(input, 1, 1) = '\x02'::bytea
            UNION ALL SELECT output FROM steps WHERE part = $1 AND evaluation = $2 AND substr(output, 1, 1) = '\x02'::bytea
            UNION ALL SELECT output_text FROM runs
                WHERE part = $1 AND evaluation = $2 AND substr(output_text, 1, 1) = '\x02'::bytea
            UNION ALL SELECT output_json FROM runs
                WHERE part = $1 AND evaluation = $2 AND substr(output_json, 1, 1) = '\x02'::bytea",
        )
        .fetch(&mut **tx);
    while let Some(row) = cells.try_next().await? {
        if let Cell::Blob(hash) = read_cell(row.column(0)?)? {
            named.add(hash.as_bytes());
        }
    }
    Ok(())
}

/// Removes, or counts, the blobs of a part that are not named and were last touched before `grace`.
pub(super) async fn sweep(
    store: &PgStore,
    named: &Named,
    grace: Timestamp,
    dry_run: bool,
    collected: &mut Collected,
) -> Result<(), StoreError> {
    let mut last = Vec::new();
    loop {
        let (unnamed, end) = store
            .run(COLLECT, || page(store, named, &last, grace))
            .await?;
        if dry_run {
            count_blobs(collected, unnamed.iter().map(|(_, size)| *size));
        } else {
            for some in unnamed.chunks(STEP as usize) {
                let sizes = store.run(COLLECT, || remove(store, some, grace)).await?;
                count_blobs(collected, sizes);
            }
        }
        match end {
            Some(end) => last = end,
            None => return Ok(()),
        }
    }
}

/// A blob's hash and its size.
type Sized = (Vec<u8>, u64);

/// The unnamed ones among the next blobs after the hash `last`, and the hash where the page ended; `None` after the last.
async fn page(
    store: &PgStore,
    named: &Named,
    last: &[u8],
    grace: Timestamp,
) -> Result<(Vec<Sized>, Option<Vec<u8>>), Failure> {
    let rows = args()
        .bytes(last)
        .int(i64::from(PAGE))
        .query(
            "SELECT hash, touched_at, octet_length(body)::bigint FROM blobs WHERE hash > $1 ORDER BY hash LIMIT $2",
        )
        .fetch_all(store.pool())
        .await?;
    let mut unnamed = Vec::new();
    for row in &rows {
        let hash: &[u8] = row.column(0)?;
        if row.column::<i64>(1)? < grace.0 && named.misses(hash) {
            unnamed.push((hash.to_vec(), row.number(2)?));
        }
    }
    let end = rows.last().map(|row| row.column(0)).transpose()?;
    Ok((unnamed, end))
}

/// Removes blobs that were not touched since. Returns the sizes of those that went.
async fn remove(store: &PgStore, blobs: &[Sized], grace: Timestamp) -> Result<Vec<u64>, Failure> {
    let mut tx = store.begin().await?;
    let rows = args()
        .byte_lists(blobs.iter().map(|(hash, _)| hash.clone()).collect())
        .int(grace.0)
        .query(
            "DELETE FROM blobs WHERE hash = ANY($1) AND touched_at < $2 RETURNING octet_length(body)::bigint",
        )
        .fetch_all(&mut *tx)
        .await?;
    tx.commit().await?;
    rows.iter().map(|row| row.number(0)).collect()
}
