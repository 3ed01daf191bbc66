//! Attribution: which step lost the points, why, and at which level it can be mended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hash::ContentHash;
use crate::ids::{CaseId, EvaluationId, StepId};
use crate::model::level::Level;
use crate::model::session::SessionId;
use crate::money::Spend;

/// The deterministic rules, in the order in which they are asked (docs/attribution.md). A rule's thresholds stand in
/// [`crate::model::project::DiagnosisSpec`].
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
pub enum Rule {
    /// A step's output was cut off at its token limit.
    CutOffOutput,
    /// A step failed (unreadable JSON, render error, cap).
    StepFailed,
    /// A case limit stopped the run.
    CapHit,
    /// A step gave nothing, and steps after it starved.
    EmptyStep,
    /// The model declined.
    Refusal,
    /// Gold documents were ranked, but below the last one taken.
    RetrievalTooShallow,
    /// Gold documents were found in part.
    RetrievalPartial,
    /// No gold document was found.
    RetrievalMiss,
    /// No gold documents are named, and what was retrieved shares little with the query.
    RetrievalLowOverlap,
    /// The right answer is inside a longer output.
    AnswerBuried,
    /// The right answer in another case, with other punctuation, or in other JSON.
    AnswerForm,
    /// The output says that the answer is unknown.
    Abstained,
    /// Everything needed was there, and the answer is wrong.
    WrongAnswer,
}

impl Rule {
    /// The name in rows and reports.
    pub fn name(self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

/// Why one case lost points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The evaluation of the failing run.
    pub evaluation: EvaluationId,
    /// The case's ordinal in the train split.
    pub ordinal: u64,
    /// The case.
    pub case_id: CaseId,
    /// The step to blame.
    pub step: StepId,
    /// The rule that fired.
    pub rule: Rule,
    /// The level at which it can be mended.
    pub level: Level,
    /// In `[0, 1]`.
    pub confidence: f64,
    /// Points this case lost, in `[0, 1]`.
    pub lost: f64,
    /// What was seen, in one line, with a short quote.
    pub detail: String,
    /// What a model read in the trace, where the rule was in doubt, a reader was asked, and its quote is in the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<Reading>,
}

/// What is missing in a failure, as a model reads it.
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
pub enum FailureKind {
    /// Everything needed was there, and the conclusion is wrong.
    Reasoning,
    /// What is needed was not in what the step was given.
    Knowledge,
    /// The right content in the wrong form.
    Format,
    /// Anything else about what was written.
    Content,
}

impl FailureKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::Reasoning,
        Self::Knowledge,
        Self::Format,
        Self::Content,
    ];

    /// The name in rows and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reasoning => "reasoning",
            Self::Knowledge => "knowledge",
            Self::Format => "format",
            Self::Content => "content",
        }
    }
}

/// What a model read in the trace of a failure. Kept only where `quote` stands in the trace of `step`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// What is missing.
    pub kind: FailureKind,
    /// The step it was seen at.
    pub step: StepId,
    /// Words of the trace that show it.
    pub quote: String,
    /// Why, in one line.
    pub explanation: String,
}

/// A reading, with its case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseReading {
    /// The case.
    pub case: CaseId,
    /// What was read.
    #[serde(flatten)]
    pub reading: Reading,
}

/// How the reading of failures went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReaderSummary {
    /// Failures that the rules left unclear.
    pub unclear: u64,
    /// How many of them a model was asked about.
    pub asked: u64,
    /// Readings that were kept.
    pub kept: u64,
    /// Readings whose quote is not in the trace.
    pub discarded: u64,
    /// Replies that could not be read.
    pub unusable: u64,
    /// Why not all were asked about, where something hindered it.
    pub note: Option<String>,
    /// Hash over the instructions that the reader was given.
    pub prompt_hash: Option<ContentHash>,
    /// What reading cost.
    pub spend: Spend,
    /// The session that read, where a coding agent did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
}

/// Failures with one pattern: the same rule at the same step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// `rule@step`: the same for the same pattern in every attribution.
    pub id: String,
    /// For people.
    pub label: String,
    /// The step.
    pub step: StepId,
    /// The rule.
    pub rule: Rule,
    /// The level at which it can be mended.
    pub level: Level,
    /// How many failures.
    pub count: u64,
    /// At most five of them, those that lost most first.
    pub cases: Vec<CaseId>,
    /// Mean confidence of its findings.
    pub confidence: f64,
    /// Points to be won if all of it were mended.
    pub recoverable: Points,
    /// What to try.
    pub direction: String,
    /// A few readings of its failures, where there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readings: Vec<CaseReading>,
}

/// Points of the mean score, with an interval over cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Points {
    /// The estimate: points of the mean score (0.1 is ten percent of the cases, fully won).
    pub estimate: f64,
    /// Lower end of a 95 % interval (Wilson score on the share of lost points).
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What an evaluation's failures say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Attribution {
    /// Counting cases.
    pub cases: u64,
    /// Cases below a full score.
    pub failures: u64,
    /// Cases without a result; they are no failures.
    pub missing: u64,
    /// The mean score.
    pub mean: f64,
    /// Patterns, most recoverable points first.
    pub clusters: Vec<Cluster>,
    /// Points to be won at each level, computed from the findings.
    pub ceilings: BTreeMap<Level, Points>,
    /// How the reading of unclear failures went; `None` where the project has no reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<ReaderSummary>,
}
