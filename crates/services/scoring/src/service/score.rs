//! Scoring a block.

use fapo_domain::model::evaluation::{Block, EvaluationSpec};
use fapo_domain::model::score::{ScoreStatus, ScoreSummary};
use fapo_domain::model::task::Fence;
use fapo_domain::ports::work::WorkError;
use tokio_util::sync::CancellationToken;

use super::{Context, ScoringService};

/// Runs read, scored and written at a time: bounds memory, whatever the size of a block.
const CHUNK: u64 = 256;

impl ScoringService {
    /// Scores a block's runs and sums them up. A case without a run counts as missing in the sum, and nothing is stored
    /// for it.
    pub(super) async fn score_block(
        &self,
        context: &Context,
        fence: Fence,
        evaluation: &EvaluationSpec,
        block: Block,
        stop: &CancellationToken,
    ) -> Result<ScoreSummary, WorkError> {
        let split_len = context.split_len(evaluation)?;
        let mut summary = ScoreSummary::default();
        let mut start = block.start;
        while start < block.end {
            if stop.is_cancelled() {
                return Err(WorkError::interrupted());
            }
            let end = block.end.min(start.saturating_add(CHUNK));
            let ordinals = evaluation.ordinals(split_len, start..end);
            self.score_chunk(context, fence, evaluation, &ordinals, &mut summary)
                .await?;
            start = end;
        }
        tracing::debug!(
            evaluation = %evaluation.id().short(),
            start = block.start,
            end = block.end,
            counted = summary.counted(),
            mean = summary.mean(),
            "block scored"
        );
        Ok(summary)
    }

    async fn score_chunk(
        &self,
        context: &Context,
        fence: Fence,
        evaluation: &EvaluationSpec,
        ordinals: &[u64],
        summary: &mut ScoreSummary,
    ) -> Result<(), WorkError> {
        if ordinals.is_empty() {
            return Ok(());
        }
        let read_runs = async {
            self.traces
                .runs(evaluation.id(), ordinals, context.scorer.reads_steps_of())
                .await
                .map_err(|error| WorkError::from_port("the runs cannot be read", error))
        };
        let read_cases = async {
            self.datasets
                .cases(evaluation.dataset, evaluation.split, ordinals)
                .await
                .map_err(|error| WorkError::from_port("the cases cannot be read", error))
        };
        let (runs, cases) = tokio::try_join!(read_runs, read_cases)?;
        let mut runs = runs.into_iter().peekable();
        let mut scores = Vec::with_capacity(ordinals.len());
        for (ordinal, case) in ordinals.iter().zip(&cases) {
            let Some(run) = runs.next_if(|run| run.ordinal == *ordinal) else {
                *summary.counts.entry(ScoreStatus::Missing).or_default() += 1;
                continue;
            };
            if run.case_id != case.case_id {
                return Err(WorkError::permanent(
                    "RUN_CASE_MISMATCH",
                    format!(
                        "run {ordinal} of evaluation {} is of case {}, where the dataset has case {}",
                        evaluation.id().short(),
                        run.case_id,
                        case.case_id
                    ),
                ));
            }
            let score = context
                .scorer
                .score(case, &run)
                .map_err(|error| WorkError::permanent(error.reason(), error.to_string()))?;
            summary.add(&score);
            summary.spend += run.spend;
            if score.status.counts() {
                summary.full_spend += run.full_spend;
            }
            scores.push(score);
        }
        self.scores
            .record_scores(Some(fence), scores)
            .await
            .map_err(|error| WorkError::from_port("the scores cannot be stored", error))
    }
}
