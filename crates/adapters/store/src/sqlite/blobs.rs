//! Content-addressed bytes, packed, each stored once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::hash::ContentHash;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::blobs::Blobs;
use sqlx::sqlite::SqliteConnection;

pub(crate) use crate::blob::{NewBlob, prepare};
use crate::codec::unpack;
use crate::error::Failure;
use crate::sqlite::sql::{Args, Columns, Insert, args, hash_list};
use crate::sqlite::store::SqliteStore;

static INSERT: Insert = Insert::new("INSERT OR IGNORE INTO blobs (hash, body) VALUES", 2, "");

/// Stores blobs that are not there yet.
pub(crate) async fn insert(tx: &mut SqliteConnection, blobs: Vec<NewBlob>) -> Result<(), Failure> {
    INSERT.run(tx, blobs, bind).await
}

fn bind(blob: NewBlob, arguments: &mut Args) {
    arguments.hash(&blob.hash).bytes(blob.packed);
}

/// Which of `hashes` are stored. A blob is never removed, so the answer stays true for those.
pub(crate) async fn present(
    connection: &mut SqliteConnection,
    hashes: impl IntoIterator<Item = &ContentHash> + Send,
) -> Result<HashSet<ContentHash>, Failure> {
    let rows = args()
        .text(hash_list(hashes))
        .query("SELECT hash FROM blobs WHERE hash IN (SELECT unhex(value) FROM json_each(?))")
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| row.hash(0)).collect()
}

/// The stored ones among `hashes`, unpacked.
pub(crate) async fn load(
    connection: &mut SqliteConnection,
    hashes: impl IntoIterator<Item = &ContentHash> + Send,
) -> Result<HashMap<ContentHash, Vec<u8>>, Failure> {
    let rows = args()
        .text(hash_list(hashes))
        .query("SELECT hash, body FROM blobs WHERE hash IN (SELECT unhex(value) FROM json_each(?))")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((row.hash(0)?, unpack(row.column(1)?)?)))
        .collect()
}

#[async_trait]
impl Blobs for SqliteStore {
    async fn put_blobs(&self, contents: Vec<Arc<[u8]>>) -> Result<Vec<ContentHash>, StoreError> {
        self.run("store blobs", async {
            let (hashes, blobs) = prepare(contents).await?;
            let mut writer = self.writer().await;
            let mut tx = writer.begin().await?;
            insert(&mut tx, blobs).await?;
            tx.commit().await?;
            Ok(hashes)
        })
        .await
    }

    async fn get_blobs(&self, hashes: &[ContentHash]) -> Result<Vec<Arc<[u8]>>, StoreError> {
        self.run("read blobs", async {
            let found: HashMap<ContentHash, Arc<[u8]>> = load(&mut *self.reader().await, hashes)
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
        self.run("look for blobs", async {
            let there = present(&mut *self.reader().await, hashes).await?;
            Ok(hashes
                .iter()
                .filter(|hash| !there.contains(hash))
                .copied()
                .collect())
        })
        .await
    }
}
