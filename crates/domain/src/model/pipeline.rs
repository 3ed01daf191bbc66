//! A pipeline as data: steps and how they connect. This is `pipeline/pipeline.yaml`, typed.
//!
//! Steps form a directed acyclic graph. A step depends on those it names in `needs` and on those its templates
//! mention (`steps.<id>...`). `when` makes a step conditional: a skipped step's value is null.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::StepId;

/// The whole of `pipeline.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineSpec {
    /// The steps, in any order; each runs as soon as what it needs is there.
    pub steps: Vec<StepSpec>,
    /// What is scored: a step's id (its text), or a path into its JSON such as `answer.json.label`.
    pub output: String,
}

/// One step, told apart by its `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepSpec {
    /// Calls a model with a rendered prompt.
    Llm(LlmStep),
    /// Finds documents in a corpus by BM25.
    Retrieve(RetrieveStep),
    /// Makes text from text without a model.
    Template(TemplateStep),
    /// Runs a function of a Python file of the variant.
    Python(PythonStep),
    /// Runs a sub-list of steps several times and combines the results.
    Sample(SampleStep),
}

impl StepSpec {
    /// The kinds this version runs.
    pub const KINDS: [&'static str; 5] = ["llm", "retrieve", "template", "python", "sample"];
    /// The kinds of the format that a later version will run.
    pub const PLANNED_KINDS: [&'static str; 8] = [
        "rerank", "http", "agent", "branch", "route", "map", "loop", "program",
    ];

    /// The step's name.
    pub fn id(&self) -> &StepId {
        match self {
            Self::Llm(step) => &step.id,
            Self::Retrieve(step) => &step.id,
            Self::Template(step) => &step.id,
            Self::Python(step) => &step.id,
            Self::Sample(step) => &step.id,
        }
    }

    /// What the user said it needs (what its templates mention comes on top).
    pub fn needs(&self) -> &[StepId] {
        match self {
            Self::Llm(step) => &step.needs,
            Self::Retrieve(step) => &step.needs,
            Self::Template(step) => &step.needs,
            Self::Python(step) => &step.needs,
            Self::Sample(step) => &step.needs,
        }
    }

    /// Its condition: a minijinja expression over the template names.
    pub fn when(&self) -> Option<&str> {
        match self {
            Self::Llm(step) => step.when.as_deref(),
            Self::Retrieve(step) => step.when.as_deref(),
            Self::Template(step) => step.when.as_deref(),
            Self::Python(step) => step.when.as_deref(),
            Self::Sample(step) => step.when.as_deref(),
        }
    }

    /// The name of its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Llm(_) => "llm",
            Self::Retrieve(_) => "retrieve",
            Self::Template(_) => "template",
            Self::Python(_) => "python",
            Self::Sample(_) => "sample",
        }
    }
}

/// Renders a prompt and calls a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LlmStep {
    /// The step's name.
    pub id: StepId,
    /// Steps to wait for beyond those the prompt mentions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StepId>,
    /// Condition; without it the step always runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The prompt file, relative to `pipeline/`.
    pub prompt: String,
    /// Which entry of `models:` in fapo.yaml; `task` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Randomness of sampling; the model entry's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f64>,
    /// Nucleus sampling; the model entry's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f64>,
    /// Longest reply in tokens; the model entry's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u32>,
    /// Texts at which the reply ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Sampling seed, where the provider takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// `text` (default) or `json`; `json` makes the parsed reply available as `steps.<id>.json`.
    #[serde(default, skip_serializing_if = "OutputFormat::is_text")]
    pub output: OutputFormat,
    /// JSON Schema of a `json` output; sent to providers that enforce it, and checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
}

/// What an `llm` step's reply is read as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// As it is.
    #[default]
    Text,
    /// As one JSON value.
    Json,
}

impl OutputFormat {
    /// Whether it is the default.
    pub fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

/// Finds the `k` best documents of a corpus by BM25 (Robertson & Zaragoza 2009; k1 = 1.2, b = 0.75).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrieveStep {
    /// The step's name.
    pub id: StepId,
    /// Steps to wait for beyond those the queries mention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StepId>,
    /// Condition; without it the step always runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Which entry of `data.corpora` in fapo.yaml; may be left out where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corpus: Option<String>,
    /// Query template, such as `{{ question }}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Several query templates; their rankings are joined by reciprocal rank fusion. A query that renders to several
    /// lines counts as one query per line. The step fails with `too_many_queries` beyond 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<String>,
    /// How many documents to return, besides those joined in by `include`.
    #[serde(default = "default_k")]
    #[schemars(range(min = 1, max = 1000))]
    pub k: u32,
    /// Earlier retrieval steps whose documents come first in this one's result, without repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<StepId>,
    /// Which fields are searched.
    #[serde(default = "default_fields", skip_serializing_if = "is_default_fields")]
    pub fields: Vec<DocumentField>,
}

impl RetrieveStep {
    /// Most queries of one run of the step: each searches the whole corpus, and a text that a model wrote may have any
    /// number of lines.
    pub const MAX_QUERIES: usize = 100;
}

const fn default_k() -> u32 {
    5
}

fn default_fields() -> Vec<DocumentField> {
    vec![DocumentField::Title, DocumentField::Text]
}

fn is_default_fields(fields: &[DocumentField]) -> bool {
    fields == default_fields().as_slice()
}

/// A searchable field of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentField {
    /// The title.
    Title,
    /// The text.
    Text,
}

/// Makes text from text without a model: renders, then optionally extracts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateStep {
    /// The step's name.
    pub id: StepId,
    /// Steps to wait for beyond those the template mentions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StepId>,
    /// Condition; without it the step always runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The template (minijinja).
    pub template: String,
    /// A regular expression; the output is its first group (or the whole match) in the rendered text, or, without a
    /// match, the rendered text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<String>,
    /// A JSON pointer (RFC 6901) into the rendered text read as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

/// Runs a function of a Python file, in a sandboxed worker without network.
///
/// `def run(inputs: dict)` gets `inputs["input"]` (the case's input), `inputs["case_id"]`, and `inputs["steps"][id]` for
/// each step of `needs`: a dict with `text`, `json` and `docs`, or `None` where that step was skipped. It returns a text,
/// or a dict: that is the step's JSON, its text is what the dict has as `text` (its JSON where that is no text), and
/// `docs` may be a list of documents (`doc_id`, `title`, `text`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PythonStep {
    /// The step's name.
    pub id: StepId,
    /// The steps whose results the code is given: all of them, since code is not searched for names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StepId>,
    /// Condition; without it the step always runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The file, relative to `pipeline/`: `steps/<name>.py`. It may import the other files of `steps/`.
    pub file: String,
    /// The function.
    #[serde(
        default = "default_function",
        skip_serializing_if = "is_default_function"
    )]
    pub function: String,
    /// Longest time of one call, in seconds; the step fails after it.
    #[serde(default = "default_timeout_s")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_s: u32,
    /// Memory of a worker, in megabytes of address space; the step fails beyond it.
    #[serde(default = "default_memory_mb")]
    #[schemars(range(min = 64, max = 16_384))]
    pub memory_mb: u32,
}

impl PythonStep {
    /// The folder, in a variant, of all code that its steps run and import.
    pub const FOLDER: &'static str = "steps/";
}

fn default_function() -> String {
    "run".to_owned()
}

fn is_default_function(function: &String) -> bool {
    function == "run"
}

const fn default_timeout_s() -> u32 {
    10
}

const fn default_memory_mb() -> u32 {
    512
}

/// Runs a sub-list of steps `n` times with different sample indices and combines the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleStep {
    /// The step's name.
    pub id: StepId,
    /// Steps to wait for beyond those the sub-steps mention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StepId>,
    /// Condition; without it the step always runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// How many samples.
    #[schemars(range(min = 1, max = 64))]
    pub n: u32,
    /// The steps of one sample; they see earlier steps and one another, and nobody outside sees them.
    pub steps: Vec<StepSpec>,
    /// The sub-step whose text is the sample; the last one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<StepId>,
    /// How the samples become one output.
    pub combine: Combine,
}

/// How samples become one output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Combine {
    /// The most frequent text after trimming and case folding; the earliest sample wins a tie (self-consistency, Wang
    /// et al. 2022).
    Vote(VoteCombine),
    /// The sample to which a check step gives the highest number; the earliest wins a tie (best-of-n).
    BestBy(BestByCombine),
    /// A step that sees all samples as `samples` (a list of texts) and writes the output.
    Merge(MergeCombine),
}

/// Options of `vote`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VoteCombine {
    /// A regular expression; votes are counted on its first group (or whole match) where it matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<String>,
}

/// Options of `best_by`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BestByCombine {
    /// An `llm`, `template` or `python` step that sees the sample's text as `candidate`; the first number in its output counts.
    pub check: Box<StepSpec>,
}

/// Options of `merge`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeCombine {
    /// An `llm`, `template` or `python` step that sees `samples`.
    pub step: Box<StepSpec>,
}
