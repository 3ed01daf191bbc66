//! Asks the project's reviewer about what the lints let pass, and records what it said.

use std::collections::BTreeMap;
use std::sync::Arc;

use fapo_domain::model::job::{JobSpec, Reviewed};
use fapo_domain::model::project::ReviewerBackend;
use fapo_domain::model::proposal::{Footprint, LintReport, Review, ReviewRequest};
use fapo_domain::model::task::{ClaimedTask, ReviewTask};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::diagnosis::Reviewer;
use fapo_domain::ports::jobs::{Findings, Proposals};
use fapo_domain::ports::models::MeteredModels;
use fapo_domain::ports::scores::Scores;
use fapo_domain::ports::traces::Traces;
use fapo_domain::ports::variants::Variants;
use fapo_domain::ports::work::WorkError;
use fapo_project::{PipelineContext, read_pipeline, semantic_diff, unified_diff};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::ModelReviewer;
use super::price::{footprint, sampling};
use crate::asking::{DRAIN, SESSION_DRAIN, unless_stopped};
use crate::attribution::service::to_value;
use crate::lints::service::read_tree;
use crate::proposers::gather::Sources;

/// Every reviewer that is set up.
#[derive(Clone)]
pub struct Reviewers {
    by_backend: BTreeMap<&'static str, Arc<dyn Reviewer>>,
}

impl Reviewers {
    /// `model` over `models`; agents are added with [`Self::with`].
    pub fn new(models: Arc<dyn MeteredModels>) -> Self {
        let none = Self {
            by_backend: BTreeMap::new(),
        };
        none.with(ReviewerBackend::Model, Arc::new(ModelReviewer::new(models)))
    }

    /// These, and one more.
    #[must_use]
    pub fn with(mut self, backend: ReviewerBackend, reviewer: Arc<dyn Reviewer>) -> Self {
        self.by_backend.insert(backend.as_str(), reviewer);
        self
    }

    /// The project's reviewer; `None` where it has none.
    fn of(&self, spec: &JobSpec) -> Result<Option<&Arc<dyn Reviewer>>, WorkError> {
        let backend = spec.project.reviewer_backend();
        if backend == ReviewerBackend::None {
            return Ok(None);
        }
        let name = backend.as_str();
        self.by_backend.get(name).map(Some).ok_or_else(|| {
            WorkError::permanent(
                "REVIEWER_CONFIG",
                format!(
                    "reviewer backend `{name}` is not set up here; choose another with `reviewer.backend` in fapo.yaml, or `none` for the lints alone"
                ),
            )
        })
    }
}

/// What a review needs besides what the lints need.
#[derive(Clone)]
pub struct Reviewing {
    /// Passing cases.
    pub scores: Arc<dyn Scores>,
    /// Runs of evidence.
    pub traces: Arc<dyn Traces>,
    /// The parent's attribution.
    pub findings: Arc<dyn Findings>,
    /// The record of what was asked and answered.
    pub proposals: Arc<dyn Proposals>,
    /// Who reviews.
    pub reviewers: Reviewers,
}

impl Reviewing {
    /// What was recorded for a task: reviewed before a crash.
    pub(crate) async fn recorded(
        &self,
        claimed: &ClaimedTask,
    ) -> Result<Option<Reviewed>, WorkError> {
        let body = self
            .proposals
            .proposal(claimed.id)
            .await
            .map_err(|error| WorkError::from_port("cannot read the review", error))?;
        Ok(body
            .as_ref()
            .and_then(|body| body.get("reviewed"))
            .and_then(|result| serde_json::from_value(result.clone()).ok()))
    }

    /// Records what came of a task in which a reviewer was asked: it must not be paid twice.
    pub(crate) async fn record(
        &self,
        claimed: &ClaimedTask,
        task: &ReviewTask,
        spec: &JobSpec,
        reviewed: &Reviewed,
    ) -> Result<(), WorkError> {
        let body = json!({
            "iteration": task.iteration,
            "slot": task.slot,
            "revision": task.revision,
            "candidate": task.candidate,
            "backend": spec.project.reviewer_backend(),
            "reviewed": to_value(reviewed)?,
        });
        self.proposals
            .record_proposal(claimed.fence(), body)
            .await
            .map_err(|error| WorkError::from_port("cannot record the review", error))
    }

    /// The review of a candidate that the lints let pass; `None` where they did not, where the project has no reviewer, and
    /// for a task that brings no evidence.
    ///
    /// # Errors
    /// Permanent where the reviewer is not set up; else the ports' errors.
    pub(crate) async fn review(
        &self,
        (variants, datasets): (&dyn Variants, &dyn Datasets),
        (claimed, spec, task): (&ClaimedTask, &JobSpec, &ReviewTask),
        lints: &LintReport,
        stop: &CancellationToken,
    ) -> Result<Option<Review>, WorkError> {
        if !lints.passed() || task.evaluation.is_none() {
            return Ok(None);
        }
        let Some(reviewer) = self.reviewers.of(spec)? else {
            return Ok(None);
        };
        let request = self
            .request((variants, datasets), (claimed, spec, task), lints, stop)
            .await?;
        let asked = reviewer.review(spec, &request, claimed.fence(), stop);
        let drain = match spec.project.reviewer_backend().agent() {
            Some(_) => SESSION_DRAIN,
            None => DRAIN,
        };
        unless_stopped(asked, stop, drain)
            .await?
            .map(Some)
            .map_err(|error| WorkError::from_port("the reviewer gave no review", error))
    }

    /// The request for a task: train evidence only, and the same for the same state.
    async fn request(
        &self,
        (variants, datasets): (&dyn Variants, &dyn Datasets),
        (claimed, spec, task): (&ClaimedTask, &JobSpec, &ReviewTask),
        lints: &LintReport,
        stop: &CancellationToken,
    ) -> Result<ReviewRequest, WorkError> {
        let evaluation = task.evaluation.as_ref().ok_or_else(|| {
            WorkError::permanent("NOT_ATTRIBUTED", "the task names no train evaluation")
        })?;
        let sources = Sources {
            scores: &*self.scores,
            traces: &*self.traces,
            datasets,
            findings: &*self.findings,
        };
        let attribution = sources.attribution(evaluation).await?;
        let target = task.cluster.as_deref();
        let evidence = sources
            .evidence(spec, evaluation, &attribution, target)
            .await?;
        let labels = sources.labels(spec, stop).await?;
        let parent_tree = read_tree(variants, task.parent).await?;
        let candidate_tree = read_tree(variants, task.candidate).await?;
        // both can be read: the lints passed
        let diff = semantic_diff(&parent_tree, &candidate_tree).unwrap_or_default();
        let cluster = attribution
            .clusters
            .iter()
            .find(|cluster| Some(cluster.id.as_str()) == target)
            .cloned();
        Ok(ReviewRequest {
            job: claimed.job,
            iteration: task.iteration,
            slot: task.slot,
            revision: task.revision,
            parent: task.parent,
            evaluation: evaluation.clone(),
            candidate: task.candidate,
            level: lints.level,
            technique: task.technique,
            idea: task.idea.clone(),
            hypothesis: task.hypothesis.clone(),
            expected_gain: task.expected_gain,
            cluster,
            changes: diff
                .changes
                .iter()
                .map(|change| format!("{} ({} level): {}", change.path, change.level, change.what))
                .collect(),
            sampling: sampling(&diff),
            patch: unified_diff(&parent_tree, &candidate_tree),
            parent_footprint: footprint_of(spec, &parent_tree),
            candidate_footprint: footprint_of(spec, &candidate_tree),
            predicted_cost_ratio: lints.predicted_cost_ratio,
            parent_tree,
            candidate_tree,
            attribution,
            evidence,
            history: task.history.clone(),
            labels,
            playbook: spec.playbook.clone(),
        })
    }
}

fn footprint_of(spec: &JobSpec, tree: &VariantTree) -> Footprint {
    let context = PipelineContext {
        project: &spec.project,
        input_keys: None,
    };
    read_pipeline(tree, &context)
        .0
        .map(|pipeline| footprint(&spec.project, tree, pipeline.spec()))
        .unwrap_or_default()
}
