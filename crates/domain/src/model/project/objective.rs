//! `objective:` and `scope:`: what is maximized under which conditions, and what a proposal may change.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::level::Level;

/// What is maximized, and under which conditions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectiveSpec {
    /// A metric of the scorer; its `metric` (or `weighted`) where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximize: Option<String>,
    /// What a promoted variant must keep to.
    #[serde(default)]
    pub subject_to: ConstraintSpec,
    /// Files with one case id a line: cases that may not get worse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<String>,
}

/// Conditions on a promoted variant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConstraintSpec {
    /// Cost per case, as a multiple of the baseline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub cost_ratio: Option<f64>,
    /// 95th percentile of a case's seconds, counted without a cache and without waiting for a provider or for tries that
    /// failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub latency_p95_s: Option<f64>,
}

/// What a proposal may change. Checked on the difference of the trees, never on what the proposer says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScopeSpec {
    /// The levels it may reach.
    #[serde(default = "default_allow")]
    pub allow: Vec<Level>,
    /// Globs over file paths below `pipeline/`; all where empty. `pipeline.yaml` is always covered by the levels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Globs over the ids of steps that may be changed or removed; all where empty. New steps may have any id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// Allowed ranges by `<kind>.<step>.<parameter>`, each part a glob: `"retrieve.*.k": [1, 50]`. A parameter that is left
    /// out counts with the value it then has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ranges: BTreeMap<String, (f64, f64)>,
    /// Entries of `models:` that a step may be moved to; none where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Largest file, in bytes.
    #[serde(default = "default_max_file_bytes")]
    pub max_file_bytes: u64,
    /// Largest tree, in bytes.
    #[serde(default = "default_max_tree_bytes")]
    pub max_tree_bytes: u64,
}

fn default_allow() -> Vec<Level> {
    vec![Level::Prompt]
}
const fn default_max_file_bytes() -> u64 {
    32 * 1024
}
const fn default_max_tree_bytes() -> u64 {
    256 * 1024
}

impl Default for ScopeSpec {
    fn default() -> Self {
        Self {
            allow: default_allow(),
            files: Vec::new(),
            steps: Vec::new(),
            ranges: BTreeMap::new(),
            models: Vec::new(),
            max_file_bytes: default_max_file_bytes(),
            max_tree_bytes: default_max_tree_bytes(),
        }
    }
}
