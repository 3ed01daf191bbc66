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
    stop_reason: Option<Stop>,
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
enum Stop {
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
        (Some(_) | None, _) => false,
    };
    let finish = match wire.stop_reason {
        Some(Stop::ToolUse) if given_by_tool => FinishReason::Stop,
        Some(Stop::EndTurn | Stop::StopSequence) => FinishReason::Stop,
        Some(Stop::MaxTokens | Stop::ContextFull) => FinishReason::Length,
        Some(Stop::ToolUse) => FinishReason::ToolCall,
        Some(Stop::Refusal) => FinishReason::Refusal,
        Some(Stop::Other) | None => FinishReason::Other,
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
        && let Ok(outer) = serde_json::from_str::<Outer<'_>>(input.get())
    {
        return outer.value.get().to_owned();
    }
    input.get().to_owned()
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
mod tests {
    use fapo_domain::ports::models::ChatRole::{Assistant, System, User};

    use super::super::Protocol;
    use super::super::tests::{request, sent};
    use super::*;

    const MODEL: &str = "claude-sonnet-4-5";

    fn body(request: &ModelRequest) -> Value {
        sent(Protocol::Anthropic, request)
    }

    fn read(request: &ModelRequest, value: &Value) -> Result<Reply, BadReply> {
        Protocol::Anthropic.decode(request, value.to_string().as_bytes())
    }

    #[test]
    fn system_messages_are_joined_and_roles_alternate() {
        let messages = [
            (System, "s1"),
            (User, "u1"),
            (User, "u2"),
            (System, "s2"),
            (Assistant, "begin \n"),
        ];
        let mut ask = request("anthropic", MODEL, &messages);
        ask.temperature = Some(0.0);
        ask.stop = vec!["END".into(), "\n".into()];
        assert_eq!(
            body(&ask),
            json!({
                "model": MODEL, "max_tokens": 64, "system": "s1\n\ns2", "temperature": 0.0, "stop_sequences": ["END"],
                "messages": [{"role": "user", "content": "u1\n\nu2"}, {"role": "assistant", "content": "begin"}]
            })
        );
    }

    #[test]
    fn a_prompt_always_begins_with_the_user() {
        let only_system = body(&request("anthropic", MODEL, &[(System, "s")]));
        assert_eq!(
            only_system["messages"],
            json!([{"role": "user", "content": "s"}])
        );
        assert_eq!(only_system.get("system"), None);
        let answer_first = body(&request(
            "anthropic",
            MODEL,
            &[(Assistant, "a"), (User, "u")],
        ));
        assert_eq!(answer_first["messages"][0]["role"], "user");
        assert_eq!(answer_first["messages"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn white_space_stop_texts_are_applied_on_our_side() {
        let mut ask = request("anthropic", MODEL, &[(User, "u")]);
        ask.stop = vec!["\n".into()];
        let reply =
            json!({"content": [{"type": "text", "text": "one\ntwo"}], "stop_reason": "max_tokens"});
        let reply = read(&ask, &reply).unwrap();
        assert_eq!(
            (reply.text.as_str(), reply.finish),
            ("one", FinishReason::Stop)
        );
    }

    #[test]
    fn abilities_follow_the_models_name() {
        let table = [
            ("claude-3-5-sonnet-20241022", true, true),
            ("claude-opus-4-20250514", true, true),
            ("claude-sonnet-4-5-20250929", true, true),
            ("claude-sonnet-4-6", true, true),
            ("claude-opus-4-7", false, true),
            ("claude-sonnet-5", false, true),
            ("anthropic/claude-opus-5-5", false, false),
            ("claude-haiku-5-5", false, false),
            ("claude-fable-5-1", false, false),
            ("claude-newest", false, false),
            ("some-other-model", true, true),
        ];
        for (model, sampling, forced_tool) in table {
            let abilities = Abilities {
                sampling,
                forced_tool,
            };
            assert_eq!(Abilities::of(model), abilities, "{model}");
        }
        let mut ask = request("anthropic", "claude-opus-5-5", &[(User, "u")]);
        ask.temperature = Some(0.0);
        ask.top_p = Some(0.9);
        ask.schema = Some(Value::Bool(true));
        let sent = body(&ask);
        assert_eq!(sent.get("temperature"), None);
        assert_eq!(sent.get("top_p"), None);
        assert_eq!(sent["tool_choice"], json!({"type": "auto"}));
        assert!(sent["system"].as_str().unwrap().contains("`reply`"));
    }

    #[test]
    fn structured_output_is_a_forced_tool_and_its_input_the_reply() {
        let mut ask = request("anthropic", MODEL, &[(User, "u")]);
        ask.schema = Some(json!({"type": "object", "properties": {"a": {"type": "integer"}}}));
        let sent = body(&ask);
        assert_eq!(
            sent["tool_choice"],
            json!({"type": "tool", "name": "reply"})
        );
        assert_eq!(
            &sent["tools"][0]["input_schema"],
            ask.schema.as_ref().unwrap()
        );
        let reply = read(&ask, &json!({
            "model": "m", "stop_reason": "tool_use",
            "content": [{"type": "text", "text": "Sure."}, {"type": "tool_use", "id": "t", "name": "reply", "input": {"a": 1}}]
        }))
        .unwrap();
        assert_eq!(
            (reply.text.as_str(), reply.finish),
            (r#"{"a":1}"#, FinishReason::Stop)
        );
        let cut =
            json!({"content": [{"type": "tool_use", "input": {}}], "stop_reason": "max_tokens"});
        assert_eq!(read(&ask, &cut).unwrap().finish, FinishReason::Length);
        let words = json!({"content": [{"type": "text", "text": "{}"}], "stop_reason": "end_turn"});
        assert_eq!(
            read(&ask, &words).unwrap().text,
            "{}",
            "a model may answer without the tool"
        );
    }

    #[test]
    fn schemas_of_other_things_than_objects_are_wrapped() {
        let mut ask = request("anthropic", MODEL, &[(User, "u")]);
        ask.schema = Some(
            json!({"type": "array", "items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"type": "string"}}}),
        );
        let schema = body(&ask)["tools"][0]["input_schema"].clone();
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["properties"]["value"]["type"], "array");
        assert_eq!(schema["$defs"], json!({"x": {"type": "string"}}));
        let reply = json!({"content": [{"type": "tool_use", "input": {"value": ["a"]}}], "stop_reason": "tool_use"});
        assert_eq!(read(&ask, &reply).unwrap().text, r#"["a"]"#);
    }

    #[test]
    fn replies_are_read_with_usage_and_every_way_to_stop() {
        let ask = request("anthropic", MODEL, &[(User, "u")]);
        let reply = read(&ask, &json!({
            "model": "claude-x", "stop_reason": "end_turn",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            "usage": {"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 2, "output_tokens": 3}
        }))
        .unwrap();
        assert_eq!(reply.text, "ab");
        assert_eq!(reply.served_by.as_deref(), Some("claude-x"));
        let usage = Usage {
            input_tokens: 14,
            output_tokens: 3,
            cached_input_tokens: 7,
            reasoning_tokens: 0,
        };
        assert_eq!(reply.usage, Some(usage));
        let finish = |reason: &str| {
            let reply = json!({"content": [], "stop_reason": reason});
            read(&ask, &reply).unwrap().finish
        };
        assert_eq!(finish("stop_sequence"), FinishReason::Stop);
        assert_eq!(finish("max_tokens"), FinishReason::Length);
        assert_eq!(
            finish("model_context_window_exceeded"),
            FinishReason::Length
        );
        assert_eq!(finish("tool_use"), FinishReason::ToolCall);
        assert_eq!(finish("refusal"), FinishReason::Refusal);
        assert_eq!(finish("pause_turn"), FinishReason::Other);
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        let ask = request("anthropic", MODEL, &[(User, "u")]);
        for bytes in [
            &b"{"[..],
            b"{}",
            br#"{"content": "x"}"#,
            br#"{"type": "message", "usage": {}}"#,
        ] {
            let result = Protocol::Anthropic.decode(&ask, bytes);
            assert!(matches!(result, Err(BadReply::Malformed(_))), "{bytes:?}");
        }
    }
}
