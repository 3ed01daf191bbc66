//! Questions to the executor and the scorer (work itself travels through the queue).

use std::sync::Arc;

use async_trait::async_trait;

use super::work::WorkError;
use crate::ids::JobId;
use crate::model::case::Case;
use crate::model::job::JobSpec;
use crate::model::score::CaseScore;
use crate::model::task::Fence;
use crate::model::trace::{RunRecord, StepRecord};
use crate::model::variant::VariantTree;

/// A case to be run, as [`PipelineRunner::run_case`] takes it.
#[derive(Debug, Clone, Copy)]
pub struct CaseRun<'a> {
    /// The job that pays.
    pub job: JobId,
    /// Its specification.
    pub spec: &'a JobSpec,
    /// The pipeline.
    pub tree: &'a VariantTree,
    /// The case.
    pub case: &'a Case,
    /// Whether the step cache is not read.
    pub fresh: bool,
    /// The claim that pays.
    pub payer: Option<Fence>,
}

/// Hears of a run's steps while the run is under way.
pub trait StepObserver: Send + Sync {
    /// A step ended, in whatever way. Its full duration is not final yet: that of a step with steps of its own is worked out
    /// when the run has ended. Called while the run waits, so it returns soon.
    fn step_ended(&self, step: &StepRecord);
}

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

    /// The same, and tells `observer` of each step as it ends. An implementation that cannot tell leaves the observer alone.
    async fn run_case_observed(
        &self,
        run: CaseRun<'_>,
        observer: Arc<dyn StepObserver>,
    ) -> Result<RunRecord, WorkError> {
        drop(observer);
        self.run_case(run.job, run.spec, run.tree, run.case, run.fresh, run.payer)
            .await
    }
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
