//! The two wire formats: requests in, replies and errors out.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::behave::{Answer, Ask, Ending};
use crate::text::{count_tokens, hash_of};

/// Which protocol a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// OpenAI chat completions.
    OpenAi,
    /// Anthropic Messages.
    Anthropic,
}

#[derive(Deserialize)]
struct Wire {
    model: String,
    messages: Vec<WireMessage>,
    #[serde(default)]
    system: Option<Content>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    stop: Option<Stops>,
    #[serde(default)]
    stop_sequences: Vec<String>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    response_format: Option<Value>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    tool_choice: Option<Value>,
    #[serde(default)]
    stream: bool,
}

#[derive(Deserialize)]
struct WireMessage {
    role: String,
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stops {
    One(String),
    Many(Vec<String>),
}

impl Content {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => {
                let texts: Vec<String> = parts.into_iter().map(|part| part.text).collect();
                texts.join("\n")
            }
        }
    }
}

/// Reads a request; the error is for the client, with status 400.
pub(crate) fn read(protocol: Protocol, body: &[u8]) -> Result<Ask, String> {
    let wire: Wire =
        serde_json::from_slice(body).map_err(|error| format!("unreadable request: {error}"))?;
    if wire.stream {
        return Err("streaming is not simulated".to_owned());
    }
    if wire.messages.is_empty() {
        return Err("messages: at least one message is required".to_owned());
    }
    if protocol == Protocol::Anthropic {
        check_anthropic(&wire)?;
    }
    let structured = match protocol {
        Protocol::OpenAi => wire.response_format.and_then(|format| {
            match format.get("type").and_then(Value::as_str) {
                Some("json_schema") => format.pointer("/json_schema/schema").cloned(),
                Some("json_object") => Some(Value::Bool(true)),
                _ => None,
            }
        }),
        Protocol::Anthropic => wire
            .tool_choice
            .is_some()
            .then(|| wire.tools.first()?.get("input_schema").cloned())
            .flatten(),
    };
    let mut prompt = String::new();
    let mut input_tokens = 0;
    let mut sample = vec![
        wire.seed
            .map_or(Vec::new(), |seed| seed.to_le_bytes().to_vec()),
    ];
    let system = wire.system.map(|content| WireMessage {
        role: "system".to_owned(),
        content,
    });
    for message in system.into_iter().chain(wire.messages) {
        let text = message.content.text();
        input_tokens += count_tokens(&text) + 4;
        if !prompt.is_empty() {
            prompt.push_str("\n\n");
        }
        prompt.push_str(&text);
        sample.push(message.role.into_bytes());
        sample.push(text.into_bytes());
    }
    let mut stop = wire.stop_sequences;
    match wire.stop {
        Some(Stops::One(one)) => stop.push(one),
        Some(Stops::Many(many)) => stop.extend(many),
        None => {}
    }
    let sample: Vec<&[u8]> = sample.iter().map(Vec::as_slice).collect();
    Ok(Ask {
        model: wire.model,
        prompt,
        input_tokens,
        temperature: wire.temperature,
        max_tokens: wire.max_completion_tokens.or(wire.max_tokens),
        stop,
        structured,
        hash: hash_of(&[body]),
        sample: hash_of(&sample),
    })
}

/// The rules of the Messages API that a client can break.
fn check_anthropic(wire: &Wire) -> Result<(), String> {
    if wire.max_tokens.is_none() {
        return Err("max_tokens: field required".to_owned());
    }
    let mut before = "assistant";
    for message in &wire.messages {
        match message.role.as_str() {
            "user" | "assistant" if message.role != before => before = &message.role,
            "user" | "assistant" => {
                return Err("messages: roles must alternate between user and assistant".to_owned());
            }
            other => return Err(format!("messages: unexpected role {other}")),
        }
    }
    Ok(())
}

/// The body of a reply.
pub(crate) fn reply(
    protocol: Protocol,
    model: &str,
    ask: &Ask,
    answer: &Answer,
    number: u64,
) -> Vec<u8> {
    let value = match protocol {
        Protocol::OpenAi => {
            let refused = answer.ending == Ending::Refusal;
            json!({
                "id": format!("chatcmpl-sim-{number}"),
                "object": "chat.completion",
                "created": 0,
                "model": model,
                "choices": [{
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": if refused { Value::Null } else { answer.text.as_str().into() },
                        "refusal": if refused { answer.text.as_str().into() } else { Value::Null },
                    },
                    "finish_reason": if answer.ending == Ending::Length { "length" } else { "stop" },
                }],
                "usage": {
                    "prompt_tokens": ask.input_tokens,
                    "completion_tokens": answer.output_tokens,
                    "total_tokens": ask.input_tokens + answer.output_tokens,
                    "prompt_tokens_details": { "cached_tokens": 0 },
                    "completion_tokens_details": { "reasoning_tokens": 0 },
                },
            })
        }
        Protocol::Anthropic => {
            let tool_input = ask
                .structured
                .is_some()
                .then(|| serde_json::from_str::<Value>(&answer.text).ok())
                .flatten()
                .filter(Value::is_object);
            let stop_reason = match answer.ending {
                Ending::Done if tool_input.is_some() => "tool_use",
                Ending::Done => "end_turn",
                Ending::StopText => "stop_sequence",
                Ending::Length => "max_tokens",
                Ending::Refusal => "refusal",
            };
            let block = match tool_input {
                Some(input) => {
                    json!({"type": "tool_use", "id": "toolu_sim", "name": "reply", "input": input})
                }
                None => json!({"type": "text", "text": answer.text}),
            };
            json!({
                "id": format!("msg_sim_{number}"),
                "type": "message",
                "role": "assistant",
                "model": model,
                "content": [block],
                "stop_reason": stop_reason,
                "stop_sequence": null,
                "usage": {
                    "input_tokens": ask.input_tokens,
                    "cache_read_input_tokens": 0,
                    "cache_creation_input_tokens": 0,
                    "output_tokens": answer.output_tokens,
                },
            })
        }
    };
    value.to_string().into_bytes()
}

/// A reply that lacks what it should hold.
pub(crate) fn empty_reply(protocol: Protocol, model: &str) -> Vec<u8> {
    let usage =
        json!({"prompt_tokens": 1, "completion_tokens": 0, "input_tokens": 1, "output_tokens": 0});
    match protocol {
        Protocol::OpenAi => json!({"model": model, "choices": [], "usage": usage}),
        Protocol::Anthropic => {
            json!({"type": "message", "role": "assistant", "model": model, "usage": usage})
        }
    }
    .to_string()
    .into_bytes()
}

/// The body of an error.
pub(crate) fn error(protocol: Protocol, status: u16, message: &str) -> Vec<u8> {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    match protocol {
        Protocol::OpenAi => {
            json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
        }
        Protocol::Anthropic => {
            json!({"type": "error", "error": {"type": kind, "message": message}})
        }
    }
    .to_string()
    .into_bytes()
}
