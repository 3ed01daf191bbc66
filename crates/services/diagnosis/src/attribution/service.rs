//! The handler of `Topic::Diagnose`.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::finding::Attribution;
use fapo_domain::model::score::CaseScore;
use fapo_domain::model::task::{ClaimedTask, TaskPayload, Topic};
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::jobs::{Findings, Jobs};
use fapo_domain::ports::scores::Scores;
use fapo_domain::ports::traces::{StepsOf, Traces};
use fapo_domain::ports::variants::Variants;
use fapo_domain::ports::work::{TaskHandler, WorkError};
use fapo_project::{PipelineContext, read_pipeline};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Attributor, CaseView, Flow, attribute};

/// Scores read at a time.
const PAGE: u32 = 256;
/// Failing runs held at a time; a run can be large.
const RUNS: usize = 32;

/// Attributes train evaluations. Memory: one page of scores, a few runs, and at most
/// [`clusters::MAX_FINDINGS`](super::clusters::MAX_FINDINGS) findings.
pub struct DiagnosisService {
    /// Job specs.
    pub jobs: Arc<dyn Jobs>,
    /// The evaluated variant.
    pub variants: Arc<dyn Variants>,
    /// The scores.
    pub scores: Arc<dyn Scores>,
    /// The runs of failures.
    pub traces: Arc<dyn Traces>,
    /// The cases of failures.
    pub datasets: Arc<dyn Datasets>,
    /// Where the result goes.
    pub findings: Arc<dyn Findings>,
}

/// Refuses any split but train: case by case, only train may be looked at.
pub(crate) fn only_train(evaluation: &EvaluationSpec) -> Result<(), WorkError> {
    if evaluation.split == Split::Train {
        return Ok(());
    }
    Err(WorkError::permanent(
        "NOT_TRAIN",
        format!(
            "only train evaluations may be looked at case by case, this one is of {}",
            evaluation.split
        ),
    ))
}

impl DiagnosisService {
    /// Attributes one evaluation and stores the result. Repeating replaces it with an equal one.
    ///
    /// # Errors
    /// Permanent for another split than train and for a variant that is no valid pipeline; else the ports' errors.
    pub async fn attribute_evaluation(
        &self,
        task: &ClaimedTask,
        evaluation: &EvaluationSpec,
        stop: &CancellationToken,
    ) -> Result<Attribution, WorkError> {
        only_train(evaluation)?;
        let job = self
            .jobs
            .get_job(task.job)
            .await
            .map_err(|error| WorkError::from_port("cannot read the job", error))?;
        let project = &job.spec.project;
        let tree = self
            .variants
            .get_variant(evaluation.variant)
            .await
            .map_err(|error| WorkError::from_port("cannot read the variant", error))?;
        let context = PipelineContext {
            project,
            input_keys: None,
        };
        let (pipeline, problems) = read_pipeline(&tree, &context);
        let flow = pipeline
            .as_ref()
            .and_then(|pipeline| Flow::of(pipeline, project))
            .ok_or_else(|| {
                WorkError::permanent(
                    "PIPELINE_INVALID",
                    format!("the evaluated variant is no valid pipeline: {problems}"),
                )
            })?;

        let id = evaluation.id();
        let mut attributor = Attributor::new();
        let mut from = 0u64;
        loop {
            if stop.is_cancelled() {
                return Err(WorkError::interrupted());
            }
            let page = self
                .scores
                .scores(id, from, PAGE)
                .await
                .map_err(|error| WorkError::from_port("cannot read scores", error))?;
            let Some(last) = page.last() else { break };
            from = last.score.ordinal.saturating_add(1);
            let mut failed: Vec<CaseScore> = Vec::new();
            for scored in page {
                attributor.count(&scored.score, project.diagnosis.failure_below);
                if scored.score.status.counts()
                    && scored.score.score < project.diagnosis.failure_below
                {
                    failed.push(scored.score);
                }
            }
            for chunk in failed.chunks(RUNS) {
                if stop.is_cancelled() {
                    return Err(WorkError::interrupted());
                }
                let (cases, runs) = self.load(evaluation, chunk).await?;
                for score in chunk {
                    let case = cases.iter().find(|case| case.case_id == score.case_id);
                    let run = runs.iter().find(|run| run.ordinal == score.ordinal);
                    let (Some(case), Some(run)) = (case, run) else {
                        tracing::warn!(
                            evaluation = %id.short(),
                            ordinal = score.ordinal,
                            "a score without its run or case cannot be attributed"
                        );
                        continue;
                    };
                    let view = CaseView {
                        case,
                        run,
                        score,
                        flow: &flow,
                        project,
                    };
                    if let Some(finding) = attribute(&view) {
                        attributor.add(finding);
                    }
                }
            }
        }
        let (findings, attribution) = attributor.finish();
        self.findings
            .record_attribution(Some(task.fence()), id, findings, &attribution)
            .await
            .map_err(|error| WorkError::from_port("cannot store the attribution", error))?;
        Ok(attribution)
    }

    async fn load(
        &self,
        evaluation: &EvaluationSpec,
        scores: &[CaseScore],
    ) -> Result<(Vec<Case>, Vec<RunRecord>), WorkError> {
        let ordinals: Vec<u64> = scores.iter().map(|score| score.ordinal).collect();
        let cases = self
            .datasets
            .cases(evaluation.dataset, evaluation.split, &ordinals)
            .await
            .map_err(|error| WorkError::from_port("cannot read cases", error))?;
        let runs = self
            .traces
            .runs(evaluation.id(), &ordinals, StepsOf::All)
            .await
            .map_err(|error| WorkError::from_port("cannot read runs", error))?;
        Ok((cases, runs))
    }
}

#[async_trait]
impl TaskHandler for DiagnosisService {
    fn topic(&self) -> Topic {
        Topic::Diagnose
    }

    async fn handle(
        &self,
        task: &ClaimedTask,
        stop: &CancellationToken,
    ) -> Result<Value, WorkError> {
        let TaskPayload::Attribute { evaluation } = &task.payload else {
            return Err(wrong_payload("attribute"));
        };
        let attribution = self.attribute_evaluation(task, evaluation, stop).await?;
        to_value(&attribution)
    }
}

/// The task's payload is another topic's.
pub(crate) fn wrong_payload(wanted: &str) -> WorkError {
    WorkError::permanent(
        "WRONG_TASK",
        format!("this handler does `{wanted}` tasks only"),
    )
}

/// A result as JSON.
pub(crate) fn to_value<T: serde::Serialize>(result: &T) -> Result<Value, WorkError> {
    serde_json::to_value(result)
        .map_err(|error| WorkError::permanent("RESULT_UNWRITABLE", error.to_string()))
}
