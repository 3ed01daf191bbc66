//! Replies on the wire: events, and plain JSON.

use serde_json::{Value, json};

use super::script::{Block, Move};

/// Bytes of one piece of a text; small enough that most texts come in several.
const PIECE: usize = 24;
/// Large texts come in larger pieces.
const MOST_PIECES: usize = 64;

/// An event as it is written.
pub(super) fn event(value: &Value) -> String {
    let name = value["type"].as_str().unwrap_or("ping");
    format!("event: {name}\ndata: {value}\n\n")
}

fn stop_reason(blocks: &[Block]) -> &'static str {
    let calls = |block: &Block| matches!(block, Block::Call { .. });
    if blocks.iter().any(calls) {
        "tool_use"
    } else {
        "end_turn"
    }
}

/// Usage as the protocol counts it: what the cache was asked for stands apart.
fn usage(said: &Move, output_tokens: u64) -> Value {
    let usage = said.usage;
    let apart = usage.cached_input_tokens + said.cache_creation;
    json!({
        "input_tokens": usage.input_tokens.saturating_sub(apart),
        "cache_creation_input_tokens": said.cache_creation,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "output_tokens": output_tokens,
    })
}

pub(super) fn start(said: &Move, model: &str, number: usize) -> Value {
    json!({"type": "message_start", "message": {
        "id": format!("msg_{number:024}"), "type": "message", "role": "assistant", "model": model,
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage(said, 1),
    }})
}

fn call_id(number: usize, index: usize) -> String {
    format!("toolu_{number:012}{index:012}")
}

/// All events of a reply.
pub(super) fn events(said: &Move, blocks: &[Block], model: &str, number: usize) -> Vec<Value> {
    let mut events = vec![start(said, model, number), json!({"type": "ping"})];
    for (index, block) in blocks.iter().enumerate() {
        let (opened, pieces) = match block {
            Block::Text(text) => {
                let delta = |piece| json!({"type": "text_delta", "text": piece});
                (
                    json!({"type": "text", "text": ""}),
                    pieces(text).map(delta).collect::<Vec<_>>(),
                )
            }
            Block::Call { name, input } => {
                let text = input.to_string();
                let delta = |piece| json!({"type": "input_json_delta", "partial_json": piece});
                let id = call_id(number, index);
                (
                    json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
                    pieces(&text).map(delta).collect(),
                )
            }
        };
        events
            .push(json!({"type": "content_block_start", "index": index, "content_block": opened}));
        for piece in pieces {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": piece}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(blocks), "stop_sequence": null},
        "usage": {"output_tokens": said.usage.output_tokens},
    }));
    events.push(json!({"type": "message_stop"}));
    events
}

/// The reply of a request that asked for no stream.
pub(super) fn whole(said: &Move, blocks: &[Block], model: &str, number: usize) -> Value {
    let content: Vec<Value> = blocks
        .iter()
        .enumerate()
        .map(|(index, block)| match block {
            Block::Text(text) => json!({"type": "text", "text": text}),
            Block::Call { name, input } => {
                json!({"type": "tool_use", "id": call_id(number, index), "name": name, "input": input})
            }
        })
        .collect();
    json!({
        "id": format!("msg_{number:024}"), "type": "message", "role": "assistant", "model": model,
        "content": content, "stop_reason": stop_reason(blocks), "stop_sequence": null,
        "usage": usage(said, said.usage.output_tokens),
    })
}

/// An error's body.
pub(super) fn error(kind: &str, message: &str) -> Value {
    json!({
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_scripted",
    })
}

/// A text in pieces, cut between characters.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let size = PIECE.max(text.len() / MOST_PIECES);
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(size.min(rest.len())));
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_put_together_are_the_text() {
        for text in ["", "a", &"ä€x".repeat(100), &"long ".repeat(10_000)] {
            assert_eq!(pieces(text).collect::<String>(), text);
            assert!(pieces(text).count() <= MOST_PIECES + 1);
        }
    }
}
