//! Runs and their steps.

use async_trait::async_trait;

use super::StoreError;
use crate::ids::EvaluationId;
use crate::model::task::Fence;
use crate::model::trace::RunRecord;

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
