//! The two protocols: what is sent, and how what comes back is read.

pub(crate) mod anthropic;
pub(crate) mod openai;

use fapo_domain::model::trace::FinishReason;
use fapo_domain::money::Usage;
use fapo_domain::ports::models::ModelRequest;
use serde::Deserialize;

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    OpenAi,
    Anthropic,
}

/// A reply, read.
#[derive(Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) text: String,
    pub(crate) finish: FinishReason,
    /// `None` where the provider did not count.
    pub(crate) usage: Option<Usage>,
    pub(crate) served_by: Option<String>,
}

/// A body of status 200 that is no reply.
#[derive(Debug, PartialEq)]
pub(crate) enum BadReply {
    /// An error in the clothes of a success, as gateways send it, with the status it names.
    Error { status: u16, message: String },
    /// Anything else, in words.
    Malformed(String),
}

impl Protocol {
    /// The path that calls go to, after `/v1/`.
    pub(crate) const fn call(self) -> &'static str {
        match self {
            Self::OpenAi => "chat/completions",
            Self::Anthropic => "messages",
        }
    }

    /// The body of a request.
    pub(crate) fn encode(self, request: &ModelRequest) -> Vec<u8> {
        match self {
            Self::OpenAi => openai::encode(request),
            Self::Anthropic => anthropic::encode(request),
        }
    }

    /// Reads the body of a success.
    pub(crate) fn decode(self, request: &ModelRequest, body: &[u8]) -> Result<Reply, BadReply> {
        let mut reply = match self {
            Self::OpenAi => openai::decode(body),
            Self::Anthropic => anthropic::decode(request, body),
        }?;
        // A stop text inside a JSON reply would break it.
        if request.schema.is_none() && !request.stop.is_empty() {
            match self {
                Self::OpenAi => cut(&mut reply, openai::unsent_stops(request)),
                Self::Anthropic => cut(&mut reply, anthropic::unsent_stops(request)),
            }
        }
        Ok(reply)
    }
}

/// Bytes to reserve for a body: the texts and a little around them.
fn size_hint(request: &ModelRequest) -> usize {
    let texts: usize = request
        .messages
        .iter()
        .map(|message| message.content.len() + message.content.len() / 16 + 48)
        .sum();
    texts + 512
}

/// Cuts a reply at stop texts that the provider does not take, as it would have done itself.
fn cut<'a>(reply: &mut Reply, stops: impl Iterator<Item = &'a str>) {
    let first = stops
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| reply.text.find(stop))
        .min();
    if let Some(at) = first {
        reply.text.truncate(at);
        reply.finish = FinishReason::Stop;
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    error: Option<ErrorValue>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    detail: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorValue {
    Text(String),
    Object {
        #[serde(default)]
        message: Option<String>,
        #[serde(default, rename = "type")]
        kind: Option<serde_json::Value>,
        #[serde(default)]
        code: Option<serde_json::Value>,
    },
}

/// What an error's body says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    /// The provider's own class of the error, such as `insufficient_quota`.
    pub(crate) kinds: Vec<String>,
}

/// Reads the body of an error; bodies of other forms are taken as text.
pub(crate) fn complaint(body: &[u8]) -> Complaint {
    let whole = || String::from_utf8_lossy(body).into_owned();
    let Ok(parsed) = serde_json::from_slice::<ErrorBody>(body) else {
        return Complaint {
            message: whole(),
            kinds: Vec::new(),
        };
    };
    let mut kinds = Vec::new();
    let message = match parsed.error {
        Some(ErrorValue::Text(text)) => Some(text),
        Some(ErrorValue::Object {
            message,
            kind,
            code,
        }) => {
            let names = [kind, code].into_iter().flatten();
            kinds.extend(names.filter_map(|name| match name {
                serde_json::Value::String(text) => Some(text),
                serde_json::Value::Number(number) => Some(number.to_string()),
                _ => None,
            }));
            message
        }
        None => parsed
            .message
            .or_else(|| parsed.detail.map(|detail| detail.to_string())),
    };
    Complaint {
        message: message.unwrap_or_else(whole),
        kinds,
    }
}

/// Cuts a text to one line of at most 300 characters.
pub(crate) fn one_line(text: &str) -> String {
    const MOST: usize = 300;
    let mut line = String::new();
    for (index, word) in text.split_whitespace().enumerate() {
        if index > 0 {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > MOST {
            line.truncate(line.floor_char_boundary(MOST));
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use fapo_domain::ports::models::{ChatRole, Message, Waits};
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn request(
        provider: &str,
        model: &str,
        messages: &[(ChatRole, &str)],
    ) -> ModelRequest {
        let spec = json!({"provider": provider, "model": model});
        ModelRequest {
            entry: "task".into(),
            spec: Arc::new(serde_json::from_value(spec).unwrap()),
            messages: messages
                .iter()
                .map(|(role, content)| Message {
                    role: *role,
                    content: (*content).to_owned(),
                })
                .collect(),
            temperature: None,
            top_p: None,
            max_tokens: 64,
            stop: Vec::new(),
            seed: None,
            schema: None,
            waits: Waits::default(),
        }
    }

    pub(crate) fn sent(protocol: Protocol, request: &ModelRequest) -> Value {
        serde_json::from_slice(&protocol.encode(request)).unwrap()
    }

    #[test]
    fn complaints_of_many_forms_are_understood() {
        let read = |body: &str| complaint(body.as_bytes());
        let openai = read(r#"{"error":{"message":"no","type":"a","code":"insufficient_quota"}}"#);
        assert_eq!(openai.message, "no");
        assert_eq!(openai.kinds, ["a", "insufficient_quota"]);
        assert_eq!(read(r#"{"error":"plain"}"#).message, "plain");
        assert_eq!(read(r#"{"message":"top"}"#).message, "top");
        assert_eq!(
            read(r#"{"detail":[{"msg":"x"}]}"#).message,
            r#"[{"msg":"x"}]"#
        );
        assert_eq!(
            read("<html>bad gateway</html>").message,
            "<html>bad gateway</html>"
        );
        assert_eq!(read(r#"{"error":{}}"#).message, r#"{"error":{}}"#);
    }

    #[test]
    fn messages_become_one_short_line() {
        assert_eq!(one_line(" a\n\tb "), "a b");
        let long = one_line(&"ä".repeat(1000));
        assert!(long.len() < 310 && long.ends_with('…'));
    }
}
