//! What traces and metrics say about model calls.
//!
//! Each try of a call is a span `chat {model}` with the attributes of OpenTelemetry's conventions for generative AI. A span that nobody exports is never made: then all of
//! this costs a few comparisons a call. Prompts and replies are on the span only where an operator switched content on.

use std::time::Duration;

use fapo_domain::measure;
use fapo_domain::model::project::Provider;
use fapo_domain::model::trace::FinishReason;
use fapo_domain::money::{Spend, SpendRole, Usage};
use fapo_domain::ports::models::{Message, ModelRequest};
use fapo_domain::telemetry as names;
use serde_json::json;
use tracing::Span;
use tracing::field::Empty;

use crate::retry::Failure;
use crate::wire::Reply;

/// Whom a call goes to, as labels and attributes name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Called<'a> {
    pub(crate) provider: Provider,
    pub(crate) model: &'a str,
    /// The entry of `models:`.
    pub(crate) entry: &'a str,
    pub(crate) host: &'a str,
}

impl<'a> Called<'a> {
    pub(crate) fn new(request: &'a ModelRequest, host: &'a str) -> Self {
        Self {
            provider: request.spec.provider,
            model: &request.spec.model,
            entry: &request.entry,
            host,
        }
    }

    /// The span of one try. Everything that becomes known later has its place already.
    pub(crate) fn span(&self, attempt: u32) -> Span {
        tracing::info_span!(
            target: names::SPANS,
            names::CHAT,
            otel.name = %format_args!("chat {}", self.model),
            otel.kind = "client",
            otel.status_code = Empty,
            { names::GEN_AI_OPERATION } = names::CHAT,
            { names::GEN_AI_PROVIDER } = self.provider.as_str(),
            { names::GEN_AI_REQUEST_MODEL } = self.model,
            { names::GEN_AI_REQUEST_MAX_TOKENS } = Empty,
            { names::GEN_AI_REQUEST_TEMPERATURE } = Empty,
            { names::GEN_AI_RESPONSE_MODEL } = Empty,
            { names::GEN_AI_FINISH_REASONS } = Empty,
            { names::GEN_AI_INPUT_TOKENS } = Empty,
            { names::GEN_AI_OUTPUT_TOKENS } = Empty,
            { names::GEN_AI_CACHE_READ_TOKENS } = Empty,
            { names::GEN_AI_INPUT_MESSAGES } = Empty,
            { names::GEN_AI_OUTPUT_MESSAGES } = Empty,
            { names::INPUT_VALUE } = Empty,
            { names::OUTPUT_VALUE } = Empty,
            { names::ERROR_TYPE } = Empty,
            { names::SERVER_ADDRESS } = self.host,
            { names::ATTEMPT } = i64::from(attempt),
            { names::MODEL_ENTRY } = self.entry,
            { names::COST_USD } = Empty,
            { names::OPENINFERENCE_KIND } = names::KIND_LLM,
            { names::LLM_COST } = Empty,
        )
    }

    /// Notes what is asked.
    pub(crate) fn asked(&self, span: &Span, request: &ModelRequest) {
        if span.is_disabled() {
            return;
        }
        span.record(
            names::GEN_AI_REQUEST_MAX_TOKENS,
            i64::from(request.max_tokens),
        );
        if let Some(temperature) = request.temperature {
            span.record(names::GEN_AI_REQUEST_TEMPERATURE, temperature);
        }
        if names::content_is_on() {
            let messages = request.messages.iter().map(message);
            let messages = serde_json::Value::from_iter(messages).to_string();
            span.record(names::GEN_AI_INPUT_MESSAGES, messages.as_str());
            span.record(names::INPUT_VALUE, messages.as_str());
        }
    }

    /// Notes a reply, and what it cost.
    pub(crate) fn replied(&self, span: &Span, reply: &Reply, spend: &Spend, took: Duration) {
        self.counted("ok");
        let (provider, model) = (self.provider.as_str(), self.model);
        measure!(
            histogram.fapo_model_call_seconds = took.as_secs_f64(),
            provider,
            model
        );
        self.used(&spend.usage);
        if span.is_disabled() {
            return;
        }
        if let Some(served_by) = &reply.served_by {
            span.record(names::GEN_AI_RESPONSE_MODEL, served_by.as_str());
        }
        let reason = finish_reason(reply.finish);
        span.record(names::GEN_AI_FINISH_REASONS, reason);
        spent(span, spend);
        if names::content_is_on() {
            let messages = json!([{
                "role": "assistant",
                "parts": [{ "type": "text", "content": reply.text }],
                "finish_reason": reason,
            }]);
            span.record(names::GEN_AI_OUTPUT_MESSAGES, messages.to_string().as_str());
            span.record(names::OUTPUT_VALUE, reply.text.as_str());
        }
    }

    /// Notes how a try failed.
    pub(crate) fn failed(&self, span: &Span, failure: &Failure) {
        self.broke(span, failure.word());
    }

    /// Notes that a try failed, and its kind in a word.
    pub(crate) fn broke(&self, span: &Span, kind: &'static str) {
        self.counted(kind);
        span.record(names::ERROR_TYPE, kind);
        span.record("otel.status_code", "ERROR");
    }

    /// Counts a try.
    pub(crate) fn counted(&self, outcome: &'static str) {
        measure!(
            monotonic_counter.fapo_model_calls_total = 1_u64,
            provider = self.provider.as_str(),
            model = self.model,
            outcome
        );
    }

    /// Counts a try that is not a call's first.
    pub(crate) fn again(&self) {
        measure!(
            monotonic_counter.fapo_model_retries_total = 1_u64,
            provider = self.provider.as_str(),
            model = self.model
        );
    }

    /// Counts tokens.
    pub(crate) fn used(&self, usage: &Usage) {
        let (provider, model) = (self.provider.as_str(), self.model);
        for (direction, tokens) in [
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cached_input", usage.cached_input_tokens),
        ] {
            if tokens > 0 {
                measure!(
                    monotonic_counter.fapo_model_tokens_total = tokens,
                    provider,
                    model,
                    direction
                );
            }
        }
    }

    /// Notes how long a call waited for its first try. Most do not wait, and say nothing.
    pub(crate) fn waited(&self, wait: Duration) {
        if wait >= Duration::from_millis(1) {
            measure!(
                histogram.fapo_model_wait_seconds = wait.as_secs_f64(),
                provider = self.provider.as_str(),
                model = self.model
            );
        }
    }
}

/// Tokens and dollars on a span.
pub(crate) fn spent(span: &Span, spend: &Spend) {
    let usage = &spend.usage;
    let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    span.record(names::GEN_AI_INPUT_TOKENS, tokens(usage.input_tokens));
    span.record(names::GEN_AI_OUTPUT_TOKENS, tokens(usage.output_tokens));
    if usage.cached_input_tokens > 0 {
        span.record(
            names::GEN_AI_CACHE_READ_TOKENS,
            tokens(usage.cached_input_tokens),
        );
    }
    span.record(names::COST_USD, spend.cost.usd());
    span.record(names::LLM_COST, spend.cost.usd());
}

/// Counts money that was booked.
pub(crate) fn booked(role: SpendRole, model: &str, spend: &Spend) {
    if spend.cost.0 > 0 {
        measure!(
            monotonic_counter.fapo_model_cost_usd_total = spend.cost.usd(),
            role = role.as_str(),
            model
        );
    }
}

/// Counts a metered call by whether the step cache answered.
pub(crate) fn looked_up(hit: bool) {
    let result = if hit { "hit" } else { "miss" };
    measure!(monotonic_counter.fapo_step_cache_total = 1_u64, result);
}

/// Counts a call that a budget had no room for.
pub(crate) fn no_room(role: SpendRole) {
    measure!(
        monotonic_counter.fapo_budget_refusals_total = 1_u64,
        role = role.as_str()
    );
}

/// A message in the conventions' JSON form.
fn message(message: &Message) -> serde_json::Value {
    json!({
        "role": message.role.as_str(),
        "parts": [{ "type": "text", "content": message.content }],
    })
}

/// The conventions' word.
const fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Refusal => "content_filter",
        FinishReason::ToolCall => "tool_call",
        FinishReason::Other => "error",
    }
}
