//! Questions to the executor and the scorer (work itself travels through the queue).

use async_trait::async_trait;

use super::work::WorkError;
use crate::ids::JobId;
use crate::model::case::Case;
use crate::model::job::JobSpec;
use crate::model::score::CaseScore;
use crate::model::task::Fence;
use crate::model::trace::RunRecord;
use crate::model::variant::VariantTree;

/// Runs a pipeline over one case on request.
#[async_trait]
pub trait PipelineRunner: Send + Sync {
    /// Runs `tree` over `case` now and returns the run with every step. Stores no run; model calls go through the step
    /// cache unless `fresh`, and are booked under `job`: by the claim `payer` where one is given, whose end then settles what
    /// a dropped future or a dead process left reserved, and else by a claim of the run's own.
    async fn run_case(
        &self,
        job: JobId,
        spec: &JobSpec,
        tree: &VariantTree,
        case: &Case,
        fresh: bool,
        payer: Option<Fence>,
    ) -> Result<RunRecord, WorkError>;
}

/// Scores one run on request.
#[async_trait]
pub trait RunScorer: Send + Sync {
    /// Scores `run` against `case`. Pure: equal arguments give an equal score.
    async fn score_run(
        &self,
        spec: &JobSpec,
        case: &Case,
        run: &RunRecord,
    ) -> Result<CaseScore, WorkError>;
}
