//! Runs and their steps.

use fapo_domain::ids::{CaseId, EvaluationId, StepId};
use fapo_domain::model::trace::{
    FinishReason, RunRecord, RunStatus, StepOutput, StepRecord, StepStatus,
};
use fapo_domain::ports::traces::RunSummary;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Moment, SpendView};

/// A run in a list: no steps, and its output cut short.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunSummaryView {
    /// The case's place in its split, from 0; with the evaluation it names the run.
    pub ordinal: u64,
    /// The case's name.
    pub case_id: CaseId,
    /// How it ended.
    pub status: RunStatus,
    /// Why it did not complete.
    pub reason: Option<String>,
    /// The output's first 200 characters.
    pub output: Option<String>,
    /// Its score, where it was scored.
    pub score: Option<f64>,
    /// The scorer's feedback, where it was scored.
    pub feedback: Option<String>,
    /// The first step that failed.
    pub failed_step: Option<StepId>,
    /// What it spent.
    pub spend: SpendView,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
}

impl From<RunSummary> for RunSummaryView {
    fn from(run: RunSummary) -> Self {
        Self {
            ordinal: run.ordinal,
            case_id: run.case_id,
            status: run.status,
            reason: run.reason,
            output: run.output,
            score: run.score,
            feedback: run.feedback,
            failed_step: run.failed_step,
            spend: run.spend.into(),
            duration_ms: run.duration_ms,
        }
    }
}

/// A run with its steps.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunView {
    /// The evaluation.
    pub evaluation_id: EvaluationId,
    /// The case's place in its split, from 0.
    pub ordinal: u64,
    /// The case's name.
    pub case_id: CaseId,
    /// How it ended.
    pub status: RunStatus,
    /// Why it did not complete.
    pub reason: Option<String>,
    /// What is scored, as text.
    pub output_text: Option<String>,
    /// What is scored, as JSON, where the pipeline's output is JSON.
    pub output_json: Option<Value>,
    /// What it spent.
    pub spend: SpendView,
    /// What it would have cost without a cache.
    pub full_spend: SpendView,
    /// When it started.
    pub started_at: Moment,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// How long it would have taken without a cache and without waiting for anybody.
    pub full_duration_ms: u32,
    /// Its steps by order of start.
    pub steps: Vec<StepView>,
}

/// One step of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StepView {
    /// The step; sub-steps of a sample are `outer[2].inner`.
    pub step: StepId,
    /// Position in order of start, from 0.
    pub position: u32,
    /// Its kind, such as `llm`.
    pub kind: String,
    /// How it ended.
    pub status: StepStatus,
    /// Whether its value came from the step cache.
    pub cache_hit: bool,
    /// What went in.
    pub input: Option<Value>,
    /// What came out.
    pub output: Option<OutputView>,
    /// Why the model stopped.
    pub finish: Option<FinishReason>,
    /// What failed, as a short class.
    pub error_kind: Option<String>,
    /// What failed, in words.
    pub error: Option<String>,
    /// What it spent.
    pub spend: SpendView,
    /// Tries, including the first; 0 on a cache hit.
    pub attempts: u32,
    /// Milliseconds after the run's start at which it started.
    pub started_ms: u32,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
}

/// A step's value.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OutputView {
    /// As text.
    pub text: String,
    /// As JSON, where the step gives JSON.
    pub json: Option<Value>,
    /// Its documents, where the step retrieves: objects with `id`, `title`, `text` and `score`.
    pub docs: Option<Value>,
}

impl From<StepOutput> for OutputView {
    fn from(output: StepOutput) -> Self {
        Self {
            text: output.text,
            json: output.json,
            docs: output.docs.and_then(|docs| serde_json::to_value(docs).ok()),
        }
    }
}

impl From<StepRecord> for StepView {
    fn from(step: StepRecord) -> Self {
        Self {
            step: step.step,
            position: step.position,
            kind: step.kind,
            status: step.status,
            cache_hit: step.cache_hit,
            input: step.input,
            output: step.output.map(Into::into),
            finish: step.finish,
            error_kind: step.error_kind,
            error: step.error,
            spend: step.spend.into(),
            attempts: step.attempts,
            started_ms: step.started_ms,
            duration_ms: step.duration_ms,
        }
    }
}

impl From<RunRecord> for RunView {
    fn from(run: RunRecord) -> Self {
        Self {
            evaluation_id: run.evaluation,
            ordinal: run.ordinal,
            case_id: run.case_id,
            status: run.status,
            reason: run.reason,
            output_text: run.output_text,
            output_json: run.output_json,
            spend: run.spend.into(),
            full_spend: run.full_spend.into(),
            started_at: run.started_at.into(),
            duration_ms: run.duration_ms,
            full_duration_ms: run.full_duration_ms,
            steps: run.steps.into_iter().map(Into::into).collect(),
        }
    }
}
