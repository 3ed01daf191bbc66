//! Blobs on their way into a store: hashed and packed before any transaction begins.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fapo_domain::hash::ContentHash;

use crate::codec::pack;
use crate::error::Failure;

/// A blob to be stored.
pub(crate) struct NewBlob {
    pub(crate) hash: ContentHash,
    pub(crate) packed: Vec<u8>,
}

/// Packs blobs whose hashes are known, on a thread of its own.
pub(crate) async fn pack_all(
    contents: HashMap<ContentHash, Vec<u8>>,
) -> Result<Vec<NewBlob>, Failure> {
    if contents.is_empty() {
        return Ok(Vec::new());
    }
    tokio::task::spawn_blocking(move || {
        contents
            .into_iter()
            .map(|(hash, content)| NewBlob {
                hash,
                packed: pack(&content),
            })
            .collect()
    })
    .await
    .map_err(|error| Failure::Io(std::io::Error::other(error)))
}

/// Hashes and packs on a thread of its own: a corpus is long.
pub(crate) async fn prepare(
    contents: Vec<Arc<[u8]>>,
) -> Result<(Vec<ContentHash>, Vec<NewBlob>), Failure> {
    tokio::task::spawn_blocking(move || {
        let mut seen = HashSet::new();
        let mut hashes = Vec::with_capacity(contents.len());
        let mut blobs = Vec::new();
        for content in contents {
            let hash = ContentHash::of(&content);
            hashes.push(hash);
            if seen.insert(hash) {
                let packed = pack(&content);
                blobs.push(NewBlob { hash, packed });
            }
        }
        (hashes, blobs)
    })
    .await
    .map_err(|error| Failure::Io(std::io::Error::other(error)))
}
