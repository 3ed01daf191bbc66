//! Units of queued work. The row is the truth; the queue carries its id.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::hash::Hasher;
use crate::ids::{JobId, TaskId, VariantId};
use crate::model::evaluation::{Block, EvaluationSpec, HeldOutMean};
use crate::model::finding::Cluster;
use crate::model::level::{Level, Strategy, Technique};
use crate::model::proposal::{Attempt, Revise};
use crate::model::trace_context::TraceParent;

/// The queues, one per kind of worker.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Ticks of jobs, for the orchestrator. Messages carry job ids.
    Job,
    /// Blocks to execute.
    Execute,
    /// Blocks to score, evaluations to compare.
    Score,
    /// Evaluations to attribute.
    Diagnose,
    /// Proposals to write.
    Propose,
    /// Proposals to lint and review.
    Review,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 6] = [
        Self::Job,
        Self::Execute,
        Self::Score,
        Self::Diagnose,
        Self::Propose,
        Self::Review,
    ];

    /// The name in rows and keys.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Execute => "execute",
            Self::Score => "score",
            Self::Diagnose => "diagnose",
            Self::Propose => "propose",
            Self::Review => "review",
        }
    }
}

/// The project a message belongs to, for fairness: projects share a queue in turn, then each project's jobs. A short hash of
/// the project's name, so that a message stays small; two projects that meet in one share a turn, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lane(pub u64);

impl Lane {
    /// The lane of a project.
    pub fn of(project: &str) -> Self {
        let mut hasher = Hasher::new("lane/v1");
        hasher.part(project.as_bytes());
        let hash = hasher.finish();
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        Self(u64::from_be_bytes(first))
    }
}

/// What a task is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum TaskPayload {
    /// Run a block of cases. Result: [`crate::model::job::BlockExecuted`].
    Execute {
        /// The evaluation.
        evaluation: EvaluationSpec,
        /// The block.
        block: Block,
        /// Which go it is: `missing` results are re-queued a bounded number of times.
        round: u32,
    },
    /// Score a block's runs. Result: [`crate::model::score::ScoreSummary`].
    Score {
        /// The evaluation.
        evaluation: EvaluationSpec,
        /// The block.
        block: Block,
    },
    /// Compare two evaluations of the same cases. Result: [`crate::model::score::Comparison`].
    Compare {
        /// The incumbent's.
        a: EvaluationSpec,
        /// The candidate's.
        b: EvaluationSpec,
        /// Only the first so many positions of the case order.
        upto: u64,
        /// Two-sided confidence of the interval.
        confidence: f64,
        /// Seed of the resampling.
        seed: u64,
    },
    /// Attribute a train evaluation's failures. Result: [`crate::model::finding::Attribution`].
    Attribute {
        /// The evaluation.
        evaluation: EvaluationSpec,
    },
    /// Write one proposal. Result: [`crate::model::job::Proposed`].
    Propose(Box<ProposeTask>),
    /// Lint (and, with a reviewer, review) a proposal. Result: [`crate::model::job::Reviewed`].
    Review(Box<ReviewTask>),
}

/// What a proposal is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProposeTask {
    /// The iteration, from 1.
    pub iteration: u32,
    /// The slot among parallel proposals.
    pub slot: u32,
    /// What to start from.
    pub parent: VariantId,
    /// The parent's train evaluation, for evidence.
    pub evaluation: EvaluationSpec,
    /// The deepest level it may reach.
    pub level: Level,
    /// The cluster to work on.
    pub cluster: Option<Cluster>,
    /// What was tried before.
    pub history: Vec<Attempt>,
    /// How to go about it, after what was tried.
    #[serde(default)]
    pub strategy: Strategy,
    /// The proposal to be written again, where a review failed it.
    #[serde(default)]
    pub revise: Option<Revise>,
    /// What the proposer is told of the parent on validation.
    #[serde(default)]
    pub val: Option<HeldOutMean>,
    /// Seed of the proposer's choices.
    pub seed: u64,
}

/// What is to be reviewed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReviewTask {
    /// The iteration.
    pub iteration: u32,
    /// The slot among parallel proposals.
    pub slot: u32,
    /// What it started from.
    pub parent: VariantId,
    /// The candidate.
    pub candidate: VariantId,
    /// The deepest level it may reach.
    pub level: Level,
    /// The job's earlier variants, against repeats.
    pub earlier: Vec<VariantId>,
    /// 0 for a proposal, 1 for its revision.
    #[serde(default)]
    pub revision: u32,
    /// The parent's train evaluation, for evidence. A task without one is only linted.
    #[serde(default)]
    pub evaluation: Option<EvaluationSpec>,
    /// What the proposer said it tried.
    #[serde(default)]
    pub technique: Option<Technique>,
    /// Its name for the idea.
    #[serde(default)]
    pub idea: String,
    /// What it expects and why.
    #[serde(default)]
    pub hypothesis: String,
    /// The cluster it aims at.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The gain it expects, in points of the mean score.
    #[serde(default)]
    pub expected_gain: Option<f64>,
    /// What was tried before.
    #[serde(default)]
    pub history: Vec<Attempt>,
}

impl TaskPayload {
    /// The evaluation whose cases it runs, where it runs any.
    pub const fn executes(&self) -> Option<&EvaluationSpec> {
        match self {
            Self::Execute { evaluation, .. } => Some(evaluation),
            Self::Score { .. }
            | Self::Compare { .. }
            | Self::Attribute { .. }
            | Self::Propose(_)
            | Self::Review(_) => None,
        }
    }

    /// The queue it goes to.
    pub const fn topic(&self) -> Topic {
        match self {
            Self::Execute { .. } => Topic::Execute,
            Self::Score { .. } | Self::Compare { .. } => Topic::Score,
            Self::Attribute { .. } => Topic::Diagnose,
            Self::Propose(_) => Topic::Propose,
            Self::Review(_) => Topic::Review,
        }
    }
}

/// A task to be created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    /// Derived from the job and what is to be done, so creating it twice is one task.
    pub id: TaskId,
    /// The job.
    pub job: JobId,
    /// What to do.
    pub payload: TaskPayload,
}

/// A task's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for a worker.
    Queued,
    /// A worker holds its lease.
    Leased,
    /// Its result is there.
    Done,
    /// It failed for good; the reason stands beside it. `fapo tasks retry` revives it.
    Dead,
    /// Its job was cancelled before it ran.
    Cancelled,
}

/// A claimed task. Every write made on its behalf carries `epoch` and fails once somebody else has claimed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimedTask {
    /// The task.
    pub id: TaskId,
    /// Its job.
    pub job: JobId,
    /// What to do.
    pub payload: TaskPayload,
    /// How often it has been claimed, this time included; also the fencing token.
    pub epoch: u64,
    /// When the lease ends unless it is renewed.
    pub lease_until: Timestamp,
    /// Where the tick that made it stands in the job's distributed trace.
    #[serde(default)]
    pub trace: Option<TraceParent>,
}

impl ClaimedTask {
    /// What writes on its behalf carry.
    pub fn fence(&self) -> Fence {
        Fence {
            task: self.id,
            epoch: self.epoch,
        }
    }
}

/// A fencing token: a write that carries it fails when the task has been claimed again since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The task.
    pub task: TaskId,
    /// The claim's epoch.
    pub epoch: u64,
}

/// A finished task, as the orchestrator reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishedTask {
    /// The task.
    pub id: TaskId,
    /// What it was to do.
    pub payload: TaskPayload,
    /// `Done` or `Dead`.
    pub state: TaskState,
    /// The result of a done task, as its payload's documentation says.
    pub result: Option<Value>,
    /// Why a dead task died.
    pub reason: Option<String>,
}
