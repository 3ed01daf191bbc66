//! The handler of `Topic::Propose`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::model::case::Split;
use fapo_domain::model::finding::{Attribution, Finding};
use fapo_domain::model::job::{JobSpec, Proposed};
use fapo_domain::model::project::ProposerBackend;
use fapo_domain::model::proposal::{Evidence, ProposalRequest};
use fapo_domain::model::task::{ClaimedTask, ProposeTask, TaskPayload, Topic};
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::diagnosis::{Proposal, Proposer};
use fapo_domain::ports::jobs::{Findings, Jobs, Proposals};
use fapo_domain::ports::models::MeteredModels;
use fapo_domain::ports::scores::Scores;
use fapo_domain::ports::traces::{StepsOf, Traces};
use fapo_domain::ports::variants::Variants;
use fapo_domain::ports::work::{TaskHandler, WorkError};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::labels::Labels;
use super::replay::RecordingError;
use super::{Catalogue, Reflect, Replay};
use crate::attribution::answers::expected_answers;
use crate::attribution::scored::parts;
use crate::attribution::service::{only_train, to_value, wrong_payload};
use crate::pages::{break_when, each_case};

/// How long a call that is under way may go on once a stop is asked for: its reply is paid for, and is stored.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(5);

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

/// Every backend that is set up.
#[derive(Clone)]
pub struct Backends {
    by_name: BTreeMap<&'static str, Arc<dyn Proposer>>,
}

impl Backends {
    /// The catalogue, `reflect` over `models`, and `replay` where there is a recording.
    ///
    /// # Errors
    /// A recording that cannot be read.
    pub fn new(
        models: Arc<dyn MeteredModels>,
        recording: Option<&str>,
    ) -> Result<Self, RecordingError> {
        let mut by_name: BTreeMap<&'static str, Arc<dyn Proposer>> = BTreeMap::new();
        by_name.insert(ProposerBackend::Catalogue.as_str(), Arc::new(Catalogue));
        by_name.insert(
            ProposerBackend::Reflect.as_str(),
            Arc::new(Reflect::new(models)),
        );
        if let Some(recording) = recording {
            by_name.insert(
                ProposerBackend::Replay.as_str(),
                Arc::new(Replay::read(recording)?),
            );
        }
        Ok(Self { by_name })
    }

    fn get(&self, backend: ProposerBackend) -> Result<&Arc<dyn Proposer>, WorkError> {
        self.by_name.get(backend.as_str()).ok_or_else(|| {
            WorkError::permanent(
                "PROPOSER_CONFIG",
                format!(
                    "proposer backend `{}` is not set up; `replay` needs a recording",
                    backend.as_str()
                ),
            )
        })
    }
}

/// Gathers train evidence, asks the project's backend, stores what came back.
pub struct ProposeService {
    /// Job specs.
    pub jobs: Arc<dyn Jobs>,
    /// The parent, and where the proposal goes.
    pub variants: Arc<dyn Variants>,
    /// Passing cases.
    pub scores: Arc<dyn Scores>,
    /// Runs of evidence.
    pub traces: Arc<dyn Traces>,
    /// Cases of evidence.
    pub datasets: Arc<dyn Datasets>,
    /// The parent's attribution.
    pub findings: Arc<dyn Findings>,
    /// The record of what was asked and answered.
    pub proposals: Arc<dyn Proposals>,
    /// Who writes proposals.
    pub backends: Backends,
}

impl ProposeService {
    /// The request for a task: train evidence only, and the same for the same state.
    ///
    /// # Errors
    /// Permanent for another split than train and for an evaluation that was not attributed; else the ports' errors.
    pub async fn request(
        &self,
        claimed: &ClaimedTask,
        spec: &JobSpec,
        task: &ProposeTask,
        stop: &CancellationToken,
    ) -> Result<ProposalRequest, WorkError> {
        only_train(&task.evaluation)?;
        let tree = self
            .variants
            .get_variant(task.parent)
            .await
            .map_err(|error| WorkError::from_port("cannot read the parent", error))?;
        let id = task.evaluation.id();
        let attribution = self
            .findings
            .attribution(id)
            .await
            .map_err(|error| WorkError::from_port("cannot read the attribution", error))?
            .ok_or_else(|| {
                WorkError::permanent(
                    "NOT_ATTRIBUTED",
                    "the parent's train evaluation was not attributed",
                )
            })?;
        let findings = self
            .findings
            .findings(id)
            .await
            .map_err(|error| WorkError::from_port("cannot read the findings", error))?;
        let target = task.cluster.as_ref().map(|cluster| cluster.id.as_str());
        let chosen = choose(&attribution, findings, target);
        let evidence = self.evidence(spec, task, chosen).await?;
        let labels = self.labels(spec, stop).await?;
        Ok(ProposalRequest {
            job: claimed.job,
            iteration: task.iteration,
            slot: task.slot,
            parent: task.parent,
            tree,
            level: task.level,
            cluster: task.cluster.clone(),
            attribution,
            evidence,
            history: task.history.clone(),
            labels,
            playbook: spec.playbook.clone(),
            seed: task.seed,
        })
    }

    async fn evidence(
        &self,
        spec: &JobSpec,
        task: &ProposeTask,
        chosen: Vec<Finding>,
    ) -> Result<Vec<Evidence>, WorkError> {
        let mut wanted: Vec<(u64, f64, Option<String>, String)> = Vec::new();
        let mut feedback: BTreeMap<u64, String> = BTreeMap::new();
        for finding in chosen {
            // at most `FAILING` of them, which stand anywhere in the split
            let row = self
                .scores
                .scores(task.evaluation.id(), finding.ordinal, 1)
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
                finding.detail,
            ));
        }
        wanted.extend(self.passing(spec, task).await?);
        let ordinals: Vec<u64> = wanted.iter().map(|(ordinal, ..)| *ordinal).collect();
        if ordinals.is_empty() {
            return Ok(Vec::new());
        }
        let evaluation = &task.evaluation;
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
        task: &ProposeTask,
    ) -> Result<Vec<(u64, f64, Option<String>, String)>, WorkError> {
        let mut found = Vec::new();
        let mut from = 0u64;
        let mut looked = 0u64;
        while found.len() < PASSING && looked < LOOK_FOR_PASSING {
            let page = self
                .scores
                .scores(task.evaluation.id(), from, PAGE)
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
    async fn labels(
        &self,
        spec: &JobSpec,
        stop: &CancellationToken,
    ) -> Result<Vec<String>, WorkError> {
        let part = parts(&spec.project)[0];
        let mut labels = Labels::default();
        let mut left = LOOK_FOR_LABELS;
        each_case(
            &*self.datasets,
            (spec.dataset, Split::Train),
            stop,
            |case| {
                labels.add(expected_answers(case, &spec.project, &part));
                left -= 1;
                break_when(left == 0 || !labels.is_possible())
            },
        )
        .await?;
        Ok(labels.finish())
    }

    async fn propose(
        &self,
        claimed: &ClaimedTask,
        task: &ProposeTask,
        stop: &CancellationToken,
    ) -> Result<Proposed, WorkError> {
        only_train(&task.evaluation)?;
        // asked and answered before a crash: the same answer again
        let recorded = self
            .proposals
            .proposal(claimed.id)
            .await
            .map_err(|error| WorkError::from_port("cannot read the proposal", error))?;
        if let Some(result) = recorded.as_ref().and_then(|body| body.get("result"))
            && let Ok(proposed) = serde_json::from_value(result.clone())
        {
            return Ok(proposed);
        }
        let job = self
            .jobs
            .get_job(claimed.job)
            .await
            .map_err(|error| WorkError::from_port("cannot read the job", error))?;
        let spec = &job.spec;
        let request = self.request(claimed, spec, task, stop).await?;
        let backend = spec.project.proposer.backend;
        let proposer = self.backends.get(backend)?;
        if stop.is_cancelled() {
            return Err(WorkError::interrupted());
        }
        let stopped = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        let answer = tokio::select! {
            () = stopped => return Err(WorkError::interrupted()),
            answer = proposer.propose(spec, &request, claimed.fence()) => {
                answer.map_err(|error| WorkError::from_port("the proposer gave no answer", error))?
            }
        };
        let mut body = json!({
            "iteration": task.iteration,
            "slot": task.slot,
            "parent": task.parent,
            "level": task.level,
            "backend": backend.as_str(),
            "cluster": task.cluster.as_ref().map(|cluster| &cluster.id),
        });
        let proposed = match answer {
            Proposal::Draft(draft) => {
                let variant = self
                    .variants
                    .put_variant(&draft.tree)
                    .await
                    .map_err(|error| WorkError::from_port("cannot store the proposal", error))?;
                body["expected_gain"] = json!(draft.expected_gain);
                body["evidence_hash"] = json!(draft.evidence_hash);
                body["transcript"] = json!(draft.transcript);
                Proposed::Variant {
                    variant,
                    technique: draft.technique,
                    idea: draft.idea,
                    hypothesis: draft.hypothesis,
                    cluster: draft.cluster,
                    spend: draft.spend,
                }
            }
            Proposal::NoIdea { reason, spend } => Proposed::NoIdea { reason, spend },
            Proposal::Unusable { reason, spend } => Proposed::Unusable { reason, spend },
        };
        body["result"] = to_value(&proposed)?;
        self.proposals
            .record_proposal(claimed.fence(), body)
            .await
            .map_err(|error| WorkError::from_port("cannot record the proposal", error))?;
        Ok(proposed)
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

#[async_trait]
impl TaskHandler for ProposeService {
    fn topic(&self) -> Topic {
        Topic::Propose
    }

    async fn handle(
        &self,
        task: &ClaimedTask,
        stop: &CancellationToken,
    ) -> Result<Value, WorkError> {
        let TaskPayload::Propose(propose) = &task.payload else {
            return Err(wrong_payload("propose"));
        };
        let proposed = self.propose(task, propose, stop).await?;
        to_value(&proposed)
    }
}
