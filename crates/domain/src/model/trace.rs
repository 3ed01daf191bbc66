//! What happened when a pipeline ran over a case: a run and its steps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::ids::{CaseId, EvaluationId, StepFingerprint, StepId, StepKey};
use crate::model::case::Document;
use crate::money::Spend;

/// How the execution of a case ended. Whether an answer is *right* is the scorer's matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// An output is there to be scored.
    Completed,
    /// The candidate's own fault: a cap hit, an output that cannot be read, a render error. Scored 0.
    Failed,
    /// Infrastructure: the provider was down, the budget ran out, the run was cancelled. Never a zero; run again.
    Missing,
    /// The model declined to answer.
    Refused,
    /// The case's own time limit passed.
    TimedOut,
}

/// How one step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It has a value.
    Ok,
    /// Its `when` was false.
    Skipped,
    /// It failed; see the error.
    Failed,
}

/// A step's value, as later steps and scorers see it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepOutput {
    /// `steps.<id>.text`.
    pub text: String,
    /// `steps.<id>.json`, where the step gives JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// `steps.<id>.docs`, where the step retrieves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<Vec<RetrievedDocument>>,
    /// Documents ranked just below the last one returned, as `(doc_id, title)`: seen by diagnosis, never by the
    /// pipeline. They tell whether asking for more documents would have found the missing one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beyond: Vec<(String, String)>,
}

/// A document and how well it matched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetrievedDocument {
    /// The document.
    #[serde(flatten)]
    pub document: Document,
    /// Its score under the retriever; comparable only within one result.
    pub score: f32,
}

/// Why the model stopped writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was done, or met a stop text.
    Stop,
    /// It met the token limit: the reply is cut off.
    Length,
    /// It declined, or a filter withheld the reply.
    Refusal,
    /// It asked for a tool.
    ToolCall,
    /// Anything else.
    Other,
}

/// One step of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step; sub-steps of a sample are `outer[2].inner`.
    pub step: StepId,
    /// Position in order of start, from 0.
    pub position: u32,
    /// The step's kind, such as `llm`.
    pub kind: String,
    /// How it ended.
    pub status: StepStatus,
    /// Its cache key, where it has one.
    pub key: Option<StepKey>,
    /// Whether its value came from the step cache.
    pub cache_hit: bool,
    /// What went in: the exact messages of an `llm` step, the queries of a `retrieve` step.
    pub input: Option<Value>,
    /// What came out.
    pub output: Option<StepOutput>,
    /// Why the model stopped, for `llm` steps.
    pub finish: Option<FinishReason>,
    /// What failed, as a short class such as `invalid_json`, `cap_tokens`, `provider_unavailable`.
    pub error_kind: Option<String>,
    /// What failed, in words.
    pub error: Option<String>,
    /// Model calls that reached a provider for it (0 on a cache hit), their tokens and cost.
    pub spend: Spend,
    /// What it would have cost without a cache: `spend` where it was executed, [`CachedStep::spend`] on a cache hit.
    /// The basis of cost ratios, so that a candidate is not cheap merely because its parent filled the cache.
    #[serde(default)]
    pub full_spend: Spend,
    /// Tries, including the first; 0 on a cache hit.
    pub attempts: u32,
    /// Milliseconds after the run's start at which it started.
    pub started_ms: u32,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// How long it would have taken without a cache, and without waiting for anybody: for a model call how long the reply
    /// took ([`CachedStep::duration_ms`] on a cache hit), and 0 where none came; for a `sample` step the longest way through
    /// its samples and what combines them; else `duration_ms`.
    pub full_duration_ms: u32,
}

/// One case run under one evaluation, with its steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The evaluation it belongs to.
    pub evaluation: EvaluationId,
    /// The case's ordinal in its split, from 0; with `evaluation` this identifies the run.
    pub ordinal: u64,
    /// The case's name.
    pub case_id: CaseId,
    /// How it ended.
    pub status: RunStatus,
    /// Why it did not complete: a short class, as in [`StepRecord::error_kind`].
    pub reason: Option<String>,
    /// What is scored, as text; `None` unless completed.
    pub output_text: Option<String>,
    /// What is scored, as JSON, where the pipeline's output is JSON.
    pub output_json: Option<Value>,
    /// Sum over its steps.
    pub spend: Spend,
    /// What it would have cost without a cache: the sum over its steps' [`StepRecord::full_spend`].
    #[serde(default)]
    pub full_spend: Spend,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// How long it would have taken without a cache, and without waiting for anybody: the longest way through its steps by
    /// their [`StepRecord::full_duration_ms`], and at least the time limit where that passed. The basis of limits on latency,
    /// so that a candidate is neither fast because its parent filled the cache nor slow because a provider was overloaded.
    pub full_duration_ms: u32,
    /// Its steps by order of start.
    pub steps: Vec<StepRecord>,
}

impl RunRecord {
    /// The record of a top-level step.
    pub fn step(&self, id: &str) -> Option<&StepRecord> {
        self.steps.iter().find(|record| record.step.as_str() == id)
    }

    /// The outputs of all steps that have one.
    pub fn outputs(&self) -> BTreeMap<&str, &StepOutput> {
        self.steps
            .iter()
            .filter_map(|record| Some((record.step.as_str(), record.output.as_ref()?)))
            .collect()
    }
}

/// A step's result as the cache keeps it: for an `llm` step the provider's reply as it was, so that what is made of it
/// (parsed JSON, a failure because it cannot be parsed) is worked out again on a hit, by the same code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CachedStep {
    /// The value.
    pub output: StepOutput,
    /// Why the model stopped, for `llm` steps.
    pub finish: Option<FinishReason>,
    /// What the original execution cost; a hit spends nothing.
    pub spend: Spend,
    /// How long the original execution took, in milliseconds: for a model call the try that succeeded, without retries
    /// and waits.
    pub duration_ms: u32,
}

/// One entry to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheEntry {
    /// The full key.
    pub key: StepKey,
    /// The part of the key that is the same for all cases, for [`crate::ports::cache::StepCache::has_any`].
    pub fingerprint: StepFingerprint,
    /// The result.
    pub step: CachedStep,
}
