//! `data:`: where the cases and documents are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the cases and documents are. JSONL, CSV or Parquet, told apart by their ending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// Cases whose failures may be looked at one by one.
    pub train: String,
    /// Cases that decide; cut from train where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val: Option<String>,
    /// Cases for the one sealed measurement at the end; without them the report has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// The share of train that becomes val where `val` is absent; near-duplicates stay together where they are few.
    #[serde(default = "default_val_fraction")]
    #[schemars(range(min = 0.05, max = 0.9))]
    pub val_fraction: f64,
    /// Use at most so many cases of each split (the first ones).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_cases: Option<u64>,
    /// Document collections for `retrieve` steps, by name: files with `doc_id`, `title`, `text`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub corpora: BTreeMap<String, String>,
}

const fn default_val_fraction() -> f64 {
    0.5
}
