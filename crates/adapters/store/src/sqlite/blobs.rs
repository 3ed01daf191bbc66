//! Content-addressed bytes, packed, each stored once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::blobs::Blobs;
use sqlx::sqlite::SqliteConnection;

pub(crate) use crate::blob::{NewBlob, prepare};
use crate::codec::unpack;
use crate::error::Failure;
use crate::retention;
use crate::sqlite::sql::{Args, Columns, Insert, args, hash_list};
use crate::sqlite::store::SqliteStore;

// the time in the last line is `retention::TOUCH`
static INSERT: Insert = Insert::new(
    "INSERT INTO blobs (hash, body, touched_at) VALUES",
    3,
    "ON CONFLICT (hash) DO UPDATE SET touched_at = excluded.touched_at \
     WHERE blobs.touched_at < excluded.touched_at - 43200000",
);

/// Stores blobs that are not there yet, and touches those that are (see [`retention`]).
pub(crate) async fn insert(
    tx: &mut SqliteConnection,
    blobs: Vec<NewBlob>,
    now: Timestamp,
) -> Result<(), Failure> {
    let rows = blobs.into_iter().map(|blob| (blob, now)).collect();
    INSERT.run(tx, rows, bind).await
}

fn bind((blob, now): (NewBlob, Timestamp), arguments: &mut Args) {
    arguments.hash(&blob.hash).bytes(blob.packed).int(now.0);
}

/// Which of `hashes` are stored, and touched so lately that they may be named without being touched again.
pub(crate) async fn present(
    connection: &mut SqliteConnection,
    hashes: impl IntoIterator<Item = &ContentHash> + Send,
    now: Timestamp,
) -> Result<HashSet<ContentHash>, Failure> {
    let rows = args()
        .text(hash_list(hashes))
        .int(retention::before(now, retention::TOUCH).0)
        .query(
            "SELECT hash FROM blobs WHERE hash IN (SELECT unhex(value) FROM json_each(?1)) AND touched_at >= ?2",
        )
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
            insert(&mut tx, blobs, self.now()).await?;
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
            // one that was not touched lately is asked for again, which touches it: until then it may go
            let there = present(&mut *self.reader().await, hashes, self.now()).await?;
            Ok(hashes
                .iter()
                .filter(|hash| !there.contains(hash))
                .copied()
                .collect())
        })
        .await
    }
}
