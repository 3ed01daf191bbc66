//! The step cache. Reads are joined in `reader.rs`, writes in `writer.rs`.

mod index;
mod known;

use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::model::trace::{CacheEntry, CachedStep};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::ledger::{Charge, Room};
use fapo_domain::{StepFingerprint, StepKey};
use sqlx::sqlite::SqliteConnection;
use tokio::sync::oneshot;

use crate::codec::{pack_json, unpack_json};
use crate::error::Failure;
use crate::group::{Entry, Op};
use crate::sqlite::reader::Lookup;
use crate::sqlite::sql::{Args, args};
use crate::sqlite::store::{SqliteStore, gone};

pub(crate) use self::index::{Tail, select_statement};
pub(crate) use self::known::{Known, Writer};

/// Remembers fingerprints met for the first time by this process; tells which were stored before.
pub(crate) async fn insert_fingerprints(
    tx: &mut SqliteConnection,
    fingerprints: Vec<StepFingerprint>,
) -> Result<Vec<(StepFingerprint, Writer)>, Failure> {
    let mut inserted = Vec::with_capacity(fingerprints.len());
    for fingerprint in fingerprints {
        let done = args()
            .hash(&fingerprint.0)
            .query("INSERT OR IGNORE INTO step_fingerprints (fingerprint) VALUES (?)")
            .execute(&mut *tx)
            .await?;
        let writer = match done.rows_affected() {
            0 => Writer::Any,
            _ => Writer::Ours,
        };
        inserted.push((fingerprint, writer));
    }
    Ok(inserted)
}

/// The statement that appends up to `rows` entries. Rows of nulls are ignored, so a group is filled up with them to one of
/// few sizes.
pub(crate) fn insert_statement(rows: usize) -> String {
    if rows == 0 {
        return String::new();
    }
    format!(
        "INSERT OR IGNORE INTO step_cache (key, body, created_at) VALUES {};",
        vec!["(?,?,?)"; rows].join(",")
    )
}

/// Arguments of [`insert_statement`].
pub(crate) fn bind_entries(entries: Vec<Entry>, rows: usize, now: Timestamp, arguments: &mut Args) {
    let padding = rows.saturating_sub(entries.len());
    for entry in entries {
        arguments.hash(&entry.key.0).bytes(entry.body).int(now.0);
    }
    for _ in 0..3 * padding {
        arguments.opt_int(None);
    }
}

#[async_trait]
impl StepCache for SqliteStore {
    async fn get_step(
        &self,
        key: StepKey,
        fingerprint: StepFingerprint,
    ) -> Result<Option<CachedStep>, StoreError> {
        if self.known().is_absent(key, fingerprint) {
            return Ok(None);
        }
        let (answer, found) = oneshot::channel();
        self.look_up(Lookup { key, answer }).await?;
        match found.await.map_err(|_| gone())?? {
            None => Ok(None),
            Some(body) => {
                self.run("read a cached step", async { unpack_json(&body).map(Some) })
                    .await
            }
        }
    }

    async fn put_step(
        &self,
        entry: CacheEntry,
        charge: Option<Charge>,
    ) -> Result<Room, StoreError> {
        let body = self
            .run("store a step", async { pack_json(&entry.step) })
            .await?;
        let (answer, done) = oneshot::channel();
        self.submit(Op::Put {
            key: entry.key,
            fingerprint: entry.fingerprint,
            body,
            charge,
            answer,
        })
        .await?;
        done.await.map_err(|_| gone())?
    }

    async fn has_any(&self, fingerprint: StepFingerprint) -> Result<bool, StoreError> {
        if self.known().has(fingerprint) {
            return Ok(true);
        }
        self.run("look up a step fingerprint", async {
            let found = args()
                .hash(&fingerprint.0)
                .query("SELECT 1 FROM step_fingerprints WHERE fingerprint = ?")
                .fetch_optional(&mut *self.reader().await)
                .await?
                .is_some();
            if found {
                self.known().found(fingerprint);
            }
            Ok(found)
        })
        .await
    }
}
