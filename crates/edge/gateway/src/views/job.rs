//! Jobs, what is sent to make one, and what happens to it.

use std::collections::BTreeMap;

use fapo_domain::hash::ContentHash;
use fapo_domain::ids::{JobId, TaskId, VariantId};
use fapo_domain::model::case::Split;
use fapo_domain::model::job::{JobEvent, JobGoal, JobStatus};
use fapo_domain::model::task::Topic;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::ledger::Balance;
use fapo_domain::ports::optimizer::JobSummary;
use fapo_domain::ports::tasks::DeadTask;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Moment, SpendView};
use crate::problem::ProblemPart;

/// What a job is to do.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "goal", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum GoalBody {
    /// Run the optimizer to its end.
    Optimize {},
    /// Evaluate the baseline once.
    Evaluate {
        /// The split.
        split: Split,
        /// The first so many cases; all where absent.
        #[serde(default, deserialize_with = "super::whole")]
        #[schemars(with = "Option<u64>", range(min = 1, max = 9_007_199_254_740_991_u64))]
        cases: Option<u64>,
        /// The sample index, 0 where absent: another one draws new samples from the models.
        #[serde(default, deserialize_with = "super::whole")]
        #[schemars(with = "Option<u32>")]
        sample: Option<u64>,
    },
}

impl GoalBody {
    /// The goal; which field is out of its range, where one is.
    pub(crate) fn goal(self) -> Result<JobGoal, Box<ProblemPart>> {
        match self {
            Self::Optimize {} => Ok(JobGoal::Optimize),
            Self::Evaluate { cases: Some(0), .. } => {
                Err(ProblemPart::new("goal.cases", "at least 1 is needed").into())
            }
            Self::Evaluate {
                split,
                cases,
                sample,
            } => Ok(JobGoal::Evaluate {
                split,
                cases,
                sample: u32::try_from(sample.unwrap_or(0)).map_err(|_| {
                    Box::new(ProblemPart::new(
                        "goal.sample",
                        format!("at most {} is possible", u32::MAX),
                    ))
                })?,
            }),
        }
    }
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "goal", rename_all = "snake_case")]
pub(crate) enum GoalView {
    /// It runs the optimizer to its end.
    Optimize,
    /// It evaluates the baseline once.
    Evaluate {
        /// The split.
        split: Split,
        /// The first so many cases; `null` is all.
        cases: Option<u64>,
        /// The sample index.
        sample: u32,
    },
}

impl From<JobGoal> for GoalView {
    fn from(goal: JobGoal) -> Self {
        match goal {
            JobGoal::Optimize => Self::Optimize,
            JobGoal::Evaluate {
                split,
                cases,
                sample,
            } => Self::Evaluate {
                split,
                cases,
                sample,
            },
        }
    }
}

/// A job to be run.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitBody {
    /// Your own name for this request: sent again with the same content it gives the same job. The header `Idempotency-Key`
    /// may be sent instead; one of the two is needed.
    #[serde(default)]
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")
    )]
    pub request_id: Option<String>,
    /// The project's name, as in its fapo.yaml.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub project: String,
    /// Its files: path relative to the project's folder, with `/` between the parts, and the SHA-256 of the content, which
    /// was uploaded before.
    #[schemars(extend("propertyNames" = {"pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"}))]
    pub files: BTreeMap<String, ContentHash>,
    /// What to do.
    pub goal: GoalBody,
}

/// Contents, by their SHA-256.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HashesBody {
    /// SHA-256 of contents, in hex.
    #[schemars(length(max = 10_000))]
    pub hashes: Vec<ContentHash>,
}

/// Contents that are to be uploaded.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct HashesView {
    /// Those of the hashes that are not stored yet, in order.
    pub missing: Vec<ContentHash>,
}

/// A content that is stored.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct BlobView {
    /// Its SHA-256.
    pub sha256: ContentHash,
    /// Its length, in bytes.
    pub size: u64,
}

/// How a job stands.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct JobView {
    /// The id.
    #[schemars(schema_with = "super::uuid")]
    pub id: JobId,
    /// The project's name.
    pub project: String,
    /// What was asked.
    pub goal: GoalView,
    /// How it stands.
    pub status: JobStatus,
    /// Whether it is paused: nothing new is begun until it is resumed.
    pub paused: bool,
    /// What it is at.
    pub phase: String,
    /// Grows with every change.
    pub version: u64,
    /// When it was submitted.
    pub created_at: Moment,
    /// When it last changed.
    pub updated_at: Moment,
    /// The baseline.
    pub baseline: Standing,
    /// The best variant so far; the baseline at first.
    pub best: Standing,
    /// The sealed test, once it was opened and done.
    pub test: Option<TestView>,
    /// Proposals asked for.
    pub proposals: u32,
    /// Proposals that the budget allows.
    pub proposals_max: u32,
    /// Cases done, over the evaluations under way.
    pub cases_done: u64,
    /// Cases in all, over the evaluations under way.
    pub cases: u64,
    /// Why it stopped, once it did.
    pub stopped: Option<String>,
    /// Reasons of its dead tasks.
    pub dead: Vec<String>,
    /// Its account.
    pub account: AccountView,
    /// The hash over its variants and what became of each: equal for two runs that went the same way.
    pub lineage_hash: ContentHash,
}

/// A variant and how it does on validation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Standing {
    /// The variant.
    pub variant: VariantId,
    /// Its mean, once known.
    pub mean: Option<f64>,
}

/// Means on the sealed test.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct TestView {
    /// The baseline's.
    pub baseline: f64,
    /// The best variant's.
    pub best: f64,
}

/// A job's account.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct AccountView {
    /// The most it may cost, in micro-dollars; `null` is no cap.
    pub cost_cap_micro_usd: Option<u64>,
    /// The most model calls; `null` is no cap.
    pub model_calls_cap: Option<u64>,
    /// Money reserved for calls under way.
    pub reserved_micro_usd: u64,
    /// Money counted for calls of which no reply was kept, at their worst case.
    pub lost_micro_usd: u64,
    /// Everything spent, what was lost included.
    pub total: SpendView,
    /// What was spent, by who spent it.
    pub spent: Vec<SpentView>,
}

/// What one role spent.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SpentView {
    /// Who.
    pub role: SpendRole,
    /// How much.
    pub spend: SpendView,
}

impl From<Balance> for AccountView {
    fn from(balance: Balance) -> Self {
        Self {
            cost_cap_micro_usd: balance.caps.cost.map(|cost| cost.0),
            model_calls_cap: balance.caps.model_calls,
            reserved_micro_usd: balance.reserved.cost.0,
            lost_micro_usd: balance.lost.cost.0,
            total: balance.total().into(),
            spent: balance
                .spent
                .into_iter()
                .map(|(role, spend)| SpentView {
                    role,
                    spend: spend.into(),
                })
                .collect(),
        }
    }
}

impl From<JobSummary> for JobView {
    fn from(job: JobSummary) -> Self {
        Self {
            id: job.id,
            project: job.project,
            goal: job.goal.into(),
            status: job.status,
            paused: job.paused,
            phase: job.phase,
            version: job.version,
            created_at: job.created_at.into(),
            updated_at: job.updated_at.into(),
            baseline: Standing {
                variant: job.baseline,
                mean: job.baseline_mean,
            },
            best: Standing {
                variant: job.best,
                mean: job.best_mean,
            },
            test: job.test.map(|(baseline, best)| TestView { baseline, best }),
            proposals: job.proposals.0,
            proposals_max: job.proposals.1,
            cases_done: job.cases.0,
            cases: job.cases.1,
            stopped: job.stopped,
            dead: job.dead,
            account: job.balance.into(),
            lineage_hash: job.lineage_hash,
        }
    }
}

/// One entry of a job's history.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct EventView {
    /// Position in the job, from 1.
    pub seq: u64,
    /// When it was written.
    pub at: Moment,
    /// What happened.
    pub body: Value,
}

impl From<JobEvent> for EventView {
    fn from(event: JobEvent) -> Self {
        Self {
            seq: event.seq,
            at: event.at.into(),
            body: event.body,
        }
    }
}

/// A task that failed for good.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct TaskView {
    /// The task.
    pub id: TaskId,
    /// Its queue.
    pub topic: Topic,
    /// Why.
    pub reason: String,
}

impl From<DeadTask> for TaskView {
    fn from(task: DeadTask) -> Self {
        Self {
            id: task.id,
            topic: task.topic,
            reason: task.reason,
        }
    }
}

/// How many dead tasks were put back.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct RetriedView {
    /// How many.
    pub retried: u64,
}
