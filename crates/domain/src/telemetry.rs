//! The names under which work shows up in traces and metrics.
//!
//! Whoever does the work emits `tracing` spans and events; only the telemetry adapter knows where they go. These constants
//! are what both sides agree on, so that no field is spelled in two ways. In macros they stand in braces:
//!
//! ```
//! use fapo_domain::telemetry as names;
//! let span = tracing::info_span!("chat", { names::GEN_AI_OPERATION } = names::CHAT);
//! span.record(names::ERROR_TYPE, "timeout");
//! ```
//!
//! Integers on spans are `i64`: exporters keep no unsigned ones and write them as texts.
//!
//! Names that begin with `gen_ai.` follow OpenTelemetry's conventions for generative AI, which are still in development.
//! A few are OpenInference's, for what those conventions do not have: Arize Phoenix reads both.
//! `docs/telemetry.md` lists all spans, attributes and metrics.

/// The target of events that are measurements: fields `monotonic_counter.NAME`, `histogram.NAME`, `gauge.NAME`, and labels
/// as further fields. They reach metrics only, never a log or a span. [`measure`](crate::measure) emits them.
pub const METRICS: &str = "fapo::metrics";

/// The target of spans that are for traces only: they carry many attributes, which would make log lines unreadable.
pub const SPANS: &str = "fapo::spans";

/// The target that stands for prompts and outputs. It is enabled only where an operator switched content on, whatever the
/// filter of the logs says; ask with [`content_is_on`] before making any text.
pub const CONTENT: &str = "fapo::content";

/// Measures something: emits an event that only metrics read. Costs nothing where nobody keeps metrics.
///
/// A counter and a gauge take `u64` or `f64`, always the same one; a histogram takes `f64`, seconds for durations. Labels are
/// few words, never ids: the table in `fapo-telemetry` names those that a metric may carry, and the others are dropped.
///
/// ```
/// fapo_domain::measure!(monotonic_counter.fapo_cases_total = 1_u64, status = "completed");
/// ```
#[macro_export]
macro_rules! measure {
    ($($field:tt)*) => {
        $crate::telemetry::tracing::event!(
            target: $crate::telemetry::METRICS,
            $crate::telemetry::tracing::Level::INFO,
            $($field)*
        )
    };
}

/// For [`measure`](crate::measure), so that its callers need not depend on it.
#[doc(hidden)]
pub use tracing;

/// Whether prompts and outputs may be recorded on spans.
pub fn content_is_on() -> bool {
    tracing::enabled!(target: CONTENT, tracing::Level::INFO)
}

/// What is done: [`CHAT`], [`INVOKE_AGENT`].
pub const GEN_AI_OPERATION: &str = "gen_ai.operation.name";
/// Who is asked: `openai`, `anthropic`, or `sim` for the simulated model.
pub const GEN_AI_PROVIDER: &str = "gen_ai.provider.name";
/// The model that was asked for.
pub const GEN_AI_REQUEST_MODEL: &str = "gen_ai.request.model";
/// The most tokens the reply may have.
pub const GEN_AI_REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
/// The sampling temperature.
pub const GEN_AI_REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
/// The model that answered, as the provider names it.
pub const GEN_AI_RESPONSE_MODEL: &str = "gen_ai.response.model";
/// Why the model stopped. A list of one by the conventions: the telemetry adapter makes it one, `tracing` has none.
pub const GEN_AI_FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
/// Tokens read, those from the provider's cache included.
pub const GEN_AI_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Tokens written.
pub const GEN_AI_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Tokens read from the provider's cache.
pub const GEN_AI_CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
/// The messages that were sent, as JSON in the conventions' form. Content: see [`content_is_on`].
pub const GEN_AI_INPUT_MESSAGES: &str = "gen_ai.input.messages";
/// The messages that came back, as JSON in the conventions' form. Content: see [`content_is_on`].
pub const GEN_AI_OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
/// The program that is the agent.
pub const GEN_AI_AGENT_NAME: &str = "gen_ai.agent.name";
/// One conversation: the session of an agent.
pub const GEN_AI_CONVERSATION_ID: &str = "gen_ai.conversation.id";
/// What went wrong, as one of few words; absent where nothing did.
pub const ERROR_TYPE: &str = "error.type";
/// Where the request went: host, and port where it is not the usual one.
pub const SERVER_ADDRESS: &str = "server.address";

/// A value of [`GEN_AI_OPERATION`]: one call of a model.
pub const CHAT: &str = "chat";
/// A value of [`GEN_AI_OPERATION`]: one prompt given to a coding agent.
pub const INVOKE_AGENT: &str = "invoke_agent";

/// OpenInference's kind of a span: [`KIND_LLM`], [`KIND_CHAIN`], [`KIND_AGENT`], [`KIND_EVALUATOR`].
pub const OPENINFERENCE_KIND: &str = "openinference.span.kind";
/// A call of a model.
pub const KIND_LLM: &str = "LLM";
/// Work made of other work.
pub const KIND_CHAIN: &str = "CHAIN";
/// A coding agent at work.
pub const KIND_AGENT: &str = "AGENT";
/// A judgement on outputs.
pub const KIND_EVALUATOR: &str = "EVALUATOR";
/// What went in, for OpenInference. Content: see [`content_is_on`].
pub const INPUT_VALUE: &str = "input.value";
/// What came out, for OpenInference. Content: see [`content_is_on`].
pub const OUTPUT_VALUE: &str = "output.value";
/// Dollars, for OpenInference; the other conventions have no name for it.
pub const LLM_COST: &str = "llm.cost.total";

/// Dollars that the work cost, by fapo's price table.
pub const COST_USD: &str = "fapo.cost_usd";
/// The job that the work is for.
pub const JOB_ID: &str = "job.id";
/// The evaluation that a block belongs to.
pub const EVALUATION_ID: &str = "evaluation.id";
/// The entry of `models:` in the project.
pub const MODEL_ENTRY: &str = "fapo.model.entry";
/// Who spends: task, judge, diagnosis, proposer, reviewer.
pub const SPEND_ROLE: &str = "fapo.spend.role";
/// Which try of a call it is, from 1.
pub const ATTEMPT: &str = "fapo.attempt";
/// Whether the reply came from the step cache.
pub const CACHE_HIT: &str = "fapo.cache_hit";
/// How the work ended, as one of few words.
pub const STATUS: &str = "fapo.status";
