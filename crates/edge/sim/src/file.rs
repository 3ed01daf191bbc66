//! The world file as it is written: plain data, validated by [`crate::World`]. The README describes every key with an
//! example.

use serde::Deserialize;
use serde_json::Value;

/// The whole of `sim.json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldFile {
    /// What the world is for; for people.
    pub description: Option<String>,
    /// The model's name in replies; the name asked for where absent.
    pub model: Option<String>,
    /// Mixed into every choice by hash.
    pub seed: u64,
    /// Milliseconds before every answer.
    pub latency_ms: u64,
    /// Bench mode: answer every request with this text, without reading it.
    pub echo: Option<String>,
    /// Refuse requests that do not carry this key (status 401).
    pub api_key: Option<String>,
    /// What the model can know.
    pub facts: Vec<FactFile>,
    /// What it can classify.
    pub labels: Option<LabelsFile>,
    /// How an answer is worded unless a directive changes it.
    pub style: StyleFile,
    /// Instructions that change its behaviour.
    pub directives: Vec<DirectiveFile>,
    /// How requests for search queries are recognized and answered.
    pub queries: Option<QueriesFile>,
    /// How requests for summaries are recognized and answered.
    pub summaries: Option<SummariesFile>,
    /// Fixed replies.
    pub scripted: Vec<ScriptedFile>,
    /// The answer when nothing is recognized.
    pub default_answer: Option<String>,
    /// Wrong answers at a temperature above zero.
    pub noise: Option<NoiseFile>,
    /// Faults, first match wins.
    pub faults: Vec<FaultFile>,
}

/// A fact.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactFile {
    /// The question; a prompt asks it when it holds these words in this order.
    pub question: String,
    /// Texts that must all stand in the prompt for the answer to be known.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Flags that directives must have raised for the answer to be known.
    #[serde(default)]
    pub requires: Vec<String>,
    /// The answer.
    pub answer: String,
    /// Search queries: the n-th finds evidence number n+1 of `needs`.
    #[serde(default)]
    pub bridge: OneOrMany,
    /// The answer without the evidence.
    #[serde(default = "unknown")]
    pub distractor: String,
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// A text, or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// A classification.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelsFile {
    /// A regular expression whose first group is the text to classify; its last match in the prompt counts.
    pub subject: String,
    /// The classes.
    pub classes: Vec<LabelClassFile>,
    /// The answer when no cue word is there; `unknown` where absent.
    #[serde(default)]
    pub otherwise: Option<String>,
}

/// A class.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelClassFile {
    /// The exact label.
    pub name: String,
    /// Words or phrases that point to it.
    pub cues: Vec<String>,
    /// What is said instead of the label while the prompt does not list all labels.
    #[serde(default)]
    pub fuzzy: Option<String>,
    /// The label that is mistaken for it until `unless` matches.
    #[serde(default)]
    pub confused_with: Option<String>,
    /// A regular expression: a prompt in which it matches (a definition, say) ends the confusion.
    #[serde(default)]
    pub unless: Option<String>,
}

/// The wording of answers: a template, or a template with more around it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum StyleFile {
    /// A template that holds `{answer}`.
    Template(String),
    /// All options.
    Form(FormFile),
}

impl Default for StyleFile {
    fn default() -> Self {
        Self::Template("{answer}".to_owned())
    }
}

/// What can be said about the wording of an answer; absent options leave it as it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FormFile {
    /// A template that holds `{answer}`.
    pub style: Option<String>,
    /// Letters of the answer.
    pub case: Option<Case>,
    /// So many words of reasoning before the answer.
    pub reasoning: Option<u32>,
    /// The answer as a JSON object with this one key.
    pub json: Option<String>,
    /// Raises a flag that facts can require.
    pub flag: Option<String>,
}

/// Letters of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// As it is.
    Keep,
    /// Upper case.
    Upper,
    /// Lower case.
    Lower,
}

/// An instruction and what it does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectiveFile {
    /// A regular expression on the prompt.
    pub when: String,
    /// What changes; later directives win over earlier ones.
    pub then: FormFile,
}

/// Requests for a search query.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueriesFile {
    /// A regular expression that recognizes them.
    pub when: String,
}

/// Requests for a summary.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SummariesFile {
    /// A regular expression that recognizes them.
    pub when: String,
    /// What is said when the prompt holds no evidence for its question.
    #[serde(default)]
    pub otherwise: Option<String>,
}

/// A fixed reply.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedFile {
    /// A regular expression on the prompt.
    pub when: String,
    /// The reply: a text, or any other JSON value, which is sent as JSON text.
    pub reply: Value,
    /// Only for the first request that matches (and exact repetitions of it).
    #[serde(default)]
    pub once: bool,
}

/// Sampling noise.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseFile {
    /// The share of requests that are answered wrongly while the temperature is above zero.
    pub rate: f64,
    /// The temperature of a request that names none.
    #[serde(default = "one")]
    pub default_temperature: f64,
}

const fn one() -> f64 {
    1.0
}

/// A fault and when it is played. Exactly one of `every`, `at`, `first`, `share`, `when` is given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultFile {
    /// Every n-th request of the server.
    #[serde(default)]
    pub every: Option<u64>,
    /// These requests of the server, counted from 1.
    #[serde(default)]
    pub at: Option<Vec<u64>>,
    /// The first n requests of the server.
    #[serde(default)]
    pub first: Option<u64>,
    /// This share of distinct requests, chosen by hash.
    #[serde(default)]
    pub share: Option<f64>,
    /// Requests whose prompt this regular expression matches.
    #[serde(default)]
    pub when: Option<String>,
    /// For `share` and `when`: only the first so many tries of the same request; 0 is always. 1 for `share`, 0 for
    /// `when` where absent.
    #[serde(default)]
    pub tries: Option<u64>,
    /// What happens.
    pub fault: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// An HTTP error, such as 429, 500 or 529.
    Status {
        /// The status.
        status: u16,
        /// The `Retry-After` header, in seconds.
        #[serde(default)]
        retry_after_s: Option<u64>,
        /// The message in the body.
        #[serde(default)]
        message: Option<String>,
    },
    /// A good answer, late.
    Slow {
        /// How late.
        ms: u64,
    },
    /// The connection closes in the middle of the body.
    CutBody,
    /// The model declines.
    Refusal,
    /// A body that is not JSON, with status 200.
    Malformed,
    /// A reply without choices (or content), with status 200.
    EmptyChoices,
    /// The connection closes without an answer.
    Disconnect,
}
