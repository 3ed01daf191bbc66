//! The handler of `Topic::Propose`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::VariantId;
use fapo_domain::model::job::{JobSpec, Proposed};
use fapo_domain::model::project::ProposerBackend;
use fapo_domain::model::proposal::{AttemptOutcome, ProposalRequest, Revision};
use fapo_domain::model::session::SessionId;
use fapo_domain::model::task::{ClaimedTask, ProposeTask, TaskPayload, Topic};
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::diagnosis::{Proposal, Proposer};
use fapo_domain::ports::jobs::{Findings, Jobs, Proposals};
use fapo_domain::ports::models::MeteredModels;
use fapo_domain::ports::scores::Scores;
use fapo_domain::ports::traces::Traces;
use fapo_domain::ports::variants::Variants;
use fapo_domain::ports::work::{TaskHandler, WorkError};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::gather::Sources;
use super::replay::RecordingError;
use super::{Catalogue, Reflect, Replay};
use crate::asking::{DRAIN, SESSION_DRAIN, unless_stopped};
use crate::attribution::service::{only_train, to_value, wrong_payload};
use crate::observe;

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

    /// These, and one more.
    #[must_use]
    pub fn with(mut self, backend: ProposerBackend, proposer: Arc<dyn Proposer>) -> Self {
        self.by_name.insert(backend.as_str(), proposer);
        self
    }

    fn get(&self, backend: ProposerBackend) -> Result<&Arc<dyn Proposer>, WorkError> {
        self.by_name.get(backend.as_str()).ok_or_else(|| {
            WorkError::permanent(
                "PROPOSER_CONFIG",
                format!(
                    "proposer backend `{}` is not set up; `replay` needs a recording, an agent its program",
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
        let sources = self.sources();
        let evaluation = &task.evaluation;
        let attribution = sources.attribution(evaluation).await?;
        let target = task.cluster.as_ref().map(|cluster| cluster.id.as_str());
        let evidence = sources
            .evidence(spec, evaluation, &attribution, target)
            .await?;
        let labels = sources.labels(spec, stop).await?;
        let revise = match &task.revise {
            None => None,
            Some(asked) => Some(Revision {
                asked: asked.clone(),
                tree: self
                    .variants
                    .get_variant(asked.candidate)
                    .await
                    .map_err(|error| {
                        WorkError::from_port("cannot read what is to be revised", error)
                    })?,
            }),
        };
        Ok(ProposalRequest {
            job: claimed.job,
            iteration: task.iteration,
            slot: task.slot,
            parent: task.parent,
            tree,
            level: task.level,
            cluster: task.cluster.clone(),
            evaluation: evaluation.clone(),
            earlier: earlier(spec, task),
            val: task.val,
            attribution,
            evidence,
            history: task.history.clone(),
            labels,
            playbook: spec.playbook.clone(),
            strategy: task.strategy.clone(),
            revise,
            seed: task.seed,
        })
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            scores: &*self.scores,
            traces: &*self.traces,
            datasets: &*self.datasets,
            findings: &*self.findings,
        }
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
        let asked = proposer.propose(spec, &request, claimed.fence(), stop);
        let drain = if backend.is_agent() {
            SESSION_DRAIN
        } else {
            DRAIN
        };
        let answer = unless_stopped(asked, stop, drain)
            .await?
            .map_err(|error| WorkError::from_port("the proposer gave no answer", error))?;
        let mut body = json!({
            "iteration": task.iteration,
            "slot": task.slot,
            "parent": task.parent,
            "level": task.level,
            "backend": backend.as_str(),
            "cluster": task.cluster.as_ref().map(|cluster| &cluster.id),
            "strategy": task.strategy,
            "revises": task.revise.as_ref().map(|revise| revise.candidate),
        });
        // an agent that is asked has the claim's first session, whatever comes of it
        let session = backend
            .is_agent()
            .then(|| SessionId::derive(claimed.fence(), 0));
        body["session"] = json!(session);
        let proposed = match answer {
            Proposal::Draft(draft) => {
                let variant = self
                    .variants
                    .put_variant(&draft.tree)
                    .await
                    .map_err(|error| WorkError::from_port("cannot store the proposal", error))?;
                body["expected_gain"] = json!(draft.expected_gain);
                body["expected_cost_ratio"] = json!(draft.expected_cost_ratio);
                body["evidence_hash"] = json!(draft.evidence_hash);
                body["prompt_hash"] = json!(draft.prompt_hash);
                body["session"] = json!(draft.session);
                body["transcript"] = json!(draft.transcript);
                Proposed::Variant {
                    variant,
                    technique: draft.technique,
                    idea: draft.idea,
                    hypothesis: draft.hypothesis,
                    cluster: draft.cluster,
                    expected_gain: draft.expected_gain,
                    expected_cost_ratio: draft.expected_cost_ratio,
                    session: draft.session,
                    prompt_hash: draft.prompt_hash,
                    spend: draft.spend,
                }
            }
            Proposal::NoIdea { reason, spend } => Proposed::NoIdea {
                reason,
                session,
                spend,
            },
            Proposal::Unusable { reason, spend } => Proposed::Unusable {
                reason,
                session,
                spend,
            },
        };
        body["result"] = to_value(&proposed)?;
        self.proposals
            .record_proposal(claimed.fence(), body)
            .await
            .map_err(|error| WorkError::from_port("cannot record the proposal", error))?;
        observe::proposed(backend.as_str(), &proposed);
        Ok(proposed)
    }
}

/// The baseline, and every variant that was evaluated: a refused one may come again when a deeper level is open.
fn earlier(spec: &JobSpec, task: &ProposeTask) -> Vec<VariantId> {
    let tried = task
        .history
        .iter()
        .filter(|attempt| attempt.outcome != AttemptOutcome::Refused)
        .filter_map(|attempt| attempt.variant);
    std::iter::once(spec.baseline).chain(tried).collect()
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
        let span = observe::propose(task, propose);
        let proposed = self.propose(task, propose, stop).instrument(span).await?;
        to_value(&proposed)
    }
}
