//! What a reply used, read while it passes.

use fapo_domain::money::{MicroUsd, Price, Usage};
use serde_json::Value;

use crate::wire::Protocol;

/// Longest line of a stream that is looked into. Lines with usage are short.
const MOST_LINE: usize = 256 * 1024;
/// Writing to Anthropic's prompt cache costs so much beyond the input price: for five minutes, and for an hour.
const CACHE_SURCHARGE: f64 = 0.25;
const HOUR_SURCHARGE: f64 = 1.0;

/// Tokens, with those written to the prompt cache apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// All of them, as fapo counts.
    pub(super) usage: Usage,
    /// Those of the input that were written to the cache.
    pub(super) cache_creation: u64,
    /// Those of them that stay there for an hour.
    pub(super) hour: u64,
}

impl Used {
    pub(super) fn cost(&self, price: &Price) -> MicroUsd {
        let hour = self.hour.min(self.cache_creation);
        let short = self.cache_creation - hour;
        let extra = (short as f64 * CACHE_SURCHARGE + hour as f64 * HOUR_SURCHARGE) * price.input;
        price.cost(&self.usage) + MicroUsd((extra - 1e-9).ceil().max(0.0) as u64)
    }
}

/// Counts one reply.
pub(super) struct Count {
    protocol: Protocol,
    form: Form,
    raw: Raw,
    complete: bool,
}

enum Form {
    /// Events; the line that is being read, or `None` while a line that is too long passes.
    Events(Option<Vec<u8>>),
    /// One JSON value.
    Whole(Vec<u8>),
}

/// The counts are sums so far, which only grow: a gateway that leaves one out, or sends zero, takes nothing back.
#[derive(Default)]
struct Raw {
    input: Option<u64>,
    output: Option<u64>,
    cached: u64,
    cache_creation: u64,
    hour: u64,
    reasoning: u64,
}

impl Count {
    pub(super) fn new(protocol: Protocol, events: bool) -> Self {
        Self {
            protocol,
            form: if events {
                Form::Events(Some(Vec::new()))
            } else {
                Form::Whole(Vec::new())
            },
            raw: Raw::default(),
            complete: false,
        }
    }

    /// The next bytes of the reply.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let mut lines = Vec::new();
        match &mut self.form {
            Form::Whole(all) => all.extend_from_slice(bytes),
            Form::Events(line) => {
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    let ended = piece.ends_with(b"\n");
                    if let Some(text) = line {
                        if text.len() + piece.len() > MOST_LINE {
                            *line = None;
                        } else {
                            text.extend_from_slice(piece);
                        }
                    }
                    if ended {
                        lines.extend(line.replace(Vec::new()));
                    }
                }
            }
        }
        for line in lines {
            self.line(&line);
        }
    }

    fn line(&mut self, line: &[u8]) {
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        // most events are pieces of text
        let names_usage = data.windows(7).any(|window| window == b"\"usage\"");
        if names_usage && let Ok(event) = serde_json::from_slice::<Value>(data) {
            self.event(&event);
        }
    }

    fn event(&mut self, event: &Value) {
        let kind = event["type"].as_str().unwrap_or_default();
        match (self.protocol, kind) {
            (Protocol::Anthropic, "message_start") => self.raw.read(&event["message"]["usage"]),
            (Protocol::Anthropic, "message_delta") => {
                self.raw.read(&event["usage"]);
                self.complete |= event["delta"]["stop_reason"].is_string();
            }
            (
                Protocol::OpenAi,
                "response.completed" | "response.incomplete" | "response.failed",
            ) => {
                self.raw.read(&event["response"]["usage"]);
                self.complete = true;
            }
            // chat completions name no type
            (Protocol::OpenAi, "") if event["usage"].is_object() => {
                self.raw.read(&event["usage"]);
                self.complete = true;
            }
            _ => {}
        }
    }

    /// What was used, where the reply told all of it. `whole` says whether the body came to its end.
    pub(super) fn used(mut self, whole: bool) -> Option<Used> {
        let form = std::mem::replace(&mut self.form, Form::Events(None));
        match form {
            Form::Whole(all) if whole => {
                let reply: Value = serde_json::from_slice(&all).ok()?;
                self.raw.read(&reply["usage"]);
            }
            Form::Whole(_) => return None,
            Form::Events(_) if self.complete => {}
            Form::Events(_) => return None,
        }
        self.raw.used(self.protocol)
    }
}

impl Raw {
    fn read(&mut self, usage: &Value) {
        fn number<'a>(usage: &Value, paths: impl IntoIterator<Item = &'a str>) -> Option<u64> {
            paths
                .into_iter()
                .find_map(|path| usage.pointer(path).and_then(Value::as_u64))
        }
        let most = |field: &mut u64, found: Option<u64>| *field = (*field).max(found.unwrap_or(0));
        self.input = number(usage, ["/input_tokens", "/prompt_tokens"]).max(self.input);
        self.output = number(usage, ["/output_tokens", "/completion_tokens"]).max(self.output);
        let cached = [
            "/cache_read_input_tokens",
            "/input_tokens_details/cached_tokens",
            "/prompt_tokens_details/cached_tokens",
        ];
        most(&mut self.cached, number(usage, cached));
        let creation = number(usage, ["/cache_creation_input_tokens"]);
        most(&mut self.cache_creation, creation);
        let hour = number(usage, ["/cache_creation/ephemeral_1h_input_tokens"]);
        most(&mut self.hour, hour);
        let reasoning = [
            "/output_tokens_details/reasoning_tokens",
            "/output_tokens_details/thinking_tokens",
            "/completion_tokens_details/reasoning_tokens",
        ];
        most(&mut self.reasoning, number(usage, reasoning));
    }

    fn used(&self, protocol: Protocol) -> Option<Used> {
        let (input, output) = (self.input?, self.output?);
        let input = match protocol {
            Protocol::OpenAi => input,
            // leaves out what the cache was asked for
            Protocol::Anthropic => input
                .saturating_add(self.cached)
                .saturating_add(self.cache_creation),
        };
        Some(Used {
            usage: Usage {
                input_tokens: input,
                output_tokens: output,
                cached_input_tokens: self.cached,
                reasoning_tokens: self.reasoning,
            },
            cache_creation: self.cache_creation,
            hour: self.hour,
        })
    }
}

#[cfg(test)]
mod tests;
