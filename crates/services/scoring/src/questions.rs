//! Questions that are no work of a job: how do these two evaluations compare, which metrics are there.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::error::{ErrorCode, Retry};
use fapo_domain::ids::{EvaluationId, JobId};
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::project::Metric;
use fapo_domain::model::score::Comparison;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::questions::{Comparer, ScorerInfo};
use fapo_domain::ports::traces::TraceQueries;
use fapo_domain::ports::work::WorkError;

use crate::service::ScoringService;

/// The metrics that a project can name in `scorer:`, in the order of the documentation.
pub fn scorers() -> Vec<ScorerInfo> {
    Metric::ALL
        .into_iter()
        .map(|metric| ScorerInfo {
            name: metric.as_str(),
            about: about(metric),
        })
        .collect()
}

const fn about(metric: Metric) -> &'static str {
    match metric {
        Metric::ExactMatch => "Equal texts, apart from white space around them.",
        Metric::NormalizedExactMatch => {
            "Equal texts after SQuAD normalization: lower case, without punctuation and articles."
        }
        Metric::F1 => "F1 over the tokens of both texts, after SQuAD normalization.",
        Metric::Contains => "The expected text is in the output.",
        Metric::Regex => "The output matches `pattern`.",
        Metric::Numeric => {
            "The last number in the output equals the expected one, within `tolerance`."
        }
        Metric::Choice => "The choice named in the output equals the expected one.",
        Metric::JsonField => "A field of the output's JSON equals the expected value.",
        Metric::JsonSchema => "The output is JSON that satisfies `schema`.",
        Metric::SetPrecision => "The share of what was given that is expected.",
        Metric::SetRecall => "The share of what is expected that was given.",
        Metric::SetF1 => "The harmonic mean of set precision and set recall.",
        Metric::AllGold => "1 where everything expected was given, else 0.",
        Metric::Python => "What a function of the project's own file says.",
    }
}

/// Compares evaluations that are named by their ids.
pub struct ComparisonService {
    scoring: Arc<ScoringService>,
    traces: Arc<dyn TraceQueries>,
}

impl ComparisonService {
    /// Compares as `scoring` does, over the evaluations that `traces` knows.
    pub fn new(scoring: Arc<ScoringService>, traces: Arc<dyn TraceQueries>) -> Self {
        Self { scoring, traces }
    }

    /// An evaluation of the job. One of another job is told like one that does not exist.
    async fn evaluation(&self, job: JobId, id: EvaluationId) -> Result<EvaluationSpec, WorkError> {
        match self.traces.evaluation(id).await {
            Ok(Some(evaluation)) if evaluation.job == job => Ok(evaluation),
            Ok(_) => {
                let error = StoreError::NotFound {
                    kind: "evaluation",
                    id: id.to_string(),
                };
                Err(WorkError::from_port("there is nothing to compare", error))
            }
            Err(error) => Err(WorkError::from_port("the evaluation cannot be read", error)),
        }
    }
}

impl std::fmt::Debug for ComparisonService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComparisonService").finish_non_exhaustive()
    }
}

#[async_trait]
impl Comparer for ComparisonService {
    async fn compare(
        &self,
        job: JobId,
        a: EvaluationId,
        b: EvaluationId,
        upto: u64,
        confidence: f64,
        seed: u64,
    ) -> Result<Comparison, WorkError> {
        let asked_well = upto > 0 && confidence > 0.0 && confidence < 1.0;
        if !asked_well {
            return Err(WorkError {
                message: format!(
                    "upto is {upto} and confidence {confidence}: give at least one position, and a confidence between 0 and 1"
                ),
                code: ErrorCode::InvalidArgument,
                retry: Retry::Never,
                reason: "COMPARISON_INVALID",
                source: None,
            });
        }
        let (a, b) = tokio::try_join!(self.evaluation(job, a), self.evaluation(job, b))?;
        self.scoring
            .compare_on_request(job, &a, &b, upto, confidence, seed)
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_is_listed_once_by_the_name_that_fapo_yaml_uses() {
        let listed = scorers();
        let names: BTreeSet<&str> = listed.iter().map(|one| one.name).collect();
        assert_eq!(names.len(), listed.len());
        for one in &listed {
            let read: Metric = serde_json::from_value(one.name.into()).unwrap();
            assert_eq!(read.as_str(), one.name);
            assert!(one.about.ends_with('.'));
        }
        // the names of the enum as its own error lists them: one that `ALL` forgets is among them
        let known = serde_json::from_value::<Metric>("?".into())
            .unwrap_err()
            .to_string();
        assert_eq!(known.matches('`').count() / 2 - 1, listed.len(), "{known}");
    }
}
