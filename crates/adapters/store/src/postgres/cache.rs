//! The step cache. Reads are joined in `reader.rs`, writes in `writer.rs`.

mod known;

use async_trait::async_trait;
use fapo_domain::model::trace::{CacheEntry, CachedStep};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::ledger::{Charge, Room};
use fapo_domain::{StepFingerprint, StepKey};
use sqlx::postgres::PgConnection;
use tokio::sync::oneshot;

pub(crate) use self::known::Known;
use crate::codec::{pack_json, unpack_json};
use crate::error::Failure;
use crate::group::Op;
use crate::postgres::reader::Lookup;
use crate::postgres::sql::args;
use crate::postgres::store::{PgStore, gone};

/// Writes fingerprints down that are met for the first time. They are sorted, so that two groups do not wait for each other in
/// a circle.
pub(crate) async fn insert_fingerprints(
    tx: &mut PgConnection,
    fingerprints: &[StepFingerprint],
) -> Result<(), Failure> {
    if fingerprints.is_empty() {
        return Ok(());
    }
    args()
        .hashes(fingerprints.iter().map(|fingerprint| &fingerprint.0))
        .query(
            "INSERT INTO step_fingerprints (fingerprint) SELECT * FROM UNNEST($1::bytea[]) ON CONFLICT DO NOTHING",
        )
        .execute(tx)
        .await?;
    Ok(())
}

#[async_trait]
impl StepCache for PgStore {
    async fn get_step(
        &self,
        key: StepKey,
        _fingerprint: StepFingerprint,
    ) -> Result<Option<CachedStep>, StoreError> {
        let (answer, found) = oneshot::channel();
        self.look_up(Lookup { key, answer }).await?;
        match found.await.map_err(|_| gone())?? {
            None => Ok(None),
            Some(body) => {
                self.once("read a cached step", async { unpack_json(&body).map(Some) })
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
            .once("store a step", async { pack_json(&entry.step) })
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
        self.run("look up a step fingerprint", || async {
            let found = args()
                .hash(&fingerprint.0)
                .query("SELECT 1 FROM step_fingerprints WHERE fingerprint = $1")
                .fetch_optional(self.pool())
                .await?
                .is_some();
            if found {
                self.known().add([fingerprint]);
            }
            Ok(found)
        })
        .await
    }
}
