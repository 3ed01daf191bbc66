//! Answers to questions about runs, from a list of evaluations and the runs that a store has of them.

use async_trait::async_trait;
use fapo_domain::ids::{EvaluationId, JobId};
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::trace::{RunRecord, RunStatus};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::traces::{
    EvaluationAggregate, RunFilter, RunSummary, StepAggregate, StepsOf, TraceQueries, Traces,
};
use std::sync::Arc;

pub struct Shelf {
    pub evaluations: Vec<EvaluationSpec>,
    pub traces: Arc<dyn Traces>,
}

impl Shelf {
    async fn all(&self, evaluation: EvaluationId) -> Result<Vec<RunRecord>, StoreError> {
        let ordinals: Vec<u64> = (0..64).collect();
        self.traces.runs(evaluation, &ordinals, StepsOf::All).await
    }
}

#[async_trait]
impl TraceQueries for Shelf {
    async fn evaluations(&self, job: JobId) -> Result<Vec<EvaluationSpec>, StoreError> {
        let theirs = self.evaluations.iter().filter(|spec| spec.job == job);
        Ok(theirs.cloned().collect())
    }

    async fn evaluation(&self, id: EvaluationId) -> Result<Option<EvaluationSpec>, StoreError> {
        Ok(self
            .evaluations
            .iter()
            .find(|spec| spec.id() == id)
            .cloned())
    }

    async fn search(
        &self,
        evaluation: EvaluationId,
        filter: &RunFilter,
        from: u64,
        limit: u32,
    ) -> Result<Vec<RunSummary>, StoreError> {
        let runs = self.all(evaluation).await?;
        let fit = runs.into_iter().filter(|run| {
            run.ordinal >= from
                && filter.status.is_none_or(|status| run.status == status)
                && filter
                    .failed_below
                    .is_none_or(|_| run.status != RunStatus::Completed)
                && filter
                    .case_id
                    .as_ref()
                    .is_none_or(|case| run.case_id == *case)
                && filter.failed_step.is_none()
                && filter.output_contains.as_ref().is_none_or(|text| {
                    run.output_text
                        .as_ref()
                        .is_some_and(|output| output.contains(text))
                })
        });
        let summary = |run: RunRecord| RunSummary {
            evaluation,
            ordinal: run.ordinal,
            case_id: run.case_id,
            status: run.status,
            reason: run.reason,
            output: run.output_text,
            score: None,
            feedback: None,
            failed_step: None,
            spend: run.spend,
            duration_ms: run.duration_ms,
        };
        Ok(fit.take(limit as usize).map(summary).collect())
    }

    async fn aggregate(&self, evaluation: EvaluationId) -> Result<EvaluationAggregate, StoreError> {
        let runs = self.all(evaluation).await?;
        let spend = runs.iter().map(|run| run.spend).sum();
        let count = runs.len() as u64;
        Ok(EvaluationAggregate {
            runs: vec![(RunStatus::Completed, count)],
            scored: count,
            mean: Some(0.5),
            spend,
            steps: vec![StepAggregate {
                step: "answer".into(),
                kind: "llm".to_owned(),
                count,
                failed: 0,
                skipped: 0,
                cache_hits: 0,
                spend,
                full_spend: spend,
                p50_ms: 7,
                p95_ms: 7,
            }],
        })
    }
}
