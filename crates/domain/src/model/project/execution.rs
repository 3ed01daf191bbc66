//! `execution:`: how work is spread.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How work is spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutionSpec {
    /// Cases under way at once in one executor.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 4096))]
    pub concurrency: u32,
    /// Cases in a block, the unit of queued work.
    #[serde(default = "default_block")]
    #[schemars(range(min = 1, max = 10_000))]
    pub block_size: u32,
    /// How often `missing` cases of an evaluation are run again.
    #[serde(default = "default_rounds")]
    #[schemars(range(min = 0, max = 10))]
    pub missing_rounds: u32,
}

const fn default_concurrency() -> u32 {
    32
}
const fn default_block() -> u32 {
    64
}
const fn default_rounds() -> u32 {
    2
}

impl Default for ExecutionSpec {
    fn default() -> Self {
        Self {
            concurrency: default_concurrency(),
            block_size: default_block(),
            missing_rounds: default_rounds(),
        }
    }
}
