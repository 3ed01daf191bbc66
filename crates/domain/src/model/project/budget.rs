//! `limits:` and `budget:`: caps on one case and on a whole job.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Caps on one case's run. A case that meets one is `failed` with the cap's name; `seconds` makes it `timed_out`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSpec {
    /// Model calls.
    #[serde(default = "default_limit_calls")]
    pub model_calls: u32,
    /// Tokens, in and out together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// Seconds.
    #[serde(default = "default_limit_seconds")]
    pub seconds: u32,
    /// Retrieved documents over all steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<u32>,
}

const fn default_limit_calls() -> u32 {
    64
}
const fn default_limit_seconds() -> u32 {
    600
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self {
            model_calls: default_limit_calls(),
            tokens: None,
            usd: None,
            seconds: default_limit_seconds(),
            documents: None,
        }
    }
}

/// Caps on a whole job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetSpec {
    /// Dollars, over all roles. Needs a price for every model that is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// Proposals asked for.
    #[serde(default = "default_proposals")]
    pub proposals: u32,
    /// Model calls, over all roles; cache hits are no calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_calls: Option<u64>,
    /// Hours of the wall clock, counted while the job runs. Once they are over no further cases are begun, but for the
    /// sealed test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<f64>,
}

const fn default_proposals() -> u32 {
    30
}

impl Default for BudgetSpec {
    fn default() -> Self {
        Self {
            usd: None,
            proposals: default_proposals(),
            model_calls: None,
            hours: None,
        }
    }
}
