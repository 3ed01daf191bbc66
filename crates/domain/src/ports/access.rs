//! Tokens, and keys of repeated requests.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::hash::ContentHash;
use crate::ids::JobId;
use crate::model::access::TokenRecord;

/// Stores tokens, by the hash of their text only.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Stores a token (its `hash` must be there). An id that exists is `AlreadyExists`. Atomic.
    async fn create_token(&self, token: TokenRecord) -> Result<(), StoreError>;

    /// The token whose text has this hash, revoked and ended ones too, or `None`.
    async fn find_token(&self, hash: ContentHash) -> Result<Option<TokenRecord>, StoreError>;

    /// All tokens, or those of one project, in order of creation; without their hashes.
    async fn tokens(&self, project: Option<&str>) -> Result<Vec<TokenRecord>, StoreError>;

    /// Revokes a token for good. `NotFound` where there is none of that id. Repeating is harmless: the first moment stays.
    async fn revoke_token(&self, id: &str, at: Timestamp) -> Result<(), StoreError>;
}

/// Remembers which job a submission became, so that a client can repeat a request whose answer was lost.
#[async_trait]
pub trait Requests: Send + Sync {
    /// Binds the request `key` of `project` to `job`, unless it is bound already; returns the job that it is bound to. Atomic:
    /// of several callers all get the same answer. A key that is bound with another `fingerprint` (the hash of what was asked)
    /// is `AlreadyExists`.
    async fn bind_request(
        &self,
        project: &str,
        key: &str,
        fingerprint: ContentHash,
        job: JobId,
        at: Timestamp,
    ) -> Result<JobId, StoreError>;
}
