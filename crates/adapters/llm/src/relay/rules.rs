//! Which requests are passed on, and what each can cost at most.

use bytes::Bytes;
use fapo_domain::money::{MicroUsd, Price, Usage};
use serde_json::{Map, Value, json};

use super::answer::Refusal;
use super::count::Used;
use super::session::Session;
use crate::wire::Protocol;

/// The longest reply that is asked for where an OpenAI request names no bound; it is written into the request.
const UNBOUNDED_OUTPUT: u64 = 32_768;
/// Above any model's longest reply; larger numbers are mistakes, and would overflow sums.
const MOST_OUTPUT: u64 = 10_000_000;
/// The most tokens that one image costs beyond its bytes, of which each counts as a token already: a few bytes can be a large
/// picture of one colour. Providers scale pictures down first. Anthropic's take at most 4,784 tokens then; OpenAI's at most
/// 2,833 and 5,667 for each of eight tiles.
const ANTHROPIC_IMAGE: u64 = 5_000;
const OPENAI_IMAGE: u64 = 50_000;
/// Kinds of content that are an image.
const IMAGES: &[&str] = &["computer_screenshot", "image", "image_url", "input_image"];
/// Betas that change what tokens cost or how many there may be, or that let the provider reach other hosts, by how they begin.
/// A client may ask for others.
const DROPPED_BETAS: &[&str] = &[
    "code-execution",
    "context-1m",
    "fast-mode",
    "files-api",
    "mcp-client",
    "web-",
];
/// Tools that the client runs, by how their type begins. All others run at the provider.
const CLIENT_TOOLS: &[&str] = &[
    "apply_patch",
    "bash_",
    "computer_",
    "custom",
    "function",
    "local_shell",
    "memory_",
    "shell",
    "text_editor_",
    "tool_search_tool_",
];
/// Fields that refer to what is not in the body, or let the provider reach other hosts, or hide what a request costs.
const REFUSED_FIELDS: &[&str] = &[
    "background",
    "container",
    "conversation",
    "inference_geo",
    "mcp_servers",
    "previous_response_id",
    "prompt",
    "web_search_options",
];

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Messages,
    CountTokens,
    Responses,
    Chat,
}

impl Call {
    /// By path, without the query.
    pub(super) fn of(protocol: Protocol, path: &str) -> Option<Self> {
        match (protocol, path) {
            (Protocol::Anthropic, "/v1/messages") => Some(Self::Messages),
            (Protocol::Anthropic, "/v1/messages/count_tokens") => Some(Self::CountTokens),
            (Protocol::OpenAi, "/v1/responses") => Some(Self::Responses),
            (Protocol::OpenAi, "/v1/chat/completions") => Some(Self::Chat),
            _ => None,
        }
    }

    /// After `/v1/`.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::CountTokens => "messages/count_tokens",
            Self::Responses => "responses",
            Self::Chat => "chat/completions",
        }
    }

    pub(super) const fn is_paid(self) -> bool {
        !matches!(self, Self::CountTokens)
    }
}

/// A request that may be passed on.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) call: Call,
    pub(super) body: Bytes,
    /// Absent where no price is known and none is needed.
    pub(super) price: Option<Price>,
    /// The most it can cost.
    pub(super) worst: MicroUsd,
}

/// Reads, checks and prices a request.
pub(super) fn plan(session: &Session, call: Call, bytes: &[u8]) -> Result<Plan, Refusal> {
    let mut fields: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|error| Refusal::Invalid(format!("the body is no JSON object: {error}")))?;
    let model = match &fields.get("model") {
        Some(Value::String(model)) => model.clone(),
        _ => return Err(Refusal::Invalid("the request names no model".to_owned())),
    };
    check(&fields)?;
    let output = bound(call, &mut fields)?;
    let price = session.price(&model);
    if price.is_none() && session.capped && call.is_paid() {
        return Err(Refusal::Money(format!(
            "no price is known for {model}, and this session's money is bounded"
        )));
    }
    let body = serde_json::to_vec(&fields).expect("what was read as JSON is written as JSON");
    let mut seen = Seen::default();
    fields.values().for_each(|value| seen.look(value));
    seen.cached(&fields);
    let image = match session.endpoint.protocol {
        Protocol::Anthropic => ANTHROPIC_IMAGE,
        Protocol::OpenAi => OPENAI_IMAGE,
    };
    // What is sent counts; it is never longer than what came by more than its escapes.
    let input = body.len().max(bytes.len()) as u64 + seen.images.saturating_mul(image);
    let used = Used {
        usage: Usage {
            input_tokens: input,
            output_tokens: output,
            ..Usage::default()
        },
        // all of it may be written to the cache
        cache_creation: if seen.cache { input } else { 0 },
        hour: if seen.hour { input } else { 0 },
    };
    let worst = match &price {
        Some(price) if call.is_paid() => used.cost(price),
        Some(_) | None => MicroUsd::ZERO,
    };
    Ok(Plan {
        call,
        body: body.into(),
        price,
        worst,
    })
}

/// What makes a request cost more than its bytes at the input price.
#[derive(Default)]
struct Seen {
    images: u64,
    /// Something is to be cached, somewhere for an hour.
    cache: bool,
    hour: bool,
}

impl Seen {
    fn look(&mut self, value: &Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.look(value)),
            Value::Object(fields) => {
                let kind = fields.get("type").and_then(Value::as_str);
                self.images += u64::from(kind.is_some_and(|kind| IMAGES.contains(&kind)));
                self.cached(fields);
                fields.values().for_each(|value| self.look(value));
            }
            _ => {}
        }
    }

    fn cached(&mut self, fields: &Map<String, Value>) {
        match fields.get("cache_control") {
            None | Some(Value::Null) => {}
            Some(control) => {
                self.cache = true;
                // another time than the two that there are is taken for the dearer one
                self.hour |= control.get("ttl").is_some_and(|ttl| ttl != "5m");
            }
        }
    }
}

/// The betas of a client's that are passed on.
pub(super) fn betas<'a>(asked: impl Iterator<Item = &'a str>) -> Option<String> {
    let kept: Vec<&str> = asked
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|beta| !beta.is_empty())
        .filter(|beta| {
            let beta = beta.to_ascii_lowercase();
            !DROPPED_BETAS.iter().any(|name| beta.starts_with(name))
        })
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// The most tokens of the reply, written into the request where the protocol needs no bound.
fn bound(call: Call, fields: &mut Map<String, Value>) -> Result<u64, Refusal> {
    let names: &[&str] = match call {
        Call::CountTokens => return Ok(0),
        Call::Messages => &["max_tokens"],
        Call::Responses => &["max_output_tokens"],
        Call::Chat => &["max_completion_tokens", "max_tokens"],
    };
    let mut most = None;
    for name in names {
        match fields.get(*name) {
            None | Some(Value::Null) => {}
            Some(value) => {
                let tokens = value.as_u64().filter(|tokens| *tokens <= MOST_OUTPUT);
                let tokens = tokens.ok_or_else(|| {
                    Refusal::Invalid(format!("{name} is {value}, and no number of tokens"))
                })?;
                most = most.max(Some(tokens));
            }
        }
    }
    if most.is_none() && call == Call::Messages {
        return Err(Refusal::Invalid("max_tokens is missing".to_owned()));
    }
    if most.is_none() {
        fields.insert(names[0].to_owned(), UNBOUNDED_OUTPUT.into());
    }
    let most = most.unwrap_or(UNBOUNDED_OUTPUT);
    if call != Call::Chat {
        return Ok(most);
    }
    if fields.get("stream") == Some(&Value::Bool(true)) {
        // without it nobody says what a stream used
        fields.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    let replies = match fields.get("n") {
        None | Some(Value::Null) => 1,
        Some(value) => value
            .as_u64()
            .filter(|replies| (1..=128).contains(replies))
            .ok_or_else(|| Refusal::Invalid(format!("n is {value}")))?,
    };
    Ok(most * replies)
}

fn check(fields: &Map<String, Value>) -> Result<(), Refusal> {
    for name in REFUSED_FIELDS {
        if fields
            .get(*name)
            .is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)))
        {
            return Err(not_here(name));
        }
    }
    for (name, ordinary) in [
        ("speed", &["standard"] as &[&str]),
        (
            "service_tier",
            &["auto", "default", "standard_only", "flex"],
        ),
    ] {
        match fields.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(tier)) if ordinary.contains(&tier.as_str()) => {}
            Some(tier) => return Err(not_here(&format!("{name}: {tier}"))),
        }
    }
    client_tools(fields.get("tools"))?;
    for name in ["system", "messages", "input"] {
        if let Some(content) = fields.get(name) {
            sources(content)?;
        }
    }
    Ok(())
}

/// Refuses tools that run at the provider: they reach other hosts, and cost what no request shows.
fn client_tools(tools: Option<&Value>) -> Result<(), Refusal> {
    for tool in tools.and_then(Value::as_array).into_iter().flatten() {
        match tool.get("type") {
            None | Some(Value::Null) => {}
            // a list of tools under a name
            Some(Value::String(kind)) if kind == "namespace" => client_tools(tool.get("tools"))?,
            // the search for tools is the client's or the provider's, as it says
            Some(Value::String(kind))
                if kind == "tool_search"
                    && tool.get("execution").and_then(Value::as_str) == Some("client") => {}
            Some(Value::String(kind))
                if CLIENT_TOOLS.iter().any(|known| kind.starts_with(known)) => {}
            Some(kind) => {
                return Err(not_here(&format!(
                    "the tool {kind}, which runs at the provider"
                )));
            }
        }
    }
    Ok(())
}

/// Refuses contents that the provider would have to fetch, and documents, which cost by the page and show no number of them. What a tool was called with is the model's own text.
fn sources(value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Array(values) => values.iter().try_for_each(sources),
        Value::Object(fields) => {
            let kind = fields.get("type").and_then(Value::as_str);
            if kind == Some("tool_use") {
                return Ok(());
            }
            if let Some(kind @ ("document" | "input_file" | "file")) = kind {
                return Err(not_here(&format!(
                    "content of type {kind}, whose cost cannot be foreseen"
                )));
            }
            if let Some(source) = fields.get("source")
                && let Some(kind) = source.get("media_type").and_then(Value::as_str)
                && kind.to_ascii_lowercase().contains("pdf")
            {
                return Err(not_here(&format!("a source of type {kind}")));
            }
            if let Some(source) = fields.get("source")
                && let Some(kind) = source.get("type").and_then(Value::as_str)
                && !matches!(kind, "base64" | "text" | "content")
            {
                return Err(not_here(&format!("a source of type {kind}")));
            }
            for name in ["file_url", "file_id"] {
                if fields.get(name).is_some_and(|value| !value.is_null()) {
                    return Err(not_here(name));
                }
            }
            if let Some(image) = fields.get("image_url") {
                let url = image.get("url").unwrap_or(image).as_str();
                if url.is_some_and(|url| !url.starts_with("data:")) {
                    return Err(not_here("image_url"));
                }
            }
            fields.values().try_for_each(sources)
        }
        _ => Ok(()),
    }
}

fn not_here(what: &str) -> Refusal {
    Refusal::Invalid(format!("not allowed in this session: {what}"))
}
