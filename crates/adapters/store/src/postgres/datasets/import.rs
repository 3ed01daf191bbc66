//! Imports: a stream of cases becomes a version.
//!
//! Cases are written where they will stay; until the version's hash is set no reader finds them. An import belongs to no process:
//! each call for it, from wherever, takes the lock of its row and says how long it may be left alone. One that was left alone for
//! longer is abandoned; the next store that connects, and retention, remove it.

use std::collections::HashMap;
use std::time::Duration;

use fapo_domain::hash::Hasher;
use fapo_domain::model::case::Split;
use fapo_domain::ports::datasets::{Dataset, DuplicateCase, ImportId};
use fapo_domain::{CaseId, DatasetId};
use sqlx::postgres::PgConnection;

use super::{across, counts, get, groups};
use crate::cases::incoming::{Prepared, part_duplicates};
use crate::cases::{MOST_DUPLICATES, check_duplicates, check_fraction, check_train, split_number};
use crate::codec::to_text;
use crate::error::Failure;
use crate::postgres::sql::{self, Columns, args, without_nul};
use crate::postgres::store::{PgStore, PgTx};

/// How long an import may be left alone.
const ALONE: Duration = Duration::from_secs(3600);
/// Cases removed in one transaction.
const REMOVED_AT_ONCE: u64 = 20_000;
/// Digests read in one row.
const DIGESTS_AT_ONCE: u64 = 4096;
/// The advisory lock that setting a version's hash holds: "fapo" and "data" as bytes.
const LOCK: i64 = 0x6661_706f_6461_7461;

pub(super) async fn begin(store: &PgStore, project: &str) -> Result<ImportId, Failure> {
    let now = store.now();
    let mut tx = store.begin().await?;
    let row = args()
        .text(project)
        .int(now.0)
        .int(now.plus(ALONE).0)
        .query(
            "INSERT INTO datasets (project, created_at, alive_until) VALUES ($1, $2, $3) RETURNING id",
        )
        .fetch_one(&mut *tx)
        .await?;
    let import = ImportId(row.number(0)?);
    tx.commit().await?;
    Ok(import)
}

/// Begins a transaction that has the import for itself. Returns its number and how many duplicates were met so far. `long` ones
/// may take longer than a statement usually may.
async fn enter(store: &PgStore, import: ImportId, long: bool) -> Result<(PgTx, i64, u64), Failure> {
    let now = store.now();
    let id = sql::to_i64(import.0);
    let mut tx = store.begin().await?;
    if long {
        sqlx::raw_sql("SET LOCAL statement_timeout = 0")
            .execute(&mut *tx)
            .await?;
    }
    let row = args()
        .int(id)
        .int(now.0)
        .int(now.plus(ALONE).0)
        .query(
            "UPDATE datasets SET alive_until = $3 WHERE id = $1 AND hash IS NULL AND alive_until >= $2 \
             RETURNING duplicates",
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| Failure::not_found("import", import.0))?;
    Ok((tx, id, row.number(0)?))
}

pub(super) async fn add(
    store: &PgStore,
    import: ImportId,
    cases: &[Prepared],
) -> Result<Vec<DuplicateCase>, Failure> {
    let (mut tx, id, before) = enter(store, import, false).await?;
    let used = used_ids(&mut tx, id, cases).await?;
    let (fresh, mut duplicates) = part_duplicates(cases.to_vec(), used);
    insert(&mut tx, id, fresh).await?;
    args()
        .int(id)
        .number(duplicates.len() as u64)
        .query("UPDATE datasets SET duplicates = duplicates + $2 WHERE id = $1")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    let told = MOST_DUPLICATES.saturating_sub(before);
    duplicates.truncate(usize::try_from(told).unwrap_or(usize::MAX));
    Ok(duplicates)
}

/// Which ids of `cases` the import has already, each with its file and line.
async fn used_ids(
    tx: &mut PgConnection,
    import: i64,
    cases: &[Prepared],
) -> Result<HashMap<CaseId, (String, u64)>, Failure> {
    let rows = args()
        .int(import)
        .texts(
            cases
                .iter()
                .map(|case| case.case_id.as_str().to_owned())
                .collect(),
        )
        .query(
            "SELECT case_id, file, line FROM cases JOIN import_rows USING (dataset, seq) \
             WHERE dataset = $1 AND case_id = ANY($2)",
        )
        .fetch_all(tx)
        .await?;
    rows.iter()
        .map(|row| {
            let id = CaseId::new(row.column::<&str>(0)?);
            Ok((id, (row.column(1)?, row.number(2)?)))
        })
        .collect()
}

/// Inserts cases behind those that are there.
async fn insert(tx: &mut PgConnection, import: i64, cases: Vec<Prepared>) -> Result<(), Failure> {
    let count = cases.len();
    let row = args()
        .int(import)
        .query("SELECT coalesce(max(seq), 0) FROM cases WHERE dataset = $1")
        .fetch_one(&mut *tx)
        .await?;
    let first = row.number(0)? + 1;
    let seqs = || first..first + count as u64;
    let mut next = counts(tx, import).await?;
    let mut ordinals = Vec::with_capacity(count);
    for case in &cases {
        let place = next.entry(case.split).or_default();
        ordinals.push(*place);
        *place += 1;
    }
    let splits: Vec<i64> = cases.iter().map(|case| split_number(case.split)).collect();
    args()
        .int(import)
        .numbers(seqs())
        .ints(splits.clone())
        .numbers(ordinals)
        .texts(
            cases
                .iter()
                .map(|case| case.case_id.as_str().to_owned())
                .collect(),
        )
        .hashes(cases.iter().map(|case| &case.digest))
        .query(
            "INSERT INTO cases (dataset, seq, split, ordinal, case_id, digest) \
             SELECT $1, * FROM UNNEST($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bytea[])",
        )
        .execute(&mut *tx)
        .await?;
    let mut arguments = args();
    arguments
        .int(import)
        .numbers(seqs())
        .ints(splits)
        .texts(
            cases
                .iter()
                .map(|case| without_nul(case.file.clone()))
                .collect(),
        )
        .numbers(cases.iter().map(|case| case.line))
        .opt_ints(cases.iter().map(|case| case.likeness.exact).collect());
    for band in 0..crate::cases::likeness::BANDS {
        arguments.opt_ints(cases.iter().map(|case| case.likeness.bands[band]).collect());
    }
    arguments
        .query(
            "INSERT INTO import_rows (dataset, seq, split, file, line, exact, band0, band1, band2, band3) \
             SELECT $1, * FROM UNNEST($2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], \
             $8::bigint[], $9::bigint[], $10::bigint[])",
        )
        .execute(&mut *tx)
        .await?;
    args()
        .int(import)
        .numbers(seqs())
        .byte_lists(cases.into_iter().map(|case| case.body).collect())
        .query(
            "INSERT INTO case_bodies (dataset, seq, body) SELECT $1, * FROM UNNEST($2::bigint[], $3::bytea[])",
        )
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn split(
    store: &PgStore,
    import: ImportId,
    fraction: f64,
    seed: u64,
) -> Result<(), Failure> {
    check_fraction(fraction)?;
    let (mut tx, id, _) = enter(store, import, true).await?;
    let cases = counts(&mut tx, id).await?;
    let train = check_train(cases.get(&Split::Train))?;
    if train >= 2 {
        let moved = groups::choose(&mut tx, id, train, fraction, seed).await?;
        groups::apply(&mut tx, id, &moved).await?;
    }
    tx.commit().await
}

pub(super) async fn commit(store: &PgStore, import: ImportId) -> Result<Dataset, Failure> {
    let (mut tx, id, duplicates) = enter(store, import, true).await?;
    check_duplicates(duplicates)?;
    let cases = counts(&mut tx, id).await?;
    let mut hasher = Hasher::new("dataset/v1");
    for split in Split::ALL {
        let count = cases.get(&split).copied().unwrap_or(0);
        hasher.part(split.as_str().as_bytes()).number(count);
        add_digests(&mut tx, id, split, count, &mut hasher).await?;
    }
    let hash = DatasetId(hasher.finish());
    let near_duplicates = if cases.len() > 1 {
        across::across_splits(&mut tx, id).await?
    } else {
        Vec::new()
    };
    // of two equal ones one is first
    args()
        .int(LOCK)
        .query("SELECT pg_advisory_xact_lock($1)")
        .execute(&mut *tx)
        .await?;
    let equal = args()
        .hash(&hash.0)
        .query("SELECT 1 FROM datasets WHERE hash = $1")
        .fetch_optional(&mut *tx)
        .await?;
    if equal.is_some() {
        drop(tx);
        abort(store, import).await?;
        return get(&mut *store.connection().await?, hash).await;
    }
    args()
        .int(id)
        .hash(&hash.0)
        .text(to_text(&near_duplicates)?)
        .query(
            "UPDATE datasets SET hash = $2, near_duplicates = $3, alive_until = NULL WHERE id = $1",
        )
        .execute(&mut *tx)
        .await?;
    args()
        .int(id)
        .query("DELETE FROM import_rows WHERE dataset = $1")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Dataset {
        id: hash,
        cases,
        near_duplicates,
    })
}

/// Adds a split's digests in order, many to a row: a row each would cost more than the hashing.
async fn add_digests(
    connection: &mut PgConnection,
    import: i64,
    split: Split,
    count: u64,
    hasher: &mut Hasher,
) -> Result<(), Failure> {
    let mut from = 0;
    while from < count {
        let row = args()
            .int(import)
            .int(split_number(split))
            .number(from)
            .number(from + DIGESTS_AT_ONCE)
            .query(
                "SELECT string_agg(digest, ''::bytea ORDER BY ordinal), count(*) FROM cases \
                 WHERE dataset = $1 AND split = $2 AND ordinal >= $3 AND ordinal < $4",
            )
            .fetch_one(&mut *connection)
            .await?;
        let expected = DIGESTS_AT_ONCE.min(count - from);
        if row.number(1)? != expected {
            return Err(Failure::corrupt("the ordinals of a split have gaps"));
        }
        for digest in row.column::<&[u8]>(0)?.chunks(32) {
            hasher.part(digest);
        }
        from += expected;
    }
    Ok(())
}

pub(super) async fn abort(store: &PgStore, import: ImportId) -> Result<(), Failure> {
    let (mut tx, id, _) = enter(store, import, false).await?;
    // nobody goes on with it while it is removed
    args()
        .int(id)
        .query("UPDATE datasets SET alive_until = 0 WHERE id = $1")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    remove(store, id).await
}

/// Removes imports that were left alone for too long.
pub(crate) async fn drop_abandoned(store: &PgStore) -> Result<(), Failure> {
    let rows = args()
        .int(store.now().0)
        .query("SELECT id FROM datasets WHERE hash IS NULL AND alive_until < $1")
        .fetch_all(store.pool())
        .await?;
    for row in &rows {
        remove(store, row.column(0)?).await?;
    }
    Ok(())
}

/// Removes an import that nobody can go on with, in bounded steps, its row last. Several may be at it.
async fn remove(store: &PgStore, import: i64) -> Result<(), Failure> {
    loop {
        let mut tx = store.begin().await?;
        let abandoned = args()
            .int(import)
            .int(store.now().0)
            .query(
                "SELECT 1 FROM datasets WHERE id = $1 AND hash IS NULL AND alive_until < $2 FOR UPDATE",
            )
            .fetch_optional(&mut *tx)
            .await?;
        if abandoned.is_none() {
            return Ok(());
        }
        let row = args()
            .int(import)
            .number(REMOVED_AT_ONCE)
            .query(
                "SELECT max(seq), count(*) FROM \
                 (SELECT seq FROM cases WHERE dataset = $1 ORDER BY seq LIMIT $2) AS next_ones",
            )
            .fetch_one(&mut *tx)
            .await?;
        let last: Option<i64> = row.column(0)?;
        for statement in [
            "DELETE FROM case_bodies WHERE dataset = $1 AND seq <= $2",
            "DELETE FROM import_rows WHERE dataset = $1 AND seq <= $2",
            "DELETE FROM cases WHERE dataset = $1 AND seq <= $2",
        ] {
            args()
                .int(import)
                .opt_int(last)
                .query(statement)
                .execute(&mut *tx)
                .await?;
        }
        let all = row.number(1)? < REMOVED_AT_ONCE;
        if all {
            args()
                .int(import)
                .query("DELETE FROM datasets WHERE id = $1")
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        if all {
            return Ok(());
        }
    }
}
