//! Train evidence for proposers and reviewers: which cases are shown, with their runs.
//!
//! Only train is read. The same state gives the same evidence.

use std::collections::BTreeMap;

use fapo_domain::model::case::Split;
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::finding::{Attribution, Finding};
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::proposal::Evidence;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::jobs::Findings;
use fapo_domain::ports::scores::Scores;
use fapo_domain::ports::traces::{StepsOf, Traces};
use fapo_domain::ports::work::WorkError;
use tokio_util::sync::CancellationToken;

use super::labels::Labels;
use crate::attribution::answers::expected_answers;
use crate::attribution::scored::parts;
use crate::attribution::service::only_train;
use crate::pages::{break_when, each_case};

/// Failing cases of the target cluster given as evidence.
const OF_TARGET: usize = 8;
/// Failing cases of any other cluster.
const OF_OTHERS: usize = 3;
/// Failing cases in all.
const FAILING: usize = 32;
/// Passing cases.
const PASSING: usize = 4;
/// Scores looked through for passing cases.
const LOOK_FOR_PASSING: u64 = 2048;
/// Cases looked at to see whether the answers are labels.
const LOOK_FOR_LABELS: u64 = 5000;
/// Rows read at a time.
const PAGE: u32 = 256;

/// Where evidence comes from.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// Passing cases.
    pub scores: &'a dyn Scores,
    /// Runs.
    pub traces: &'a dyn Traces,
    /// Cases.
    pub datasets: &'a dyn Datasets,
    /// Attributions.
    pub findings: &'a dyn Findings,
}

impl Sources<'_> {
    /// The attribution of a train evaluation.
    pub async fn attribution(&self, evaluation: &EvaluationSpec) -> Result<Attribution, WorkError> {
        only_train(evaluation)?;
        self.findings
            .attribution(evaluation.id())
            .await
            .map_err(|error| WorkError::from_port("cannot read the attribution", error))?
            .ok_or_else(|| {
                WorkError::permanent(
                    "NOT_ATTRIBUTED",
                    "the parent's train evaluation was not attributed",
                )
            })
    }

    /// Failing cases that cover the clusters, the target's first, and a few passing ones.
    pub async fn evidence(
        &self,
        spec: &JobSpec,
        evaluation: &EvaluationSpec,
        attribution: &Attribution,
        target: Option<&str>,
    ) -> Result<Vec<Evidence>, WorkError> {
        only_train(evaluation)?;
        let findings = self
            .findings
            .findings(evaluation.id())
            .await
            .map_err(|error| WorkError::from_port("cannot read the findings", error))?;
        let chosen = choose(attribution, findings, target);
        let mut wanted: Vec<(u64, f64, Option<String>, String)> = Vec::new();
        let mut feedback: BTreeMap<u64, String> = BTreeMap::new();
        for finding in chosen {
            // at most `FAILING` of them, which stand anywhere in the split
            let row = self
                .scores
                .scores(evaluation.id(), finding.ordinal, 1)
                .await
                .map_err(|error| WorkError::from_port("cannot read scores", error))?;
            feedback.extend(
                row.into_iter()
                    .filter(|row| row.score.ordinal == finding.ordinal)
                    .map(|row| (finding.ordinal, row.score.feedback)),
            );
            let cluster = format!("{}@{}", finding.rule.name(), finding.step);
            wanted.push((
                finding.ordinal,
                1.0 - finding.lost,
                Some(cluster),
                told(&finding),
            ));
        }
        wanted.extend(self.passing(spec, evaluation).await?);
        let ordinals: Vec<u64> = wanted.iter().map(|(ordinal, ..)| *ordinal).collect();
        if ordinals.is_empty() {
            return Ok(Vec::new());
        }
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
        let mut runs: BTreeMap<u64, _> = runs.into_iter().map(|run| (run.ordinal, run)).collect();
        Ok(wanted
            .into_iter()
            .zip(cases)
            .filter_map(|((ordinal, score, cluster, detail), case)| {
                Some(Evidence {
                    cluster,
                    detail,
                    feedback: feedback.remove(&ordinal).unwrap_or_default(),
                    score,
                    case,
                    run: runs.remove(&ordinal)?,
                })
            })
            .collect())
    }

    /// The first passing cases.
    async fn passing(
        &self,
        spec: &JobSpec,
        evaluation: &EvaluationSpec,
    ) -> Result<Vec<(u64, f64, Option<String>, String)>, WorkError> {
        let mut found = Vec::new();
        let mut from = 0u64;
        let mut looked = 0u64;
        while found.len() < PASSING && looked < LOOK_FOR_PASSING {
            let page = self
                .scores
                .scores(evaluation.id(), from, PAGE)
                .await
                .map_err(|error| WorkError::from_port("cannot read scores", error))?;
            let Some(last) = page.last() else { break };
            from = last.score.ordinal.saturating_add(1);
            looked += page.len() as u64;
            found.extend(
                page.into_iter()
                    .map(|scored| scored.score)
                    .filter(|score| {
                        score.status.counts() && score.score >= spec.project.diagnosis.failure_below
                    })
                    .map(|score| (score.ordinal, score.score, None, String::new())),
            );
        }
        found.truncate(PASSING);
        Ok(found)
    }

    /// The answers of train, where they are a small closed set.
    pub async fn labels(
        &self,
        spec: &JobSpec,
        stop: &CancellationToken,
    ) -> Result<Vec<String>, WorkError> {
        let part = parts(&spec.project)[0];
        let mut labels = Labels::default();
        let mut left = LOOK_FOR_LABELS;
        each_case(self.datasets, (spec.dataset, Split::Train), stop, |case| {
            labels.add(expected_answers(case, &spec.project, &part));
            left -= 1;
            break_when(left == 0 || !labels.is_possible())
        })
        .await?;
        Ok(labels.finish())
    }
}

/// What was seen, and what a model read in it.
fn told(finding: &Finding) -> String {
    match &finding.reading {
        None => finding.detail.clone(),
        Some(reading) => format!(
            "{}; read as {} at {}: {}",
            finding.detail,
            reading.kind.as_str(),
            reading.step,
            reading.explanation
        ),
    }
}

/// The findings to show: those that lost most of each cluster, the target's first, then by what the clusters cost.
fn choose(attribution: &Attribution, findings: Vec<Finding>, target: Option<&str>) -> Vec<Finding> {
    let mut groups: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for finding in findings {
        groups
            .entry(format!("{}@{}", finding.rule.name(), finding.step))
            .or_default()
            .push(finding);
    }
    let mut order: Vec<&str> = attribution
        .clusters
        .iter()
        .map(|cluster| cluster.id.as_str())
        .collect();
    order.sort_by_key(|id| Some(*id) != target);
    let mut chosen = Vec::new();
    for id in order {
        let Some(mut group) = groups.remove(id) else {
            continue;
        };
        group.sort_by(|a, b| b.lost.total_cmp(&a.lost).then(a.ordinal.cmp(&b.ordinal)));
        group.truncate(if Some(id) == target {
            OF_TARGET
        } else {
            OF_OTHERS
        });
        chosen.extend(group);
    }
    chosen.truncate(FAILING);
    chosen
}
