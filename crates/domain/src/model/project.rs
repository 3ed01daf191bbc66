//! `fapo.yaml`, typed: the fixed part of a project, which no proposal can change. The JSON Schema that editors use is
//! generated from these types; they are the only place where the keys are named.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::level::Level;
use crate::money::Price;

/// The whole of `fapo.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectSpec {
    /// The project's name: letters, digits, `-` and `_`.
    pub name: String,
    /// What it is for; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The models that may be used, by role. `task` is what `llm` steps use unless they name another.
    pub models: BTreeMap<String, ModelSpec>,
    /// Where the cases and documents are.
    pub data: DataSpec,
    /// How an output is scored.
    pub scorer: ScorerSpec,
    /// What is maximized, and under which conditions.
    #[serde(default)]
    pub objective: ObjectiveSpec,
    /// What a proposal may change.
    #[serde(default)]
    pub scope: ScopeSpec,
    /// Caps on one case's run.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// Caps on a whole job.
    #[serde(default)]
    pub budget: BudgetSpec,
    /// Who writes proposals.
    #[serde(default)]
    pub proposer: ProposerSpec,
    /// When a candidate is accepted.
    #[serde(default)]
    pub acceptance: AcceptanceSpec,
    /// When a level is left and the next one opened.
    #[serde(default)]
    pub escalation: EscalationSpec,
    /// Thresholds of the attribution rules.
    #[serde(default)]
    pub diagnosis: DiagnosisSpec,
    /// How work is spread.
    #[serde(default)]
    pub execution: ExecutionSpec,
    /// Stop as soon as each metric named here is reached on validation, such as `exact_match: 0.75`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub target: BTreeMap<String, f64>,
    /// Seed of every random choice.
    #[serde(default)]
    pub seed: u64,
}

/// A model and how it is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Which protocol it speaks.
    pub provider: Provider,
    /// The model's name, as the provider knows it.
    pub model: String,
    /// The endpoint, up to and including `/v1`; `${NAME}` is taken from the environment. The provider's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The environment variable that holds the key; `OPENAI_API_KEY` or `ANTHROPIC_API_KEY` where absent. The key
    /// itself never stands in a file of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Randomness of sampling, unless the step says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f64>,
    /// Nucleus sampling, unless the step says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f64>,
    /// Longest reply in tokens, unless the step says otherwise.
    #[serde(default = "default_max_tokens")]
    #[schemars(range(min = 1))]
    pub max_tokens: u32,
    /// What it costs, in dollars per million tokens; the price table's entry where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Most calls under way at once; the adaptive limit starts at a quarter of it and never exceeds it.
    #[serde(default = "default_model_concurrency")]
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: u32,
    /// Seconds after which one call counts as lost.
    #[serde(default = "default_timeout_s")]
    #[schemars(range(min = 1))]
    pub timeout_s: u32,
    /// Tries in all, for failures that can pass.
    #[serde(default = "default_attempts")]
    #[schemars(range(min = 1, max = 20))]
    pub attempts: u32,
    /// For `provider: sim`: the file that says how the simulated model behaves, relative to the project folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<String>,
}

const fn default_max_tokens() -> u32 {
    1024
}
const fn default_model_concurrency() -> u32 {
    16
}
const fn default_timeout_s() -> u32 {
    120
}
const fn default_attempts() -> u32 {
    5
}

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// OpenAI-compatible chat completions: OpenAI, vLLM, llama.cpp, Ollama and most gateways.
    Openai,
    /// Anthropic Messages.
    Anthropic,
    /// The simulated model that ships with fapo: offline, deterministic, free. For examples and tests.
    Sim,
}

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
    /// The share of train that becomes val where `val` is absent; near-duplicates stay together.
    #[serde(default = "default_val_fraction")]
    #[schemars(range(min = 0.05, max = 0.9))]
    pub val_fraction: f64,
    /// Use at most so many cases of each split (the first ones).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_cases: Option<u64>,
    /// Document collections for `retrieve` steps, by name: JSONL with `doc_id`, `title`, `text`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub corpora: BTreeMap<String, String>,
}

const fn default_val_fraction() -> f64 {
    0.5
}

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
    /// Compare texts without regard to case.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_case: bool,
}

/// A metric that ships with fapo. Each gives a value in `[0, 1]`.
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
}

impl Metric {
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
    /// 95th percentile of a case's seconds.
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
    /// Allowed ranges by `<kind>.<step>.<parameter>`, each part a glob: `"retrieve.*.k": [1, 50]`.
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
    /// Hours of the wall clock, counted while the job runs.
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

/// Who writes proposals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposerSpec {
    /// The backend.
    #[serde(default)]
    pub backend: ProposerBackend,
    /// For `reflect`: an entry of `models:`; `proposer` where absent, else `task`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// For `replay`: the file of recorded proposals, relative to the project folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// Proposals from one state at the same time.
    #[serde(default = "default_parallel")]
    #[schemars(range(min = 1, max = 16))]
    pub parallel: u32,
    /// Most tokens of evidence given to a model.
    #[serde(default = "default_evidence_tokens")]
    #[schemars(range(min = 500))]
    pub evidence_tokens: u32,
}

const fn default_parallel() -> u32 {
    1
}
const fn default_evidence_tokens() -> u32 {
    12_000
}

impl Default for ProposerSpec {
    fn default() -> Self {
        Self {
            backend: ProposerBackend::default(),
            model: None,
            recording: None,
            parallel: default_parallel(),
            evidence_tokens: default_evidence_tokens(),
        }
    }
}

/// A way of writing proposals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProposerBackend {
    /// No model: tries techniques from a catalogue, prompts first.
    #[default]
    Catalogue,
    /// One structured call to a model, given compiled evidence.
    Reflect,
    /// Recorded proposals.
    Replay,
}

/// When a candidate is accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptanceSpec {
    /// The rule.
    #[serde(default)]
    pub rule: AcceptanceRule,
    /// For `paired_bootstrap`: one-sided error rate of one promotion.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0.0001, max = 0.5))]
    pub alpha: f64,
    /// Smallest mean gain on validation that is worth a promotion.
    #[serde(default = "default_min_gain")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_gain: f64,
    /// Smallest share of pairs that must be there for any decision.
    #[serde(default = "default_coverage")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub coverage: f64,
    /// On train, a candidate is dropped once its chance of being no better (bootstrap) is at least this.
    #[serde(default = "default_screen")]
    #[schemars(range(min = 0.5, max = 1.0))]
    pub screen: f64,
    /// Times each case is run in the sealed test, for the baseline and for the best.
    #[serde(default = "default_test_repeats")]
    #[schemars(range(min = 1, max = 20))]
    pub test_repeats: u32,
}

const fn default_alpha() -> f64 {
    0.05
}
const fn default_min_gain() -> f64 {
    0.01
}
const fn default_coverage() -> f64 {
    0.9
}
const fn default_screen() -> f64 {
    0.9
}
const fn default_test_repeats() -> u32 {
    1
}

impl Default for AcceptanceSpec {
    fn default() -> Self {
        Self {
            rule: AcceptanceRule::default(),
            alpha: default_alpha(),
            min_gain: default_min_gain(),
            coverage: default_coverage(),
            screen: default_screen(),
            test_repeats: default_test_repeats(),
        }
    }
}

/// A rule of acceptance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcceptanceRule {
    /// The one-sided bootstrap p-value of the paired differences is at most `alpha`, and the gain at least `min_gain`.
    #[default]
    PairedBootstrap,
    /// The mean is higher by more than `min_gain`, whatever the noise: the paper's rule.
    Mean,
}

/// When a level is left and the next one opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalationSpec {
    /// Candidates in a row without a promotion that make a plateau.
    #[serde(default = "default_plateau")]
    #[schemars(range(min = 1))]
    pub plateau: u32,
    /// Different techniques that must be among those tried on the incumbent before a plateau counts.
    #[serde(default = "default_techniques")]
    #[schemars(range(min = 1))]
    pub techniques: u32,
    /// Points that attribution must give a level before it is opened.
    #[serde(default = "default_min_recoverable")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_recoverable: f64,
}

const fn default_plateau() -> u32 {
    3
}
const fn default_techniques() -> u32 {
    3
}
const fn default_min_recoverable() -> f64 {
    0.02
}

impl Default for EscalationSpec {
    fn default() -> Self {
        Self {
            plateau: default_plateau(),
            techniques: default_techniques(),
            min_recoverable: default_min_recoverable(),
        }
    }
}

/// Thresholds of the attribution rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiagnosisSpec {
    /// A case below this score is a failure.
    #[serde(default = "default_failure_below")]
    pub failure_below: f64,
    /// The key of `expected` that lists gold documents (ids or titles); found by itself where it is called
    /// `supporting_titles`, `gold_titles`, `gold_docs` or `doc_ids`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold_documents: Option<String>,
    /// `retrieval_low_overlap` fires below this share of query words found in what was retrieved.
    #[serde(default = "default_overlap")]
    pub overlap: f64,
    /// `answer_buried` fires when the output is longer than this multiple of the answer.
    #[serde(default = "default_buried")]
    pub buried_ratio: f64,
    /// How many documents beyond `k` a `retrieve` step notes down for diagnosis.
    #[serde(default = "default_probe")]
    #[schemars(range(min = 0, max = 1000))]
    pub probe_depth: u32,
}

const fn default_failure_below() -> f64 {
    1.0
}
const fn default_overlap() -> f64 {
    0.2
}
const fn default_buried() -> f64 {
    1.5
}
const fn default_probe() -> u32 {
    50
}

impl Default for DiagnosisSpec {
    fn default() -> Self {
        Self {
            failure_below: default_failure_below(),
            gold_documents: None,
            overlap: default_overlap(),
            buried_ratio: default_buried(),
            probe_depth: default_probe(),
        }
    }
}

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

impl ProjectSpec {
    /// The name of the maximized metric.
    pub fn maximized(&self) -> String {
        if let Some(name) = &self.objective.maximize {
            return name.clone();
        }
        self.scorer
            .metric
            .map_or("weighted", Metric::as_str)
            .to_owned()
    }
}
