//! Imports: a stream of cases becomes a version.
//!
//! Cases are written where they will stay; until the version's hash is set no reader finds them. An import lives as long
//! as the process that makes it: each holds a shared lock on a file beside the store, and whoever opens the store and
//! gets that lock for itself knows that every unfinished import is abandoned. (The system gives the lock back when a
//! process dies.)

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fapo_domain::DatasetId;
use fapo_domain::hash::Hasher;
use fapo_domain::model::case::Split;
use fapo_domain::ports::datasets::{Dataset, DuplicateCase, ImportId, IncomingCase};
use sqlx::sqlite::SqliteConnection;

use super::incoming::{insert, part_duplicates};
use super::{across, counts, groups};
use crate::cases::incoming::prepare;
use crate::cases::{MOST_DUPLICATES, check_duplicates, check_fraction, check_train, split_number};
use crate::codec::to_text;
use crate::error::Failure;
use crate::sqlite::connections::WriteConnection;
use crate::sqlite::sql::{Columns, args};
use crate::sqlite::store::SqliteStore;

/// Cases removed in one transaction.
const REMOVED_AT_ONCE: u64 = 20_000;
/// Digests read in one row.
const DIGESTS_AT_ONCE: u64 = 4096;

/// The imports of this process, each with its hold on the lock file.
#[derive(Debug)]
pub(crate) struct Imports {
    lock_path: PathBuf,
    under_way: Mutex<HashMap<ImportId, File>>,
}

impl Imports {
    pub(crate) fn new(lock_path: PathBuf) -> Self {
        Self {
            lock_path,
            under_way: Mutex::default(),
        }
    }

    /// Removes what dead processes left, unless some process imports right now.
    pub(crate) async fn drop_abandoned(
        &self,
        writer: &Arc<WriteConnection>,
    ) -> Result<(), Failure> {
        let file = open_lock(&self.lock_path)?;
        let alone = file.try_lock().is_ok();
        let abandoned: Vec<i64> = {
            let mut guard = writer.lock().await;
            // also finds out, before any work begins, whether the file can be written
            let mut tx = guard.begin().await?;
            let rows = args()
                .query("SELECT id FROM datasets WHERE hash IS NULL")
                .fetch_all(&mut *tx)
                .await?;
            rows.iter()
                .map(|row| row.column(0))
                .collect::<Result<_, _>>()?
        };
        if alone {
            for import in abandoned {
                remove(writer, import).await?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ImportId, File>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, import: ImportId) -> Result<i64, Failure> {
        if self.lock().contains_key(&import) {
            Ok(crate::sqlite::sql::to_i64(import.0))
        } else {
            Err(Failure::not_found("import", import.0))
        }
    }
}

fn open_lock(path: &std::path::Path) -> Result<File, Failure> {
    Ok(File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?)
}

pub(super) async fn begin(store: &SqliteStore, project: &str) -> Result<ImportId, Failure> {
    let path = store.imports().lock_path.clone();
    // waits while another process, opening the store, removes abandoned imports
    let hold = tokio::task::spawn_blocking(move || -> Result<File, Failure> {
        let file = open_lock(&path)?;
        file.lock_shared()?;
        Ok(file)
    })
    .await
    .map_err(|error| Failure::Io(std::io::Error::other(error)))??;
    let mut writer = store.writer().await;
    let mut tx = writer.begin().await?;
    let row = args()
        .text(project)
        .int(store.now().0)
        .query("INSERT INTO datasets (project, created_at) VALUES (?, ?) RETURNING id")
        .fetch_one(&mut *tx)
        .await?;
    let import = ImportId(row.number(0)?);
    tx.commit().await?;
    store.imports().lock().insert(import, hold);
    Ok(import)
}

pub(super) async fn add(
    store: &SqliteStore,
    import: ImportId,
    cases: Vec<IncomingCase>,
) -> Result<Vec<DuplicateCase>, Failure> {
    let id = store.imports().check(import)?;
    let prepared = tokio::task::spawn_blocking(move || {
        cases
            .into_iter()
            .map(prepare)
            .collect::<Result<Vec<_>, Failure>>()
    })
    .await
    .map_err(|error| Failure::Io(std::io::Error::other(error)))??;
    let mut writer = store.writer().await;
    let mut tx = writer.begin().await?;
    let (fresh, mut duplicates) = part_duplicates(&mut tx, id, prepared).await?;
    insert(&mut tx, id, fresh).await?;
    let row = args()
        .int(id)
        .number(duplicates.len() as u64)
        .query(
            "UPDATE datasets SET duplicates = duplicates + ?2 WHERE id = ?1 RETURNING duplicates",
        )
        .fetch_one(&mut *tx)
        .await?;
    let before = row.number(0)?.saturating_sub(duplicates.len() as u64);
    tx.commit().await?;
    let told = MOST_DUPLICATES.saturating_sub(before);
    duplicates.truncate(usize::try_from(told).unwrap_or(usize::MAX));
    Ok(duplicates)
}

pub(super) async fn split(
    store: &SqliteStore,
    import: ImportId,
    fraction: f64,
    seed: u64,
) -> Result<(), Failure> {
    check_fraction(fraction)?;
    let id = store.imports().check(import)?;
    let mut reader = store.reader().await;
    let cases = counts(&mut reader, id).await?;
    let train = check_train(cases.get(&Split::Train))?;
    if train < 2 {
        return Ok(());
    }
    let moved = groups::choose(&mut reader, id, train, fraction, seed).await?;
    drop(reader);
    let mut writer = store.writer().await;
    let mut tx = writer.begin().await?;
    groups::apply(&mut tx, id, &moved).await?;
    tx.commit().await
}

pub(super) async fn commit(store: &SqliteStore, import: ImportId) -> Result<Dataset, Failure> {
    let id = store.imports().check(import)?;
    // nobody else writes to this import: its long readings need not keep the writer waiting
    let mut reader = store.reader().await;
    let row = args()
        .int(id)
        .query("SELECT duplicates FROM datasets WHERE id = ?")
        .fetch_one(&mut *reader)
        .await?;
    check_duplicates(row.number(0)?)?;
    let cases = counts(&mut reader, id).await?;
    let mut hasher = Hasher::new("dataset/v1");
    for split in Split::ALL {
        let count = cases.get(&split).copied().unwrap_or(0);
        hasher.part(split.as_str().as_bytes()).number(count);
        add_digests(&mut reader, id, split, count, &mut hasher).await?;
    }
    let hash = DatasetId(hasher.finish());
    let near_duplicates = if cases.len() > 1 {
        across::across_splits(&mut reader, id).await?
    } else {
        Vec::new()
    };
    drop(reader);

    let mut writer = store.writer().await;
    let mut tx = writer.begin().await?;
    let equal = args()
        .hash(&hash.0)
        .query("SELECT 1 FROM datasets WHERE hash = ?")
        .fetch_optional(&mut *tx)
        .await?;
    if equal.is_some() {
        drop(tx);
        drop(writer);
        abort(store, import).await?;
        return fapo_domain::ports::datasets::Datasets::get_dataset(store, hash)
            .await
            .map_err(Failure::Port);
    }
    args()
        .int(id)
        .hash(&hash.0)
        .text(to_text(&near_duplicates)?)
        .query("UPDATE datasets SET hash = ?2, near_duplicates = ?3 WHERE id = ?1")
        .execute(&mut *tx)
        .await?;
    args()
        .int(id)
        .query("DELETE FROM import_rows WHERE dataset = ?")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    store.imports().lock().remove(&import);
    Ok(Dataset {
        id: hash,
        cases,
        near_duplicates,
    })
}

/// Adds a split's digests in order, many to a row: a row each would cost more than the hashing.
async fn add_digests(
    connection: &mut SqliteConnection,
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
                "SELECT group_concat(hex(digest), '' ORDER BY ordinal), count(*) FROM cases \
                 WHERE dataset = ? AND split = ? AND ordinal >= ? AND ordinal < ?",
            )
            .fetch_one(&mut *connection)
            .await?;
        let expected = DIGESTS_AT_ONCE.min(count - from);
        if row.number(1)? != expected {
            return Err(Failure::corrupt("the ordinals of a split have gaps"));
        }
        let digests = hex::decode(row.column::<&str>(0)?)
            .map_err(|error| Failure::Corrupt(Box::new(error)))?;
        for digest in digests.chunks(32) {
            hasher.part(digest);
        }
        from += expected;
    }
    Ok(())
}

pub(super) async fn abort(store: &SqliteStore, import: ImportId) -> Result<(), Failure> {
    let id = store.imports().check(import)?;
    remove(store.write_connection(), id).await?;
    store.imports().lock().remove(&import);
    Ok(())
}

/// Removes an import in bounded steps. A crash between two leaves an import that is still unfinished.
async fn remove(writer: &Arc<WriteConnection>, import: i64) -> Result<(), Failure> {
    loop {
        let mut guard = writer.lock().await;
        let mut tx = guard.begin().await?;
        let mut removed = 0;
        for statement in [
            "DELETE FROM case_bodies WHERE seq IN \
             (SELECT seq FROM cases WHERE dataset = ? ORDER BY split, ordinal LIMIT ?)",
            "DELETE FROM import_rows WHERE seq IN \
             (SELECT seq FROM cases WHERE dataset = ? ORDER BY split, ordinal LIMIT ?)",
            "DELETE FROM cases WHERE seq IN \
             (SELECT seq FROM cases WHERE dataset = ? ORDER BY split, ordinal LIMIT ?)",
        ] {
            removed = args()
                .int(import)
                .number(REMOVED_AT_ONCE)
                .query(statement)
                .execute(&mut *tx)
                .await?
                .rows_affected();
        }
        if removed < REMOVED_AT_ONCE {
            args()
                .int(import)
                .query("DELETE FROM datasets WHERE id = ? AND hash IS NULL")
                .execute(&mut *tx)
                .await?;
            return tx.commit().await;
        }
        tx.commit().await?;
    }
}
