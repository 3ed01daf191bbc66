//! The record of coding agents' sessions.

use async_trait::async_trait;

use super::StoreError;
use crate::ids::JobId;
use crate::model::session::{SessionId, SessionRecord};

/// Stores sessions of coding agents, with their transcripts as compressed blobs.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Stores a session and its transcript. Atomic. The first record of an id stays; repeating is harmless.
    async fn record_session(&self, record: SessionRecord) -> Result<(), StoreError>;

    /// A session, without its transcript's text, or `None`.
    async fn session(&self, id: SessionId) -> Result<Option<SessionRecord>, StoreError>;

    /// A job's sessions in order of their start, without their transcripts' texts.
    async fn sessions(&self, job: JobId) -> Result<Vec<SessionRecord>, StoreError>;

    /// Sessions whose id starts with `prefix` (hex digits), at most `limit`, newest first.
    async fn find_sessions(
        &self,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, StoreError>;
}
