//! Scores of runs.

use async_trait::async_trait;

use super::StoreError;
use crate::ids::EvaluationId;
use crate::model::score::CaseScore;
use crate::model::task::Fence;
use crate::money::MicroUsd;

/// One case of a paired comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredCase {
    /// The score.
    pub score: CaseScore,
    /// What the run would have cost without a cache.
    pub full_cost: MicroUsd,
    /// How long the run took, in milliseconds; `None` where any of its steps came from the cache.
    pub uncached_ms: Option<u32>,
    /// How long the run would have taken without a cache, in milliseconds; `None` where there is no run.
    pub full_ms: Option<u32>,
}

/// Stores and reads scores. A score is identified by (evaluation, ordinal).
#[async_trait]
pub trait Scores: Send + Sync {
    /// Stores scores. Atomic as a whole. A score that is there already is replaced only if it was `missing`; another
    /// scorer's score on the same run is `AlreadyExists`. With a fence, a stale one is `StaleLease`.
    async fn record_scores(
        &self,
        fence: Option<Fence>,
        scores: Vec<CaseScore>,
    ) -> Result<(), StoreError>;

    /// Up to `limit` scores of an evaluation with their runs' cost and time, by ordinal, from ordinal `from` on; empty
    /// at the end.
    async fn scores(
        &self,
        evaluation: EvaluationId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<ScoredCase>, StoreError>;
}
