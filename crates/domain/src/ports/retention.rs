//! Throwing old things away.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::clock::Timestamp;

/// What to throw away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionRule {
    /// Runs, steps, scores and findings of jobs that became final before this go; the jobs themselves, their events, lineage,
    /// decisions, accounts and variants stay.
    pub traces_before: Timestamp,
    /// Step results stored before this go; `None` keeps them.
    pub cache_before: Option<Timestamp>,
    /// Count only, change nothing.
    pub dry_run: bool,
}

/// What was thrown away, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Evaluations whose runs went.
    pub evaluations: u64,
    /// Their runs.
    pub runs: u64,
    /// Their steps.
    pub steps: u64,
    /// Step results.
    pub cache_entries: u64,
    /// Blobs that nothing names any more.
    pub blobs: u64,
    /// Bytes of those blobs, as stored.
    pub blob_bytes: u64,
}

/// Throws old things away.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Applies a rule, in steps of bounded size so that others are not held up. Never touches what a running job may need.
    /// Interrupted anywhere it leaves the store whole, and repeating it goes on.
    async fn collect(&self, rule: RetentionRule) -> Result<Collected, StoreError>;
}
