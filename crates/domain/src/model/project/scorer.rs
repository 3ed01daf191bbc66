//! `scorer:`: how an output is scored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an output is scored: one metric, or a weighted list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScorerSpec {
    /// The metric. Leave it out and use `weighted` for a composite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// A composite: the weighted mean of several metrics, reported as `weighted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weighted: Vec<WeightedMetric>,
    /// Further metrics that are reported and can be used in `objective` and `target`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<AlsoMetric>,
    /// Options of `metric`, and defaults for `also` and `weighted`.
    #[serde(flatten)]
    pub options: MetricOptions,
}

/// Options of a metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricOptions {
    /// The key of a case's `expected` that holds the right answer (a text, a number, or a list).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is scored instead of the pipeline's output: `<step>.text`, `<step>.json.<path>`, `<step>.docs.title`,
    /// `<step>.docs.doc_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// For `regex`: the pattern the output must match. Elsewhere: what to take from the output before it is scored (its
    /// first group, or the whole match).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// For `numeric`: largest allowed difference. For `set_*`: ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub tolerance: Option<f64>,
    /// For `numeric`: whether `tolerance` is a share of the expected value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relative: bool,
    /// For `choice`: the allowed choices, such as `[A, B, C, D]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// For `json_field`: dotted path into the output read as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// For `json_schema`: the schema the output must satisfy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
    /// For `python`: the file, `scorers/<name>.py`, relative to the project folder. It may import the other files of
    /// `scorers/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// For `python`: the function; `score` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// For `python`: longest time of one call, in seconds; 10 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_s: Option<u32>,
    /// For `python`: memory of a worker, in megabytes of address space; 512 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 16_384))]
    pub memory_mb: Option<u32>,
    /// Compare texts without regard to case.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_case: bool,
}

/// How one output is measured. Each metric gives a value in `[0, 1]`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Equal texts, apart from white space around them.
    ExactMatch,
    /// Equal after SQuAD normalization: lower case, without punctuation and articles, single spaces (Rajpurkar et al. 2016).
    NormalizedExactMatch,
    /// Token F1 after SQuAD normalization.
    F1,
    /// The expected text is in the output.
    Contains,
    /// The output matches `pattern`.
    Regex,
    /// The last number in the output equals the expected one, within `tolerance`.
    Numeric,
    /// The choice named in the output equals the expected one.
    Choice,
    /// A field of the output's JSON equals the expected value.
    JsonField,
    /// The output is JSON that satisfies `schema`.
    JsonSchema,
    /// Share of what was given that is expected.
    SetPrecision,
    /// Share of what is expected that was given.
    SetRecall,
    /// Harmonic mean of both.
    SetF1,
    /// 1 if everything expected was given, else 0 (HoVer's retrieval score).
    AllGold,
    /// What a function of the project's own `file` says: `def score(run: dict)`. It gets `run["case"]` (`case_id`,
    /// `input`, `expected`, `metadata`), `run["output"]` (the text that is scored), `run["json"]` (the same as JSON, or
    /// `None`) and `run["steps"][id]` (`text`, `json`, `docs`; `None` where skipped). It returns a number from 0 to 1, or
    /// a dict with `score` and, if it likes, `feedback` (one line) and `breakdown` (further numbers from 0 to 1 by name).
    Python,
}

impl MetricOptions {
    /// The folder, in a project, of all code that scorers run and import.
    pub const CODE_FOLDER: &'static str = "scorers/";
}

impl Metric {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 14] = [
        Self::ExactMatch,
        Self::NormalizedExactMatch,
        Self::F1,
        Self::Contains,
        Self::Regex,
        Self::Numeric,
        Self::Choice,
        Self::JsonField,
        Self::JsonSchema,
        Self::SetPrecision,
        Self::SetRecall,
        Self::SetF1,
        Self::AllGold,
        Self::Python,
    ];

    /// The name in files, breakdowns and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExactMatch => "exact_match",
            Self::NormalizedExactMatch => "normalized_exact_match",
            Self::F1 => "f1",
            Self::Contains => "contains",
            Self::Regex => "regex",
            Self::Numeric => "numeric",
            Self::Choice => "choice",
            Self::JsonField => "json_field",
            Self::JsonSchema => "json_schema",
            Self::SetPrecision => "set_precision",
            Self::SetRecall => "set_recall",
            Self::SetF1 => "set_f1",
            Self::AllGold => "all_gold",
            Self::Python => "python",
        }
    }
}

/// A further metric: its name, or its name with options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AlsoMetric {
    /// With the scorer's own options.
    Name(Metric),
    /// With its own options.
    Full(Box<NamedMetric>),
}

/// A metric with options and, where two of a kind are used, a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NamedMetric {
    /// The metric.
    pub metric: Metric,
    /// The name in breakdowns; the metric's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its options; those left out are the scorer's.
    #[serde(flatten)]
    pub options: MetricOptions,
}

/// A part of a composite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WeightedMetric {
    /// Its weight, relative to the others'.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// The metric.
    #[serde(flatten)]
    pub metric: NamedMetric,
}
