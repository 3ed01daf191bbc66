//! Scoring a block.

use std::time::Instant;

use fapo_domain::measure;
use fapo_domain::model::case::Case;
use fapo_domain::model::evaluation::{Block, EvaluationSpec};
use fapo_domain::model::score::{CaseScore, ScoreStatus, ScoreSummary};
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::code::CodeError;
use fapo_domain::ports::work::WorkError;
use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{Context, ScoringService, work_error};
use crate::scorer::ScoreError;

/// Cases under way at once, where code is asked about them; how many workers there are is not decided here.
const AT_ONCE: usize = 16;

/// Runs read, scored and written at a time: bounds memory, whatever the size of a block.
const CHUNK: u64 = 256;

/// A block's scores so far.
#[derive(Default)]
struct Sum {
    summary: ScoreSummary,
    /// The last failure to have a worker for the scorer's code.
    lost: Option<CodeError>,
}

impl ScoringService {
    /// Scores a block's runs and sums them up. A case without a run counts as missing in the sum, and nothing is stored
    /// for it. So does one that could not be scored because no worker for the scorer's code could be had; where that is so
    /// of each, or will not pass by itself, the task fails.
    pub(super) async fn score_block(
        &self,
        context: &Context,
        fence: Fence,
        evaluation: &EvaluationSpec,
        block: Block,
        stop: &CancellationToken,
    ) -> Result<ScoreSummary, WorkError> {
        let split_len = context.split_len(evaluation)?;
        let began = Instant::now();
        let mut sum = Sum::default();
        let mut start = block.start;
        while start < block.end {
            if stop.is_cancelled() {
                return Err(WorkError::interrupted());
            }
            let end = block.end.min(start.saturating_add(CHUNK));
            let ordinals = evaluation.ordinals(split_len, start..end);
            self.score_chunk(context, fence, evaluation, &ordinals, stop, &mut sum)
                .await?;
            start = end;
        }
        let Sum { summary, lost } = sum;
        if let Some(error) = lost
            && summary.counted() == 0
        {
            return Err(work_error(ScoreError::NoWorkers(error)));
        }
        for (status, count) in &summary.counts {
            measure!(
                monotonic_counter.fapo_scores_total = *count,
                status = status.as_str()
            );
        }
        measure!(histogram.fapo_score_block_seconds = began.elapsed().as_secs_f64());
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
        stop: &CancellationToken,
        sum: &mut Sum,
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
        let mut pairs = Vec::with_capacity(ordinals.len());
        for (ordinal, case) in ordinals.iter().zip(&cases) {
            let Some(run) = runs.next_if(|run| run.ordinal == *ordinal) else {
                *sum.summary.counts.entry(ScoreStatus::Missing).or_default() += 1;
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
            pairs.push((case, run));
        }
        let mut questions = Vec::with_capacity(pairs.len());
        for (case, run) in &pairs {
            questions.push(self.score_one(context, case, run));
        }
        let answers = stream::iter(questions).buffered(AT_ONCE).try_collect();
        // code may take its time
        let scored: Vec<_> = stop
            .run_until_cancelled(answers)
            .await
            .ok_or_else(WorkError::interrupted)??;
        let mut scores = Vec::with_capacity(scored.len());
        for ((score, error), (_, run)) in scored.into_iter().zip(&pairs) {
            sum.lost = error.or_else(|| sum.lost.take());
            sum.summary.add(&score);
            sum.summary.spend += run.spend;
            if score.status.counts() {
                sum.summary.full_spend += run.full_spend;
            }
            scores.push(score);
        }
        self.scores
            .record_scores(Some(fence), scores)
            .await
            .map_err(|error| WorkError::from_port("the scores cannot be stored", error))
    }

    /// A run's score; where a worker could not be had, which may pass, that it is missing, and why.
    async fn score_one(
        &self,
        context: &Context,
        case: &Case,
        run: &RunRecord,
    ) -> Result<(CaseScore, Option<CodeError>), WorkError> {
        match context.scorer.score(case, run, &*self.code).await {
            Ok(score) => Ok((score, None)),
            Err(ScoreError::NoWorkers(
                error @ CodeError::Unavailable {
                    configuration: false,
                    ..
                },
            )) => {
                let score = context.scorer.missing(case, run, &error.to_string());
                Ok((score, Some(error)))
            }
            Err(error) => Err(work_error(error)),
        }
    }
}
