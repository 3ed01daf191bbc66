//! Jobs: what a user asked for, and the results its tasks hand back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::hash::ContentHash;
use crate::ids::{DatasetId, JobId, VariantId};
use crate::model::case::Split;
use crate::model::level::{Level, Technique};
use crate::model::project::ProjectSpec;
use crate::model::proposal::{LintReport, Review};
use crate::model::session::SessionId;
use crate::model::trace_context::TraceParent;
use crate::model::variant::DiffStats;
use crate::money::Spend;

/// What a job is to do. Frozen at submission: resuming uses these values, whatever the files say by then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Optimize, or evaluate once.
    pub goal: JobGoal,
    /// The project's `fapo.yaml`, complete with defaults.
    pub project: ProjectSpec,
    /// The baseline.
    pub baseline: VariantId,
    /// The data.
    pub dataset: DatasetId,
    /// Cases per split.
    pub cases: BTreeMap<Split, u64>,
    /// The document collections, by name.
    #[serde(default)]
    pub corpora: BTreeMap<String, CorpusRef>,
    /// Hash over everything the job must not see change: fapo.yaml, data, corpora, scorer code.
    pub seal: ContentHash,
    /// Protected cases: those that may not get worse.
    #[serde(default)]
    pub protect: Vec<crate::ids::CaseId>,
    /// The files of `scorers/`, by path relative to the project folder, where a metric is `python`: a job that is resumed
    /// scores with the code it began with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scorer_code: BTreeMap<String, String>,
    /// `PLAYBOOK.md`.
    #[serde(default)]
    pub playbook: Option<String>,
    /// The project's own words for the prompts of proposer, reviewer and failure reader, by name.
    #[serde(default)]
    pub prompts: BTreeMap<String, String>,
}

/// A document collection, stored as blobs of JSON lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusRef {
    /// Hash over all documents in order; part of the key of every step that searches it.
    pub hash: ContentHash,
    /// The blobs, in order; each holds whole lines, one [`crate::model::case::Document`] a line.
    pub chunks: Vec<ContentHash>,
    /// How many documents there are.
    pub documents: u64,
}

/// Optimize, or evaluate once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "goal", rename_all = "snake_case")]
pub enum JobGoal {
    /// Run the optimizer to its end.
    Optimize,
    /// Evaluate the baseline once.
    Evaluate {
        /// The split.
        split: Split,
        /// The first so many cases; all where absent.
        cases: Option<u64>,
        /// The sample index.
        sample: u32,
    },
}

/// A job's state as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Work goes on, or waits for a worker.
    Running,
    /// It ended as it should.
    Done,
    /// It cannot go on; the reason stands in its last event.
    Failed,
    /// A person stopped it.
    Cancelled,
}

impl JobStatus {
    /// Whether nothing more will happen.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Running)
    }
}

/// A job's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The id.
    pub id: JobId,
    /// The project's name.
    pub project: String,
    /// What was asked.
    pub spec: JobSpec,
    /// How it stands.
    pub status: JobStatus,
    /// Whether a person paused it.
    #[serde(default)]
    pub paused: bool,
    /// Where it stands in the distributed trace of whoever submitted it.
    #[serde(default)]
    pub trace: Option<TraceParent>,
    /// Grows by one with each tick; a tick commits only on the version it read.
    pub version: u64,
    /// The policy's state, opaque to the store.
    pub state: Value,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// One entry of a job's append-only history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobEvent {
    /// Position in the job, from 1.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The event, as the policy defines it.
    pub body: Value,
}

/// Result of an execute task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockExecuted {
    /// Runs that have a final result.
    pub completed: u64,
    /// Runs that are missing and may be run again.
    pub missing: u64,
    /// Whether it stopped because the job's budget is used up.
    pub budget_exhausted: bool,
    /// What the block spent.
    pub spend: Spend,
}

/// Result of a propose task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Proposed {
    /// A variant was stored.
    Variant {
        /// Its id.
        variant: VariantId,
        /// What was tried.
        technique: Technique,
        /// The proposer's own name for the idea.
        idea: String,
        /// What is expected and why.
        hypothesis: String,
        /// The cluster it aims at.
        cluster: Option<String>,
        /// Expected gain in points of the mean score.
        #[serde(default)]
        expected_gain: Option<f64>,
        /// Expected cost of a case over the parent's.
        #[serde(default)]
        expected_cost_ratio: Option<f64>,
        /// The agent's session, where one wrote it.
        #[serde(default)]
        session: Option<SessionId>,
        /// Hash over the instructions that the proposer was given.
        #[serde(default)]
        prompt_hash: Option<ContentHash>,
        /// What asking cost.
        spend: Spend,
    },
    /// The proposer has no (further) idea at this level.
    NoIdea {
        /// Why.
        reason: String,
        /// The agent's session, where one was asked.
        #[serde(default)]
        session: Option<SessionId>,
        /// What asking cost.
        spend: Spend,
    },
    /// The proposer answered with something unusable.
    Unusable {
        /// What was wrong.
        reason: String,
        /// The agent's session, where one was asked.
        #[serde(default)]
        session: Option<SessionId>,
        /// What asking cost.
        spend: Spend,
    },
}

/// Result of a review task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reviewed {
    /// The candidate.
    pub candidate: VariantId,
    /// What the lints say.
    pub lints: LintReport,
    /// The level of the change, decided from the diff.
    pub level: Option<Level>,
    /// The size of the change.
    #[serde(default)]
    pub diff: DiffStats,
    /// What the reviewer says; `None` where the lints refused it, or the project has no reviewer.
    #[serde(default)]
    pub review: Option<Review>,
    /// What reviewing cost.
    pub spend: Spend,
}
