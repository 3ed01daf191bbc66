//! Anthropic Messages.
//!
//! Structured output is a tool whose input is the reply: forced where the model allows that, else asked for. Models from
//! Claude 4.7 on take no sampling parameters, and those from 5.5 on (and Fable and Mythos) no forced tool; sending either is an
//! error there, so neither is sent.

use std::borrow::Cow;

use fapo_domain::model::trace::FinishReason;
use fapo_domain::money::Usage;
use fapo_domain::ports::models::{ChatRole, ModelRequest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{BadReply, Reply, size_hint};

const TOOL: &str = "reply";
/// Holds the reply where the schema is not that of an object, which a tool's input must be.
const WRAPPED: &str = "value";

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    system: Cow<'a, str>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Tool<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: Cow<'a, str>,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'static str,
    description: &'static str,
    input_schema: Cow<'a, Value>,
}

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Abilities {
    sampling: bool,
    forced_tool: bool,
}

impl Abilities {
    const ALL: Self = Self {
        sampling: true,
        forced_tool: true,
    };

    /// By name: `claude-<family>-<major>[-<minor>][-<date>]`, or the old `claude-<major>[-<minor>]-<family>`. Other names
    /// are other makers' models behind the same protocol, which take everything.
    fn of(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model);
        let Some(rest) = name.strip_prefix("claude-") else {
            return Self::ALL;
        };
        let mut numbers = rest
            .split(['-', '.'])
            .filter(|part| part.len() <= 2)
            .filter_map(|part| part.parse::<u32>().ok());
        // An alias without a version is the newest model.
        let version = match numbers.next() {
            Some(major) => (major, numbers.next().unwrap_or(0)),
            None => (u32::MAX, 0),
        };
        let always_thinks = rest.contains("fable") || rest.contains("mythos");
        Self {
            sampling: version < (4, 7) && !always_thinks,
            forced_tool: version < (5, 5) && !always_thinks,
        }
    }
}

pub(super) fn encode(request: &ModelRequest) -> Vec<u8> {
    let abilities = Abilities::of(&request.spec.model);
    let (mut system, messages) = turns(request);
    let tool = request.schema.as_ref().map(|schema| Tool {
        name: TOOL,
        description: "Gives the reply. Call it exactly once.",
        input_schema: input_schema(schema),
    });
    let tool_choice = tool.as_ref().map(|_| {
        if abilities.forced_tool {
            json!({"type": "tool", "name": TOOL})
        } else {
            json!({"type": "auto"})
        }
    });
    if tool.is_some() && !abilities.forced_tool {
        let system = system.to_mut();
        if !system.is_empty() {
            system.push_str("\n\n");
        }
        system.push_str("Give your reply only by calling the tool `reply`, exactly once.");
    }
    let body = Body {
        model: &request.spec.model,
        max_tokens: request.max_tokens,
        system,
        messages,
        temperature: request.temperature.filter(|_| abilities.sampling),
        top_p: request.top_p.filter(|_| abilities.sampling),
        stop_sequences: request
            .stop
            .iter()
            .map(String::as_str)
            .filter(|stop| can_be_sent(stop))
            .collect(),
        tools: tool.map(|tool| [tool]),
        tool_choice,
    };
    let mut out = Vec::with_capacity(size_hint(request));
    serde_json::to_writer(&mut out, &body).expect("texts, numbers and JSON values serialize");
    out
}

/// The protocol refuses stop texts of nothing but white space.
fn can_be_sent(stop: &str) -> bool {
    !stop.trim().is_empty()
}

/// Stop texts that are applied on our side.
pub(super) fn unsent_stops(request: &ModelRequest) -> impl Iterator<Item = &str> {
    request
        .stop
        .iter()
        .map(String::as_str)
        .filter(|stop| !can_be_sent(stop))
}

/// System messages apart, consecutive messages of one role merged: roles must alternate, starting with the user.
fn turns(request: &ModelRequest) -> (Cow<'_, str>, Vec<Turn<'_>>) {
    fn join<'a>(to: &mut Cow<'a, str>, text: &'a str) {
        if to.is_empty() {
            *to = Cow::Borrowed(text);
        } else {
            let to = to.to_mut();
            to.push_str("\n\n");
            to.push_str(text);
        }
    }
    let mut system = Cow::Borrowed("");
    let mut turns: Vec<Turn<'_>> = Vec::with_capacity(request.messages.len());
    for message in &request.messages {
        if message.role == ChatRole::System {
            join(&mut system, &message.content);
            continue;
        }
        let role = message.role.as_str();
        match turns.last_mut() {
            Some(turn) if turn.role == role => join(&mut turn.content, &message.content),
            Some(_) | None => turns.push(Turn {
                role,
                content: Cow::Borrowed(&message.content),
            }),
        }
    }
    let user = ChatRole::User.as_str();
    match turns.first() {
        // A prompt of system messages only is a question all the same.
        None => turns.push(Turn {
            role: user,
            content: std::mem::take(&mut system),
        }),
        Some(turn) if turn.role != user => turns.insert(
            0,
            Turn {
                role: user,
                content: Cow::Borrowed("Continue."),
            },
        ),
        Some(_) => {}
    }
    // A reply that is begun for the model may not end in white space.
    if let Some(turn) = turns.last_mut()
        && turn.role == ChatRole::Assistant.as_str()
        && turn.content.ends_with(char::is_whitespace)
    {
        turn.content = Cow::Owned(turn.content.trim_end().to_owned());
    }
    (system, turns)
}

/// A tool's input must be an object: other schemas are wrapped in one.
fn input_schema(schema: &Value) -> Cow<'_, Value> {
    match schema {
        Value::Bool(_) => Cow::Owned(json!({"type": "object"})),
        schema if !is_wrapped(schema) => Cow::Borrowed(schema),
        schema => {
            let mut outer = Map::new();
            outer.insert("type".into(), "object".into());
            outer.insert("properties".into(), json!({ WRAPPED: schema }));
            outer.insert("required".into(), json!([WRAPPED]));
            // `#/$defs/...` is looked up at the root.
            for key in ["$defs", "definitions"] {
                if let Some(definitions) = schema.get(key) {
                    outer.insert(key.into(), definitions.clone());
                }
            }
            Cow::Owned(Value::Object(outer))
        }
    }
}

fn is_wrapped(schema: &Value) -> bool {
    !schema.is_boolean() && schema.get("type").and_then(Value::as_str) != Some("object")
}

#[derive(Deserialize)]
struct WireReply<'a> {
    #[serde(default)]
    model: Option<String>,
    #[serde(borrow)]
    content: Vec<Block<'a>>,
    #[serde(default)]
    stop_reason: Option<StopReason>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type")]
    kind: BlockKind,
    #[serde(default)]
    text: Option<String>,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum BlockKind {
    Text,
    ToolUse,
    #[serde(other)]
    Other,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
enum StopReason {
    EndTurn,
    StopSequence,
    MaxTokens,
    #[serde(alias = "model_context_window_exceeded")]
    ContextFull,
    ToolUse,
    Refusal,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
}

pub(super) fn decode(request: &ModelRequest, body: &[u8]) -> Result<Reply, BadReply> {
    let wire: WireReply<'_> = serde_json::from_slice(body)
        .map_err(|error| BadReply::Malformed(format!("not a message: {error}")))?;
    let mut text = String::new();
    let mut tool_input = None;
    for block in wire.content {
        match block.kind {
            BlockKind::Text => {
                let part = block.text.unwrap_or_default();
                if text.is_empty() {
                    text = part;
                } else {
                    text.push_str(&part);
                }
            }
            BlockKind::ToolUse => tool_input = tool_input.or(block.input),
            BlockKind::Other => {}
        }
    }
    let given_by_tool = match (&request.schema, tool_input) {
        (Some(schema), Some(input)) => {
            text = unwrap(schema, input);
            true
        }
        (Some(schema), None) => {
            if let Some(bare) = unwrap_text(schema, &text) {
                text = bare;
            }
            false
        }
        (None, _) => false,
    };
    let finish = match wire.stop_reason {
        Some(StopReason::ToolUse) if given_by_tool => FinishReason::Stop,
        Some(StopReason::EndTurn | StopReason::StopSequence) => FinishReason::Stop,
        Some(StopReason::MaxTokens | StopReason::ContextFull) => FinishReason::Length,
        Some(StopReason::ToolUse) => FinishReason::ToolCall,
        Some(StopReason::Refusal) => FinishReason::Refusal,
        Some(StopReason::Other) | None => FinishReason::Other,
    };
    Ok(Reply {
        text,
        finish,
        usage: wire.usage.and_then(read_usage),
        served_by: wire.model,
    })
}

/// The JSON text of the reply in a tool's input.
fn unwrap(schema: &Value, input: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        value: &'a RawValue,
    }
    if is_wrapped(schema)
        && input.get().starts_with('{')
        && let Ok(outer) = serde_json::from_str::<Outer<'_>>(input.get())
    {
        return outer.value.get().to_owned();
    }
    input.get().to_owned()
}

/// The reply in a text that gives the wrapping object instead of calling the tool. `None` where the text is anything else:
/// it is the reply itself then.
fn unwrap_text(schema: &Value, text: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Only<'a> {
        #[serde(borrow)]
        value: &'a RawValue,
    }
    let bare = unfenced(text);
    // a list would be read by the order of the fields
    if !is_wrapped(schema) || !bare.starts_with('{') {
        return None;
    }
    let only: Only<'_> = serde_json::from_str(bare).ok()?;
    Some(only.value.get().to_owned())
}

/// A text without the code fence around it.
fn unfenced(text: &str) -> &str {
    let bare = text.trim();
    bare.strip_prefix("```")
        .and_then(|rest| rest.strip_suffix("```"))
        .and_then(|rest| rest.split_once('\n'))
        .map_or(bare, |(_language, inside)| inside.trim())
}

fn read_usage(wire: WireUsage) -> Option<Usage> {
    let read = wire.cache_read_input_tokens.unwrap_or(0);
    Some(Usage {
        // Unlike OpenAI's, this count leaves out what the cache was asked for.
        input_tokens: wire.input_tokens? + read + wire.cache_creation_input_tokens.unwrap_or(0),
        output_tokens: wire.output_tokens.unwrap_or(0),
        cached_input_tokens: read,
        reasoning_tokens: 0,
    })
}

#[cfg(test)]
mod tests;
