//! What the endpoint is to say.

use std::fmt;
use std::sync::Arc;

use fapo_domain::money::Usage;
use serde_json::Value;

use super::{Gate, Request};

type Fits = Arc<dyn Fn(&Request) -> bool + Send + Sync>;
type React = Arc<dyn Fn(&Request) -> Move + Send + Sync>;

/// Conversations, tried in their order.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub(super) conversations: Vec<Conversation>,
}

impl Script {
    /// A script that says nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a conversation.
    #[must_use]
    pub fn conversation(mut self, conversation: Conversation) -> Self {
        self.conversations.push(conversation);
        self
    }
}

/// One conversation: which requests belong to it, and what they are answered with.
#[derive(Clone)]
pub struct Conversation {
    pub(super) name: String,
    pub(super) each: bool,
    with_tools: bool,
    fits: Vec<Fits>,
    pub(super) moves: Vec<Move>,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("name", &self.name)
            .field("moves", &self.moves.len())
            .finish_non_exhaustive()
    }
}

impl Conversation {
    /// A conversation that every request fits which offers tools (side requests of the CLI offer none).
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            each: false,
            with_tools: true,
            fits: Vec::new(),
            moves: Vec::new(),
        }
    }

    /// Every session plays it from its start, not the first one only.
    #[must_use]
    pub fn each(mut self) -> Self {
        self.each = true;
        self
    }

    /// Requests that offer no tools fit, too.
    #[must_use]
    pub fn tools_or_not(mut self) -> Self {
        self.with_tools = false;
        self
    }

    /// Only requests whose system prompt contains this.
    #[must_use]
    pub fn system_contains(self, text: impl Into<String>) -> Self {
        let text = text.into();
        self.when(move |request| request.system().contains(&text))
    }

    /// Only requests whose first user text contains this.
    #[must_use]
    pub fn first_user_contains(self, text: impl Into<String>) -> Self {
        let text = text.into();
        self.when(move |request| request.first_user().contains(&text))
    }

    /// Only requests with this header; `name` in lower case.
    #[must_use]
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.when(move |request| request.header(&name) == Some(&value))
    }

    /// Only requests that offer this tool.
    #[must_use]
    pub fn offers(self, tool: impl Into<String>) -> Self {
        let tool = tool.into();
        self.when(move |request| request.tools().contains(&tool.as_str()))
    }

    /// Only requests of which this holds.
    #[must_use]
    pub fn when(mut self, fits: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        self.fits.push(Arc::new(fits));
        self
    }

    /// The next move.
    #[must_use]
    pub fn then(mut self, next: Move) -> Self {
        self.moves.push(next);
        self
    }

    /// The next `times` moves, all alike.
    #[must_use]
    pub fn then_times(mut self, times: usize, next: Move) -> Self {
        self.moves.extend(std::iter::repeat_n(next, times));
        self
    }

    pub(super) fn fits(&self, request: &Request) -> bool {
        (!self.with_tools || !request.tools().is_empty())
            && self.fits.iter().all(|fits| fits(request))
    }
}

/// What one request is answered with.
#[derive(Clone)]
pub struct Move {
    pub(super) what: What,
    pub(super) usage: Usage,
    /// Those of the input tokens that were written to the cache.
    pub(super) cache_creation: u64,
    /// Before every event; the status and the first event, too.
    pub(super) slow: Option<Gate>,
}

#[derive(Clone)]
pub(super) enum What {
    Say(Vec<Block>),
    Status {
        status: u16,
        kind: &'static str,
        message: String,
        retry_after: Option<String>,
    },
    /// The events of the blocks, up to here, then the connection is lost.
    Cut {
        blocks: Vec<Block>,
        events: usize,
    },
    /// An event that is no JSON, and a proper end of the body.
    Broken,
    /// The connection is reset before anything is said.
    Reset,
    /// Texts without end.
    Endless,
    React(React),
}

#[derive(Clone)]
pub(super) enum Block {
    Text(String),
    Call { name: String, input: Value },
}

impl fmt::Debug for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.what {
            What::Say(_) => "Move::Say",
            What::Status { .. } => "Move::Status",
            What::Cut { .. } => "Move::Cut",
            What::Broken => "Move::Broken",
            What::Reset => "Move::Reset",
            What::Endless => "Move::Endless",
            What::React(_) => "Move::React",
        })
    }
}

impl Move {
    fn of(what: What) -> Self {
        Self {
            what,
            usage: Usage {
                input_tokens: 100,
                output_tokens: 10,
                ..Usage::default()
            },
            cache_creation: 0,
            slow: None,
        }
    }

    /// A text, and the end of the turn.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(What::Say(vec![Block::Text(text.into())]))
    }

    /// A call of a tool: `Edit`, `Read`, `mcp__fapo__clusters` and so on.
    pub fn call(name: impl Into<String>, input: Value) -> Self {
        Self::of(What::Say(vec![Block::Call {
            name: name.into(),
            input,
        }]))
    }

    /// The answer that `--json-schema` asks for.
    pub fn answer(answer: Value) -> Self {
        Self::call("StructuredOutput", answer)
    }

    /// Decides when the request is there.
    pub fn react(react: impl Fn(&Request) -> Self + Send + Sync + 'static) -> Self {
        Self::of(What::React(Arc::new(react)))
    }

    /// An error: 400, 401, 403, 404, 413, 429, 500, 529 with the type that belongs to it.
    pub fn status(status: u16) -> Self {
        let (kind, message) = match status {
            400 => ("invalid_request_error", "the script refuses this request"),
            401 => ("authentication_error", "invalid x-api-key"),
            402 => ("billing_error", "the script wants to be paid"),
            403 => ("permission_error", "the script forbids this"),
            404 => ("not_found_error", "the script knows no such thing"),
            413 => ("request_too_large", "the script finds this too large"),
            429 => ("rate_limit_error", "the script is asked too often"),
            529 => ("overloaded_error", "Overloaded"),
            _ => ("api_error", "the script failed"),
        };
        Self::of(What::Status {
            status,
            kind,
            message: message.to_owned(),
            retry_after: None,
        })
    }

    /// The reply `whole` breaks off after `events` events: the connection is lost in the middle of the body.
    pub fn cut(whole: Self, events: usize) -> Self {
        let blocks = match whole.what {
            What::Say(blocks) => blocks,
            _ => Vec::new(),
        };
        Self {
            what: What::Cut { blocks, events },
            ..whole
        }
    }

    /// An event that is no JSON, in a body that ends properly.
    pub fn broken() -> Self {
        Self::of(What::Broken)
    }

    /// The connection is reset before anything is said.
    pub fn reset() -> Self {
        Self::of(What::Reset)
    }

    /// A text without end.
    pub fn endless() -> Self {
        Self::of(What::Endless)
    }

    /// A text of this many bytes.
    pub fn huge(bytes: usize) -> Self {
        const LINE: &str = "all work and no play makes a dull reply\n";
        let mut text = LINE.repeat(bytes / LINE.len() + 1);
        text.truncate(bytes);
        Self::text(text)
    }

    /// And another call of a tool in the same reply.
    #[must_use]
    pub fn and_call(mut self, name: impl Into<String>, input: Value) -> Self {
        if let What::Say(blocks) = &mut self.what {
            blocks.push(Block::Call {
                name: name.into(),
                input,
            });
        }
        self
    }

    /// With a text before what else is said.
    #[must_use]
    pub fn saying(mut self, text: impl Into<String>) -> Self {
        if let What::Say(blocks) = &mut self.what {
            blocks.insert(0, Block::Text(text.into()));
        }
        self
    }

    /// What it reports as used. `input_tokens` includes those of the cache, as everywhere in fapo; on the wire they are apart.
    #[must_use]
    pub fn using(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Of the input tokens, so many were written to the cache.
    #[must_use]
    pub fn cache_creation(mut self, tokens: u64) -> Self {
        self.cache_creation = tokens;
        self
    }

    /// With this `retry-after`, for [`Self::status`].
    #[must_use]
    pub fn retry_after(mut self, seconds: impl fmt::Display) -> Self {
        if let What::Status { retry_after, .. } = &mut self.what {
            *retry_after = Some(seconds.to_string());
        }
        self
    }

    /// With this message, for [`Self::status`].
    #[must_use]
    pub fn message(mut self, text: impl Into<String>) -> Self {
        if let What::Status { message, .. } = &mut self.what {
            *message = text.into();
        }
        self
    }

    /// The gate is passed once before the reply begins, and once before each of its events.
    #[must_use]
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.slow = Some(gate.clone());
        self
    }
}
