//! Questions to executor and scoring that are no work of a job: is this pipeline right, how do these two compare.

use async_trait::async_trait;

use super::work::WorkError;
use crate::ids::{EvaluationId, JobId};
use crate::model::job::JobSpec;
use crate::model::score::Comparison;
use crate::model::variant::VariantTree;
use crate::problem::Problems;

/// Looks at pipelines without running them.
#[async_trait]
pub trait PipelineChecker: Send + Sync {
    /// The problems of `tree` under the models, corpora and rules of `spec`; none where it can be run. Pure.
    async fn check_pipeline(
        &self,
        spec: &JobSpec,
        tree: &VariantTree,
    ) -> Result<Problems, WorkError>;
}

/// Compares evaluations on request.
#[async_trait]
pub trait Comparer: Send + Sync {
    /// Compares two evaluations of one job, pair by pair over the first `upto` positions of the case order, as a `Compare`
    /// task does: the same question gives the same answer.
    async fn compare(
        &self,
        job: JobId,
        a: EvaluationId,
        b: EvaluationId,
        upto: u64,
        confidence: f64,
        seed: u64,
    ) -> Result<Comparison, WorkError>;
}

/// A metric that a project can name in `scorer:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScorerInfo {
    /// The name in fapo.yaml.
    pub name: &'static str,
    /// What it measures, in a sentence.
    pub about: &'static str,
}
