//! OpenAI-compatible chat completions: OpenAI, vLLM, llama.cpp, Ollama, and most gateways.

use fapo_domain::model::trace::FinishReason;
use fapo_domain::money::Usage;
use fapo_domain::ports::models::{Message, ModelRequest};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{BadReply, Reply, size_hint};

/// Stop texts that the protocol takes.
const MOST_STOPS: usize = 4;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: &'a [Message],
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: NamedSchema<'a> },
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'static str,
    schema: &'a Value,
    /// Strict mode takes only a part of JSON Schema and refuses the rest; the schema is checked by us anyway.
    strict: bool,
}

/// Whether a model thinks before it answers: such models take neither sampling parameters nor stop texts, and count their
/// thoughts towards `max_completion_tokens`.
fn is_reasoning(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    ["o1", "o3", "o4", "gpt-5"].iter().any(|family| {
        name.strip_prefix(family)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
    }) && !name.starts_with("gpt-5-chat")
}

pub(super) fn encode(request: &ModelRequest) -> Vec<u8> {
    let reasoning = is_reasoning(&request.spec.model);
    let body = Body {
        model: &request.spec.model,
        messages: &request.messages,
        max_tokens: (!reasoning).then_some(request.max_tokens),
        max_completion_tokens: reasoning.then_some(request.max_tokens),
        temperature: request.temperature.filter(|_| !reasoning),
        top_p: request.top_p.filter(|_| !reasoning),
        stop: sent_stops(request, reasoning),
        seed: request.seed,
        response_format: response_format(request),
    };
    let mut out = Vec::with_capacity(size_hint(request));
    serde_json::to_writer(&mut out, &body).expect("texts, numbers and JSON values serialize");
    out
}

fn sent_stops(request: &ModelRequest, reasoning: bool) -> &[String] {
    if reasoning {
        &[]
    } else {
        &request.stop[..request.stop.len().min(MOST_STOPS)]
    }
}

/// Stop texts that are applied on our side.
pub(super) fn unsent_stops(request: &ModelRequest) -> impl Iterator<Item = &str> {
    let sent = sent_stops(request, is_reasoning(&request.spec.model)).len();
    request.stop[sent..].iter().map(String::as_str)
}

fn response_format(request: &ModelRequest) -> Option<ResponseFormat<'_>> {
    match request.schema.as_ref()? {
        // OpenAI refuses `json_object` where no message says "JSON".
        Value::Bool(_) => mentions_json(&request.messages).then_some(ResponseFormat::JsonObject),
        schema => Some(ResponseFormat::JsonSchema {
            json_schema: NamedSchema {
                name: "reply",
                schema,
                strict: false,
            },
        }),
    }
}

fn mentions_json(messages: &[Message]) -> bool {
    messages.iter().any(|message| {
        message
            .content
            .as_bytes()
            .windows(4)
            .any(|window| window.eq_ignore_ascii_case(b"json"))
    })
}

#[derive(Deserialize)]
struct WireReply<'a> {
    #[serde(default)]
    model: Option<String>,
    #[serde(default, borrow)]
    choices: Vec<Choice<'a>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: WireMessage<'a>,
    #[serde(default)]
    finish_reason: Option<Finish>,
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    /// A text, null, or a list of parts.
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Finish {
    #[serde(
        alias = "eos",
        alias = "eos_token",
        alias = "stop_sequence",
        alias = "end_turn"
    )]
    Stop,
    #[serde(alias = "max_tokens")]
    Length,
    ContentFilter,
    #[serde(alias = "function_call")]
    ToolCalls,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

pub(super) fn decode(body: &[u8]) -> Result<Reply, BadReply> {
    let malformed = |what: String| BadReply::Malformed(what);
    let wire: WireReply<'_> = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("not a chat completion: {error}")))?;
    if let Some(error) = wire.error.filter(|error| error.get() != "null") {
        return Err(disguised_error(error));
    }
    let Some(choice) = wire.choices.into_iter().next() else {
        return Err(malformed("the reply has no choices".to_owned()));
    };
    let message = choice.message;
    let mut text = match message.content {
        Some(content) => read_content(content).map_err(|error| malformed(error.to_string()))?,
        None => String::new(),
    };
    let refusal = message.refusal.filter(|refusal| !refusal.is_empty());
    let asked_for_tool = message.tool_calls.is_some_and(|calls| !calls.is_empty());
    let finish = match choice.finish_reason {
        _ if refusal.is_some() => FinishReason::Refusal,
        Some(Finish::ContentFilter) => FinishReason::Refusal,
        Some(Finish::Length) => FinishReason::Length,
        Some(Finish::ToolCalls) => FinishReason::ToolCall,
        _ if asked_for_tool && text.is_empty() => FinishReason::ToolCall,
        Some(Finish::Stop) => FinishReason::Stop,
        Some(Finish::Other) | None => FinishReason::Other,
    };
    if let Some(refusal) = refusal
        && text.is_empty()
    {
        text = refusal;
    }
    Ok(Reply {
        text,
        finish,
        usage: wire.usage.and_then(read_usage),
        served_by: wire.model,
    })
}

fn read_content(raw: &RawValue) -> Result<String, serde_json::Error> {
    let text = raw.get();
    if text.starts_with('[') {
        let parts: Vec<Part> = serde_json::from_str(text)?;
        return Ok(parts.into_iter().filter_map(|part| part.text).collect());
    }
    Ok(serde_json::from_str::<Option<String>>(text)?.unwrap_or_default())
}

fn read_usage(wire: WireUsage) -> Option<Usage> {
    Some(Usage {
        input_tokens: wire.prompt_tokens?,
        output_tokens: wire.completion_tokens.unwrap_or(0),
        cached_input_tokens: wire
            .prompt_tokens_details
            .and_then(|details| details.cached_tokens)
            .unwrap_or(0),
        reasoning_tokens: wire
            .completion_tokens_details
            .and_then(|details| details.reasoning_tokens)
            .unwrap_or(0),
    })
}

/// Gateways answer 200 with an error inside when the provider behind them fails.
fn disguised_error(raw: &RawValue) -> BadReply {
    let complaint = super::complaint(format!("{{\"error\":{}}}", raw.get()).as_bytes());
    let status = complaint
        .kinds
        .iter()
        .find_map(|kind| kind.parse().ok())
        .filter(|status| (400..=599).contains(status))
        .unwrap_or(502);
    BadReply::Error {
        status,
        message: complaint.message,
    }
}

#[cfg(test)]
mod tests;
