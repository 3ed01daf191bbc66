//! The step cache: results of steps by the hash of everything that determines them.

use async_trait::async_trait;

use super::StoreError;
use super::ledger::{Charge, Room};
use crate::ids::{StepFingerprint, StepKey};
use crate::model::trace::{CacheEntry, CachedStep};

/// Keeps step results.
#[async_trait]
pub trait StepCache: Send + Sync {
    /// The result under `key`, or `None`. `fingerprint` is the key's own: an implementation may know from it that nothing
    /// can be there. Implementations may join concurrent calls into one query.
    async fn get_step(
        &self,
        key: StepKey,
        fingerprint: StepFingerprint,
    ) -> Result<Option<CachedStep>, StoreError>;

    /// Stores a result and settles its charge, in one commit. When this returns both are durable: a killed process
    /// meets the result again and pays for it once. The first result under a key stays; the charge is settled in any
    /// case; without one nothing was to be kept. Implementations may join concurrent calls into one commit.
    async fn put_step(&self, entry: CacheEntry, charge: Option<Charge>)
    -> Result<Room, StoreError>;

    /// Whether anything is stored under `fingerprint`. While this is false no key with that fingerprint can hit, so a
    /// caller may skip its look-ups.
    async fn has_any(&self, fingerprint: StepFingerprint) -> Result<bool, StoreError>;
}
