//! Cases and the splits they belong to.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::CaseId;

/// A part of the data and who may see it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Seen case by case by whoever proposes.
    Train,
    /// Decides promotions; answers in aggregates only.
    Val,
    /// Sealed; opened once per job.
    Test,
}

impl Split {
    /// All splits.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// The name in files and rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One example: what goes into the pipeline and what should come out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Unique in the project over all splits.
    pub case_id: CaseId,
    /// What the pipeline sees.
    pub input: Map<String, Value>,
    /// What the scorer compares with.
    #[serde(default)]
    pub expected: Map<String, Value>,
    /// Anything else; never shown to the pipeline.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// A passage that retrieval can find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// Unique in its corpus.
    pub doc_id: String,
    /// What it is about; may be empty.
    #[serde(default)]
    pub title: String,
    /// Its text.
    pub text: String,
}
