//! Runs and their steps.

use async_trait::async_trait;

use super::StoreError;
use crate::ids::{CaseId, EvaluationId, JobId, StepId};
use crate::model::evaluation::EvaluationSpec;
use crate::model::task::Fence;
use crate::model::trace::{RunRecord, RunStatus};
use crate::money::Spend;

/// Which runs are read with their steps. Steps are most of what is stored of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepsOf {
    /// All of them.
    All,
    /// Those that did not complete, where the steps say why; a completed run comes with its output and no steps.
    Incomplete,
}

/// Stores runs and answers for them.
///
/// A run is identified by (evaluation, ordinal). Large values are stored as compressed blobs.
#[async_trait]
pub trait Traces: Send + Sync {
    /// Stores runs with all their steps. Atomic as a whole. A run that is stored already is left as it is, unless it
    /// was `missing`: then the new one replaces it. With a fence, a stale one is `StaleLease` and nothing is stored.
    async fn record_runs(
        &self,
        fence: Option<Fence>,
        runs: Vec<RunRecord>,
    ) -> Result<(), StoreError>;

    /// Which of `ordinals` have a run with a final status (anything but `missing`), in ascending order.
    async fn finished_ordinals(
        &self,
        evaluation: EvaluationId,
        ordinals: &[u64],
    ) -> Result<Vec<u64>, StoreError>;

    /// The runs with the given ordinals, with their steps, in the order asked for; absent ones are left out.
    async fn runs(
        &self,
        evaluation: EvaluationId,
        ordinals: &[u64],
        steps: StepsOf,
    ) -> Result<Vec<RunRecord>, StoreError>;
}

/// Which runs to list. All conditions hold together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunFilter {
    /// Only runs that ended so.
    pub status: Option<RunStatus>,
    /// Only runs that did not complete, or whose score is below this.
    pub failed_below: Option<f64>,
    /// Only the case of this name.
    pub case_id: Option<CaseId>,
    /// Only runs where this step failed.
    pub failed_step: Option<StepId>,
    /// Only runs whose output (as text) contains this, whatever its case of letters.
    pub output_contains: Option<String>,
}

/// A run in a list: no steps, and its output cut short.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// The evaluation.
    pub evaluation: EvaluationId,
    /// The case's ordinal in its split.
    pub ordinal: u64,
    /// The case's name.
    pub case_id: CaseId,
    /// How it ended.
    pub status: RunStatus,
    /// Why it did not complete.
    pub reason: Option<String>,
    /// The output's first 200 characters.
    pub output: Option<String>,
    /// Its score, where it was scored.
    pub score: Option<f64>,
    /// The scorer's feedback, where it was scored.
    pub feedback: Option<String>,
    /// The first step that failed.
    pub failed_step: Option<StepId>,
    /// What it spent.
    pub spend: Spend,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
}

/// Figures of one step over an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct StepAggregate {
    /// The step.
    pub step: StepId,
    /// Its kind.
    pub kind: String,
    /// How often it was recorded.
    pub count: u64,
    /// How often it failed.
    pub failed: u64,
    /// How often it was skipped.
    pub skipped: u64,
    /// How often its value came from the step cache.
    pub cache_hits: u64,
    /// What it spent.
    pub spend: Spend,
    /// What it would have cost without a cache.
    pub full_spend: Spend,
    /// The median time it takes without a cache, in milliseconds, over those that were not skipped: the nearest rank.
    pub p50_ms: u32,
    /// Its 95th percentile of the same.
    pub p95_ms: u32,
}

/// Figures of an evaluation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EvaluationAggregate {
    /// Runs by how they ended; ways that did not occur are left out.
    pub runs: Vec<(RunStatus, u64)>,
    /// Runs that have a score which counts (missing ones do not).
    pub scored: u64,
    /// Their mean score; `None` where none counts.
    pub mean: Option<f64>,
    /// What was spent.
    pub spend: Spend,
    /// Its steps, by name.
    pub steps: Vec<StepAggregate>,
}

/// Answers questions about stored runs.
#[async_trait]
pub trait TraceQueries: Send + Sync {
    /// The evaluations of a job, in order of their first task.
    async fn evaluations(&self, job: JobId) -> Result<Vec<EvaluationSpec>, StoreError>;

    /// The evaluation of that id, or `None`: whose job tells who may see its runs.
    async fn evaluation(&self, id: EvaluationId) -> Result<Option<EvaluationSpec>, StoreError>;

    /// Up to `limit` runs of an evaluation that fit `filter`, by ordinal, from ordinal `from` on.
    async fn search(
        &self,
        evaluation: EvaluationId,
        filter: &RunFilter,
        from: u64,
        limit: u32,
    ) -> Result<Vec<RunSummary>, StoreError>;

    /// Figures of an evaluation and each of its steps; all zero where it has no runs.
    async fn aggregate(&self, evaluation: EvaluationId) -> Result<EvaluationAggregate, StoreError>;
}
