//! Decisions: every gate and every change of level leaves a row that says what decided, and on what evidence.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::VariantId;
use crate::model::case::Split;
use crate::model::level::Level;
use crate::model::score::Comparison;

/// One decision of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Position among the job's decisions, from 0.
    pub seq: u32,
    /// The iteration.
    pub iteration: u32,
    /// What was decided.
    pub what: DecisionKind,
    /// One line for people.
    pub reason: String,
    /// The numbers and names the rule looked at.
    pub evidence: Value,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "most decisions are gates, and a job has few of them"
)]
pub enum DecisionKind {
    /// A candidate's fate at a gate.
    Gate {
        /// The candidate.
        candidate: VariantId,
        /// What it was compared with.
        parent: VariantId,
        /// Where.
        split: Split,
        /// The fate.
        outcome: GateOutcome,
        /// The statistic, where there was a comparison.
        comparison: Option<Comparison>,
    },
    /// A proposal was refused before it was evaluated.
    Refusal {
        /// The candidate, where the proposal got so far.
        candidate: Option<VariantId>,
        /// By whom.
        #[serde(default)]
        by: Refuser,
    },
    /// The reviewer failed a proposal, and the proposer may write it once more.
    SentBack {
        /// The candidate.
        candidate: VariantId,
    },
    /// A level was left.
    LevelLeft {
        /// The level.
        level: Level,
        /// Why.
        why: LevelLeft,
    },
    /// A level was opened.
    LevelOpened {
        /// The level.
        level: Level,
    },
    /// A level was passed over: not allowed, or the evidence is against it.
    LevelSkipped {
        /// The level.
        level: Level,
    },
    /// The search ended.
    Stopped {
        /// Why.
        why: StopReason,
    },
    /// The sealed test is not run.
    TestSkipped,
}

/// Who refused a proposal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refuser {
    /// The lints, or the proposer's answer was unusable.
    #[default]
    Lints,
    /// The reviewer.
    Reviewer,
}

/// A candidate's fate at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateOutcome {
    /// On train: goes on to validation.
    Pass,
    /// Dropped.
    Reject,
    /// Kept as promising, without a claim.
    Branch,
    /// Becomes the incumbent.
    Promote,
    /// Too many results are missing.
    Undecided,
}

/// Why a level was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LevelLeft {
    /// No failure is left that this level could mend.
    Resolved,
    /// Several candidates in a row without a promotion, with several techniques tried.
    Plateau,
    /// The score is at what this level could reach.
    Ceiling,
    /// The proposer has no further idea at this level.
    Exhausted,
}

/// Why a job's search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The target is met on validation.
    TargetMet,
    /// A budget is used up.
    BudgetSpent,
    /// Every allowed level is left.
    LevelsExhausted,
    /// Nothing fails on train.
    NothingToFix,
    /// A person stopped it.
    Cancelled,
    /// A task died for good.
    TaskDead,
    /// Too many results are missing, of the baseline or of every candidate for a while: nothing can be compared.
    NotMeasured,
}
