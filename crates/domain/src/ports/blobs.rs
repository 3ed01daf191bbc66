//! Content-addressed bytes.

use std::sync::Arc;

use async_trait::async_trait;

use super::StoreError;
use crate::hash::ContentHash;

/// Stores bytes once under their SHA-256.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Stores each of `contents`; returns their hashes in order. Atomic as a whole; repeating is harmless.
    async fn put_blobs(&self, contents: Vec<Arc<[u8]>>) -> Result<Vec<ContentHash>, StoreError>;

    /// The bytes of each hash, in order. `NotFound` names the first that is absent.
    async fn get_blobs(&self, hashes: &[ContentHash]) -> Result<Vec<Arc<[u8]>>, StoreError>;

    /// Which of `hashes` are not stored, in order. A store answers without reading contents where it can; this way does not.
    async fn absent_blobs(&self, hashes: &[ContentHash]) -> Result<Vec<ContentHash>, StoreError> {
        let mut absent = Vec::new();
        for hash in hashes {
            match self.get_blobs(std::slice::from_ref(hash)).await {
                Ok(_) => {}
                Err(StoreError::NotFound { .. }) => absent.push(*hash),
                Err(error) => return Err(error),
            }
        }
        Ok(absent)
    }
}
