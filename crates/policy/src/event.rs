//! What a job's history consists of: one event for each fact worth showing. The progress display and `fapo status`
//! are made from these and nothing else, so each is complete by itself, and small.

use std::collections::BTreeMap;

use fapo_domain::hash::ContentHash;
use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{Decision, StopReason};
use fapo_domain::model::finding::{Attribution, Points};
use fapo_domain::model::job::{JobGoal, JobStatus};
use fapo_domain::model::level::{Level, Strategy, Technique};
use fapo_domain::model::proposal::{LintFinding, ReviewFinding, ReviewVerdict};
use fapo_domain::model::score::ScoreSummary;
use fapo_domain::model::session::SessionId;
use fapo_domain::model::task::Topic;
use fapo_domain::{EvaluationId, TaskId, VariantId};
use serde::{Deserialize, Serialize};

use crate::stage::StagePurpose;
use crate::state::TestResult;

/// A fact of a job's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The job began.
    Submitted {
        /// What it is to do.
        #[serde(flatten)]
        goal: JobGoal,
        /// The project.
        project: String,
        /// The variant it starts from.
        baseline: VariantId,
        /// Cases per split.
        data: BTreeMap<Split, u64>,
        /// Most proposals.
        proposals: u32,
    },
    /// An evaluation began.
    StageStarted {
        /// The evaluation.
        evaluation: EvaluationId,
        /// What it is for.
        #[serde(flatten)]
        purpose: StagePurpose,
        /// The variant.
        variant: VariantId,
        /// The split.
        split: Split,
        /// The sample index.
        sample: u32,
        /// Cases in it.
        cases: u64,
        /// Blocks in it.
        blocks: u64,
    },
    /// A block of an evaluation has its scores.
    BlockScored {
        /// The evaluation.
        evaluation: EvaluationId,
        /// The block, from 0.
        block: u64,
        /// Cases scored in the evaluation so far, this block included.
        cases_done: u64,
        /// Cases in the evaluation.
        cases: u64,
        /// Mean of the cases scored so far that count.
        mean: Option<f64>,
        /// Cases so far that have no result.
        missing: u64,
    },
    /// An evaluation ended: complete, dropped at a look, or out of budget.
    StageDone {
        /// The evaluation.
        evaluation: EvaluationId,
        /// What it was for.
        #[serde(flatten)]
        purpose: StagePurpose,
        /// The variant.
        variant: VariantId,
        /// The split.
        split: Split,
        /// Whether every case was run; if not, it was dropped at a look or the budget ran out.
        complete: bool,
        /// Its sums.
        summary: ScoreSummary,
    },
    /// The incumbent's failures on train were attributed.
    Attributed {
        /// The incumbent.
        variant: VariantId,
        /// Counting cases.
        cases: u64,
        /// Cases below a full score.
        failures: u64,
        /// The mean score.
        mean: f64,
        /// The patterns with most points to be won.
        clusters: Vec<ClusterLine>,
        /// Points to be won at each level.
        ceilings: BTreeMap<Level, Points>,
    },
    /// A proposal was asked for.
    ProposalAsked {
        /// The iteration, from 1.
        iteration: u32,
        /// The slot, from 0.
        slot: u32,
        /// What to start from.
        parent: VariantId,
        /// The deepest level it may reach.
        level: Level,
        /// The cluster to work on.
        cluster: Option<String>,
        /// How to go about it.
        #[serde(default, rename = "how")]
        strategy: Strategy,
        /// 0 for a proposal, 1 where one is to be revised.
        #[serde(default)]
        revision: u32,
    },
    /// The proposer answered.
    Proposed {
        /// The iteration.
        iteration: u32,
        /// The slot.
        slot: u32,
        /// The agent's session, where one was asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// Its answer.
        #[serde(flatten)]
        answer: ProposalAnswer,
    },
    /// The lints answered.
    Linted {
        /// The iteration.
        iteration: u32,
        /// The slot.
        slot: u32,
        /// The candidate.
        candidate: VariantId,
        /// The level of the change, decided from the diff.
        level: Option<Level>,
        /// What refuses it; the first few. Empty where it passed.
        refusals: Vec<LintFinding>,
    },
    /// The reviewer answered.
    Reviewed {
        /// The iteration.
        iteration: u32,
        /// The slot.
        slot: u32,
        /// The candidate.
        candidate: VariantId,
        /// 0 for a proposal, 1 for its revision.
        revision: u32,
        /// The verdict.
        verdict: ReviewVerdict,
        /// The summary in one line.
        summary: String,
        /// What was found; the first few, the weightiest first.
        findings: Vec<ReviewFinding>,
        /// The agent's session, where one reviewed.
        session: Option<SessionId>,
    },
    /// A candidate was compared at a look.
    Compared {
        /// The candidate.
        candidate: VariantId,
        /// What it was compared with.
        against: VariantId,
        /// Where.
        split: Split,
        /// Pairs that count.
        pairs: u64,
        /// Pairs of the whole split.
        of: u64,
        /// Mean difference, candidate minus the other.
        gain: f64,
        /// Interval of the gain.
        interval: (f64, f64),
        /// One-sided p-value for "no gain".
        p_value: f64,
    },
    /// Something was decided.
    Decided {
        /// The decision.
        decision: Decision,
    },
    /// The sealed test was opened.
    TestOpened {
        /// Hash over what it is opened for.
        what: ContentHash,
        /// The best variant; the baseline where nothing was promoted.
        best: VariantId,
        /// Cases in the split.
        cases: u64,
        /// How often each is run for each variant.
        repeats: u32,
    },
    /// There is no sealed test.
    TestSkipped {
        /// Why.
        reason: String,
    },
    /// The sealed test ended.
    TestDone {
        /// What it measured.
        result: TestResult,
    },
    /// The search ended.
    Stopped {
        /// Why.
        why: StopReason,
        /// One line for people.
        reason: String,
    },
    /// A task died for good. The job fails once its other tasks have ended.
    TaskDied {
        /// The task.
        task: TaskId,
        /// Its queue.
        topic: Topic,
        /// Why.
        reason: String,
    },
    /// Dead tasks were revived, and the job goes on.
    Revived {
        /// How many.
        tasks: u64,
    },
    /// Nothing more will happen.
    Finished {
        /// How it ended.
        status: JobStatus,
        /// One line for people.
        reason: String,
        /// The best variant.
        best: VariantId,
        /// The best variant's mean on val (an evaluate job: the mean it measured).
        mean: Option<f64>,
        /// The baseline's mean on val.
        baseline_mean: Option<f64>,
    },
}

/// What a proposer answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum ProposalAnswer {
    /// A variant.
    Variant {
        /// The variant.
        variant: VariantId,
        /// What was tried.
        technique: Technique,
        /// The proposer's own name for the idea.
        idea: String,
        /// What is expected and why.
        hypothesis: String,
    },
    /// No further idea at this level.
    NoIdea {
        /// Why.
        reason: String,
    },
    /// Nothing usable.
    Unusable {
        /// What was wrong.
        reason: String,
    },
}

/// A cluster in one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterLine {
    /// `rule@step`.
    pub id: String,
    /// For people.
    pub label: String,
    /// The level at which it can be mended.
    pub level: Level,
    /// How many failures.
    pub count: u64,
    /// Points to be won.
    pub recoverable: Points,
}

/// Most clusters that an event names.
const CLUSTERS_SHOWN: usize = 8;

impl ClusterLine {
    /// The clusters of an attribution that an event names.
    pub(crate) fn top(attribution: &Attribution) -> Vec<Self> {
        attribution
            .clusters
            .iter()
            .take(CLUSTERS_SHOWN)
            .map(|cluster| Self {
                id: cluster.id.clone(),
                label: cluster.label.clone(),
                level: cluster.level,
                count: cluster.count,
                recoverable: cluster.recoverable,
            })
            .collect()
    }
}
