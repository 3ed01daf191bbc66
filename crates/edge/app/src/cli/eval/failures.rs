//! The worst cases of an evaluation, kept in bounded memory.

use std::collections::BTreeMap;

use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::score::CaseScore;
use fapo_domain::ports::traces::StepsOf;
use serde::Serialize;

use crate::ports::Ports;

/// A case that lost points.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The case.
    pub case_id: String,
    /// Its place in the split.
    pub ordinal: u64,
    /// How the result counts.
    pub status: &'static str,
    /// The score.
    pub score: f64,
    /// What was wrong.
    pub feedback: String,
    /// The input, as JSON.
    pub input: Option<String>,
    /// What the pipeline gave.
    pub output: Option<String>,
    /// What was expected, as JSON.
    pub expected: Option<serde_json::Value>,
}

/// The worst cases seen so far.
#[derive(Debug)]
pub struct Worst {
    keep: usize,
    /// By score in millionths, then ordinal.
    cases: BTreeMap<(u32, u64), CaseScore>,
}

impl Worst {
    /// Keeps at most so many.
    pub const fn new(keep: usize) -> Self {
        Self {
            keep,
            cases: BTreeMap::new(),
        }
    }

    /// Looks at a case; full scores and missing results are no failures.
    pub fn offer(&mut self, score: CaseScore) {
        if !score.status.counts() || score.score >= 1.0 {
            return;
        }
        let key = ((score.score.clamp(0.0, 1.0) * 1e6) as u32, score.ordinal);
        self.cases.insert(key, score);
        if self.cases.len() > self.keep {
            self.cases.pop_last();
        }
    }

    /// The kept cases, worst first, with their inputs and outputs.
    pub async fn describe(
        self,
        ports: &Ports,
        evaluation: &EvaluationSpec,
    ) -> anyhow::Result<Vec<Failure>> {
        let mut failures = Vec::with_capacity(self.cases.len());
        for score in self.cases.into_values() {
            let ordinals = [score.ordinal];
            let cases = ports
                .datasets
                .cases(evaluation.dataset, evaluation.split, &ordinals)
                .await?;
            let runs = ports
                .traces
                .runs(evaluation.id(), &ordinals, StepsOf::All)
                .await?;
            let case = cases.into_iter().next();
            failures.push(Failure {
                case_id: score.case_id.to_string(),
                ordinal: score.ordinal,
                status: score.status.as_str(),
                score: score.score,
                feedback: score.feedback,
                input: case
                    .as_ref()
                    .and_then(|case| serde_json::to_string(&case.input).ok()),
                output: runs.into_iter().next().and_then(|run| run.output_text),
                expected: case.map(|case| serde_json::Value::Object(case.expected)),
            });
        }
        Ok(failures)
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::model::score::ScoreStatus;
    use fapo_domain::{CaseId, ContentHash, EvaluationId};

    use super::*;

    fn case(ordinal: u64, score: f64, status: ScoreStatus) -> CaseScore {
        CaseScore {
            evaluation: EvaluationId(ContentHash::of(b"e")),
            ordinal,
            case_id: CaseId::new(format!("c{ordinal}")),
            status,
            score,
            breakdown: BTreeMap::new(),
            feedback: String::new(),
            scorer: ContentHash::of(b"s"),
        }
    }

    #[test]
    fn only_the_worst_are_kept_in_order() {
        let mut worst = Worst::new(2);
        for (ordinal, score) in [(0, 0.5), (1, 1.0), (2, 0.0), (3, 0.25), (4, 0.0)] {
            worst.offer(case(ordinal, score, ScoreStatus::Scored));
        }
        worst.offer(case(5, 0.0, ScoreStatus::Missing));
        let kept: Vec<u64> = worst.cases.values().map(|score| score.ordinal).collect();
        assert_eq!(kept, vec![2, 4]);
    }

    #[test]
    fn none_are_kept_where_none_are_wanted() {
        let mut worst = Worst::new(0);
        worst.offer(case(0, 0.0, ScoreStatus::Failed));
        assert!(worst.cases.is_empty());
    }
}
