//! Evaluations and their figures.

use fapo_domain::ids::{DatasetId, EvaluationId, StepId, VariantId};
use fapo_domain::model::case::Split;
use fapo_domain::model::evaluation::{CacheUse, EvaluationSpec};
use fapo_domain::model::trace::RunStatus;
use fapo_domain::ports::traces::{EvaluationAggregate, StepAggregate};
use schemars::JsonSchema;
use serde::Serialize;

use super::SpendView;

/// One variant over one split.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EvaluationView {
    /// The id.
    pub id: EvaluationId,
    /// The variant.
    pub variant: VariantId,
    /// The data.
    pub dataset: DatasetId,
    /// The split.
    pub split: Split,
    /// The sample index.
    pub sample: u32,
    /// Cases in it.
    pub cases: u64,
    /// How it uses the step cache.
    pub cache: CacheUse,
    /// How often it was begun anew because too many results were missing.
    pub attempt: u32,
}

impl From<EvaluationSpec> for EvaluationView {
    fn from(spec: EvaluationSpec) -> Self {
        Self {
            id: spec.id(),
            variant: spec.variant,
            dataset: spec.dataset,
            split: spec.split,
            sample: spec.sample,
            cases: spec.cases,
            cache: spec.cache,
            attempt: spec.attempt,
        }
    }
}

/// Figures of an evaluation.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AggregateView {
    /// Runs by how they ended.
    pub runs: Vec<StatusCount>,
    /// Runs with a score that counts.
    pub scored: u64,
    /// Their mean score.
    pub mean: Option<f64>,
    /// What was spent.
    pub spend: SpendView,
    /// Its steps, by name.
    pub steps: Vec<StepAggregateView>,
}

/// How many runs ended in one way.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StatusCount {
    /// The way.
    pub status: RunStatus,
    /// How many.
    pub count: u64,
}

/// Figures of a step.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StepAggregateView {
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
    pub spend: SpendView,
    /// What it would have cost without a cache.
    pub full_spend: SpendView,
    /// Its median time without a cache, in milliseconds.
    pub p50_ms: u32,
    /// Its 95th percentile of the same.
    pub p95_ms: u32,
}

impl From<StepAggregate> for StepAggregateView {
    fn from(step: StepAggregate) -> Self {
        Self {
            step: step.step,
            kind: step.kind,
            count: step.count,
            failed: step.failed,
            skipped: step.skipped,
            cache_hits: step.cache_hits,
            spend: step.spend.into(),
            full_spend: step.full_spend.into(),
            p50_ms: step.p50_ms,
            p95_ms: step.p95_ms,
        }
    }
}

impl From<EvaluationAggregate> for AggregateView {
    fn from(aggregate: EvaluationAggregate) -> Self {
        Self {
            runs: aggregate
                .runs
                .into_iter()
                .map(|(status, count)| StatusCount { status, count })
                .collect(),
            scored: aggregate.scored,
            mean: aggregate.mean,
            spend: aggregate.spend.into(),
            steps: aggregate.steps.into_iter().map(Into::into).collect(),
        }
    }
}
