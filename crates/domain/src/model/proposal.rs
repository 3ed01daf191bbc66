//! Proposals: what is asked of a proposer, what it answers, and what the lints say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hash::ContentHash;
use crate::ids::{JobId, VariantId};
use crate::model::evaluation::{EvaluationSpec, HeldOutMean};
use crate::model::finding::{Attribution, Cluster};
use crate::model::level::{Level, Strategy, Technique};
use crate::model::session::SessionId;
use crate::model::trace::RunRecord;
use crate::model::variant::VariantTree;
use crate::money::Spend;

mod review;

pub use review::*;

/// Everything a proposer is given. It holds train evidence only; the same state gives the same value, byte for byte.
#[derive(Debug, Clone)]
pub struct ProposalRequest {
    /// The job.
    pub job: JobId,
    /// The iteration, from 1.
    pub iteration: u32,
    /// The slot among parallel proposals of the iteration, from 0.
    pub slot: u32,
    /// The variant to start from.
    pub parent: VariantId,
    /// Its files.
    pub tree: VariantTree,
    /// The deepest level this proposal may reach.
    pub level: Level,
    /// The cluster to work on.
    pub cluster: Option<Cluster>,
    /// The parent's train evaluation.
    pub evaluation: EvaluationSpec,
    /// The job's variants that were evaluated, against repeats.
    pub earlier: Vec<VariantId>,
    /// The parent on validation.
    pub val: Option<HeldOutMean>,
    /// The parent's attribution on train.
    pub attribution: Attribution,
    /// Failing and passing train cases, chosen to cover the clusters.
    pub evidence: Vec<Evidence>,
    /// What was tried from here and what became of it, oldest first.
    pub history: Vec<Attempt>,
    /// The expected answers of train, where they form a small closed set (a classification's labels); else empty.
    pub labels: Vec<String>,
    /// The project's `PLAYBOOK.md`, where there is one.
    pub playbook: Option<String>,
    /// How to go about it, after what was tried.
    pub strategy: Strategy,
    /// The proposal to be written again, where a review failed it. `tree` stays the parent's.
    pub revise: Option<Revision>,
    /// Seed of whatever the proposer chooses at random.
    pub seed: u64,
}

/// One train case as evidence.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evidence {
    /// The cluster it stands for; `None` for a passing case.
    pub cluster: Option<String>,
    /// What the finding said.
    pub detail: String,
    /// The scorer's line on what was wrong; empty where it has none.
    #[serde(default)]
    pub feedback: String,
    /// The score.
    pub score: f64,
    /// The case's input and expected output.
    pub case: crate::model::case::Case,
    /// The run, with every step.
    pub run: RunRecord,
}

/// One earlier proposal, as later ones see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The iteration.
    pub iteration: u32,
    /// What it started from.
    pub parent: VariantId,
    /// The variant, unless the proposal was refused before it became one.
    pub variant: Option<VariantId>,
    /// Its level.
    pub level: Level,
    /// Its technique.
    pub technique: Option<Technique>,
    /// Its hypothesis.
    pub hypothesis: String,
    /// The proposer's own name for the exact idea, such as `output_constraint/answer/only`.
    pub idea: String,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// The reason, in one line; gains on validation are rounded to one point.
    pub reason: String,
}

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// A lint or the reviewer refused it before anything was spent on it.
    Refused,
    /// It lost on train.
    RejectedOnTrain,
    /// It did not show a gain on validation.
    RejectedOnVal,
    /// Promising, without a claim.
    Branched,
    /// Better, at the stated error rate.
    Promoted,
    /// Too many results are missing for a decision.
    Undecided,
}

/// A proposed variant.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The whole tree after the change.
    pub tree: VariantTree,
    /// What was tried.
    pub technique: Technique,
    /// The proposer's own name for the exact idea: the same idea has the same name.
    pub idea: String,
    /// What is expected and why.
    pub hypothesis: String,
    /// The cluster it aims at.
    pub cluster: Option<String>,
    /// Expected gain in points of the mean score.
    pub expected_gain: Option<f64>,
    /// Expected cost of a case over the parent's.
    pub expected_cost_ratio: Option<f64>,
    /// Evidence that went in: its hash is stored with the proposal.
    pub evidence_hash: Option<ContentHash>,
    /// The agent's session, where one wrote it.
    pub session: Option<SessionId>,
    /// Hash over the instructions that the proposer was given.
    pub prompt_hash: Option<ContentHash>,
    /// What asking cost.
    pub spend: Spend,
    /// What the proposer said in full, for the record.
    pub transcript: Option<String>,
}

/// The deterministic checks of a proposal, made before anything is spent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lint {
    /// A file outside the allowed files.
    ScopeFile,
    /// A step outside the allowed steps.
    ScopeStep,
    /// A level that is not allowed, or not open yet.
    ScopeLevel,
    /// A value outside its allowed range, or a model outside the allowed list.
    ScopeRange,
    /// Nothing differs from the parent.
    NoChange,
    /// A variable the parent's prompt used is gone.
    VariableDropped,
    /// A variable that does not exist.
    VariableUnknown,
    /// Not a valid pipeline: unreadable YAML, unknown step, cycle, missing file, bad template.
    InvalidPipeline,
    /// A text that ends in the middle, or holds a placeholder such as `[rest unchanged]`.
    Unfinished,
    /// A file or the whole is too large.
    TooLarge,
    /// A file that is not UTF-8 text.
    NotText,
    /// A link, a device or anything else that is no plain file, or a name that is no plain text.
    SpecialFile,
    /// The same as an earlier variant of the job, up to white space.
    Duplicate,
    /// Text copied from train cases.
    TrainLeak,
    /// Text from validation or test cases.
    HeldOutLeak,
    /// An expected answer written into a prompt or a condition.
    HardCodedAnswer,
    /// A case id written into the variant.
    HardCodedCase,
    /// Something that looks like a key or a password.
    Secret,
    /// Code that imports or calls what it must not.
    ForbiddenCode,
    /// It would cost more per case than is allowed.
    PredictedCost,
    /// It would break a per-case cap.
    CaseCap,
}

impl Lint {
    /// The name in rows and reports.
    pub fn name(self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

/// One thing a lint found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintFinding {
    /// The lint.
    pub lint: Lint,
    /// The file or key path that broke it.
    pub place: String,
    /// Why, in one line. For held-out leaks it never quotes the held-out text.
    pub message: String,
}

impl LintFinding {
    /// That text of held-out cases stands in a file.
    pub const HELD_OUT_TEXT: &str = "holds text of a validation or test case";
    /// That the answer of a held-out case stands in a file.
    pub const HELD_OUT_ANSWER: &str =
        "holds the answer of a validation or test case beside words of its input";
    /// That the id of a held-out case stands in a file.
    pub const HELD_OUT_ID: &str = "names a validation or test case";

    /// Whether it says something of held-out cases: whoever proposes could find out by asking again and again what stands in
    /// them, so it is not repeated to them as it is.
    pub fn is_about_held_out(&self) -> bool {
        let said = self.message.as_str();
        self.lint == Lint::HeldOutLeak
            || [
                Self::HELD_OUT_TEXT,
                Self::HELD_OUT_ANSWER,
                Self::HELD_OUT_ID,
            ]
            .contains(&said)
    }
}

/// What all lints say; empty means that the proposal may be evaluated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LintReport {
    /// What refuses the proposal.
    pub refusals: Vec<LintFinding>,
    /// The level of the change, decided from the diff; `None` when it cannot be read.
    pub level: Option<Level>,
    /// Predicted cost per case over the parent's, from the model calls each makes.
    pub predicted_cost_ratio: Option<f64>,
    /// Anything else worth recording, by name.
    pub notes: BTreeMap<String, String>,
}

impl LintReport {
    /// Whether the proposal may be evaluated.
    pub fn passed(&self) -> bool {
        self.refusals.is_empty()
    }
}
