//! Content-addressed bytes, packed, each stored once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::blobs::Blobs;
use sqlx::postgres::PgConnection;

use crate::blob::{NewBlob, prepare};
use crate::codec::unpack;
use crate::error::Failure;
use crate::postgres::sql::{Columns, args};
use crate::postgres::store::PgStore;
use crate::retention;

/// Stores blobs that are not there yet, and touches those that are (see [`retention`]). In the order of their hashes, so that two
/// transactions with some blobs in common do not wait for each other in a circle.
pub(crate) async fn insert(
    tx: &mut PgConnection,
    blobs: &[NewBlob],
    now: Timestamp,
) -> Result<(), Failure> {
    if blobs.is_empty() {
        return Ok(());
    }
    let mut blobs: Vec<&NewBlob> = blobs.iter().collect();
    blobs.sort_unstable_by_key(|blob| blob.hash);
    args()
        .hashes(blobs.iter().map(|blob| &blob.hash))
        .byte_lists(blobs.iter().map(|blob| blob.packed.clone()).collect())
        .int(now.0)
        .query(
            // the time in the last line is `retention::TOUCH`
            "INSERT INTO blobs (hash, body, touched_at) SELECT *, $3 FROM UNNEST($1::bytea[], $2::bytea[]) \
             ON CONFLICT (hash) DO UPDATE SET touched_at = excluded.touched_at \
             WHERE blobs.touched_at < excluded.touched_at - 43200000",
        )
        .execute(tx)
        .await?;
    Ok(())
}

/// Which of `hashes` are stored, and touched so lately that they may be named without being touched again.
pub(crate) async fn present(
    connection: &mut PgConnection,
    hashes: impl IntoIterator<Item = &ContentHash> + Send,
    now: Timestamp,
) -> Result<HashSet<ContentHash>, Failure> {
    let rows = args()
        .hashes(hashes)
        .int(retention::before(now, retention::TOUCH).0)
        .query("SELECT hash FROM blobs WHERE hash = ANY($1) AND touched_at >= $2")
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| row.hash(0)).collect()
}

/// The stored ones among `hashes`, unpacked.
pub(crate) async fn load(
    connection: &mut PgConnection,
    hashes: impl IntoIterator<Item = &ContentHash> + Send,
) -> Result<HashMap<ContentHash, Vec<u8>>, Failure> {
    let rows = args()
        .hashes(hashes)
        .query("SELECT hash, body FROM blobs WHERE hash = ANY($1)")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((row.hash(0)?, unpack(row.column(1)?)?)))
        .collect()
}

#[async_trait]
impl Blobs for PgStore {
    async fn put_blobs(&self, contents: Vec<Arc<[u8]>>) -> Result<Vec<ContentHash>, StoreError> {
        let (hashes, blobs) = self
            .once("store blobs", async { prepare(contents).await })
            .await?;
        self.run("store blobs", || async {
            let mut tx = self.begin().await?;
            insert(&mut tx, &blobs, self.now()).await?;
            tx.commit().await
        })
        .await?;
        Ok(hashes)
    }

    async fn get_blobs(&self, hashes: &[ContentHash]) -> Result<Vec<Arc<[u8]>>, StoreError> {
        self.run("read blobs", || async {
            let found: HashMap<ContentHash, Arc<[u8]>> =
                load(&mut *self.connection().await?, hashes)
                    .await?
                    .into_iter()
                    .map(|(hash, bytes)| (hash, bytes.into()))
                    .collect();
            hashes
                .iter()
                .map(|hash| {
                    found
                        .get(hash)
                        .cloned()
                        .ok_or_else(|| Failure::not_found("blob", hash))
                })
                .collect()
        })
        .await
    }

    async fn absent_blobs(&self, hashes: &[ContentHash]) -> Result<Vec<ContentHash>, StoreError> {
        self.run("look for blobs", || async {
            // one that was not touched lately is asked for again, which touches it: until then it may go
            let there = present(&mut *self.connection().await?, hashes, self.now()).await?;
            Ok(hashes
                .iter()
                .filter(|hash| !there.contains(hash))
                .copied()
                .collect())
        })
        .await
    }
}
