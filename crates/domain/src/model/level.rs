//! The levels of change and the techniques at each.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::StepId;

/// How deep a change goes. Ordered: a variant that differs in several ways has the deepest of them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Texts: prompts and skills.
    Prompt,
    /// Numbers and choices of existing steps: model, temperature, `k`, `n`, limits.
    Parameter,
    /// Steps added, removed, rewired or of another kind; code.
    Structure,
}

impl Level {
    /// All levels, shallowest first.
    pub const ALL: [Self; 3] = [Self::Prompt, Self::Parameter, Self::Structure];

    /// The name in files and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Parameter => "parameter",
            Self::Structure => "structure",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of idea a proposal tries. Recorded for each, so that a level is left only after several were tried.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Technique {
    // prompt
    /// Say more clearly what is asked.
    InstructionClarity,
    /// Say exactly what form the output takes.
    OutputConstraint,
    /// Break the task into named sub-tasks within the prompt.
    Decomposition,
    /// Ask for reasoning in steps.
    StepByStep,
    /// Show made-up examples.
    SyntheticFewShot,
    /// Show what not to do.
    NegativeExamples,
    /// Give the model a role.
    Role,
    /// Remove what does not help.
    Ablation,
    // parameter
    /// Retrieve more, or fewer, documents.
    RetrievalDepth,
    /// Change the randomness of sampling.
    Temperature,
    /// Allow longer, or shorter, replies.
    OutputLimit,
    /// Use another of the allowed models.
    ModelChoice,
    /// Draw more, or fewer, samples.
    SampleCount,
    /// Any other change of a parameter.
    OtherParameter,
    // structure
    /// Ask the retriever several questions at once.
    MultiQuery,
    /// Retrieve again with a query written from what was found.
    ExtraHop,
    /// Reorder retrieved documents.
    Rerank,
    /// Check the output and repair it.
    VerifyRepair,
    /// Draw several outputs and keep the best by a check.
    BestOfN,
    /// Draw several outputs and keep the most frequent.
    Vote,
    /// Send cases to different steps by their kind.
    Router,
    /// Bring the output into form by code or template, without a model.
    PostProcessor,
    /// Split one step into two.
    SplitStep,
    /// Merge two steps into one.
    MergeSteps,
    /// Any other change of structure.
    OtherStructure,
}

impl Technique {
    /// The level at which the technique normally works. The level of an actual change is decided from its diff.
    pub const fn level(self) -> Level {
        match self {
            Self::InstructionClarity
            | Self::OutputConstraint
            | Self::Decomposition
            | Self::StepByStep
            | Self::SyntheticFewShot
            | Self::NegativeExamples
            | Self::Role
            | Self::Ablation => Level::Prompt,
            Self::RetrievalDepth
            | Self::Temperature
            | Self::OutputLimit
            | Self::ModelChoice
            | Self::SampleCount
            | Self::OtherParameter => Level::Parameter,
            Self::MultiQuery
            | Self::ExtraHop
            | Self::Rerank
            | Self::VerifyRepair
            | Self::BestOfN
            | Self::Vote
            | Self::Router
            | Self::PostProcessor
            | Self::SplitStep
            | Self::MergeSteps
            | Self::OtherStructure => Level::Structure,
        }
    }
}

impl fmt::Display for Technique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the serialized name is the only spelling
        let name = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        f.write_str(name.as_str().unwrap_or_default())
    }
}

/// How a proposer is to go about it. A ladder that is climbed while nothing is promoted, so that what was tried already is
/// not tried in other words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "strategy", rename_all = "snake_case")]
pub enum Strategy {
    /// As it likes.
    #[default]
    Free,
    /// By a technique that was not tried yet.
    OtherTechnique {
        /// Those that were.
        avoid: Vec<Technique>,
    },
    /// By changing one step and nothing else.
    IsolateStep {
        /// The step.
        step: StepId,
    },
    /// By taking something away.
    Ablation,
}

impl Strategy {
    /// In a few words, for people.
    pub fn words(&self) -> String {
        match self {
            Self::Free => "as it likes".to_owned(),
            Self::OtherTechnique { .. } => "another technique".to_owned(),
            Self::IsolateStep { step } => format!("step {step} alone"),
            Self::Ablation => "take something away".to_owned(),
        }
    }
}
