//! A request as it was received.

use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::Value;

/// A request that the endpoint received. Nothing of it is left out or hidden: it is there to be searched.
#[derive(Debug)]
pub struct Request {
    /// Counted from 0 in the order in which they were received whole.
    pub number: usize,
    /// `POST` and so on.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case, as sent otherwise.
    pub headers: Vec<(String, String)>,
    /// The body as it was sent.
    pub text: String,
    /// The body as JSON; `Null` where it is none.
    pub body: Value,
    /// The conversation of the script that it belongs to.
    pub conversation: Option<String>,
    /// Whether that conversation had no move left.
    pub overrun: bool,
    pub(super) outcome: AtomicU8,
}

/// What became of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is being written.
    UnderWay,
    /// All of it was written, faults included.
    Written,
    /// The client went away before.
    Abandoned,
}

/// A tool's result in a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolResult {
    /// The id of the call.
    pub id: String,
    /// The tool's name; empty where the call is not in the request.
    pub name: String,
    /// Its text parts, joined by line ends.
    pub text: String,
    /// Whether the client says that it failed.
    pub is_error: bool,
}

impl Request {
    /// A header's first value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether it asks for a message of the model.
    pub fn is_message(&self) -> bool {
        self.method == "POST" && self.path.split('?').next() == Some("/v1/messages")
    }

    /// The model that is asked for.
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// Which session of the client it belongs to: what the client says (the header `x-claude-code-session-id`, or the session in
    /// `metadata.user_id`); the first user text where it says nothing.
    pub fn session(&self) -> String {
        if let Some(session) = self.header("x-claude-code-session-id") {
            return session.to_owned();
        }
        match self.body["metadata"]["user_id"].as_str() {
            Some(user) => user.to_owned(),
            None => self.first_user(),
        }
    }

    /// The system prompt's text.
    pub fn system(&self) -> String {
        text_of(&self.body["system"])
    }

    /// The text of the first message, which is the user's.
    pub fn first_user(&self) -> String {
        self.messages()
            .find(|message| message["role"] == "user")
            .map(|message| text_of(&message["content"]))
            .unwrap_or_default()
    }

    /// The text of the last message of the user; without tool results.
    pub fn last_user(&self) -> String {
        self.messages()
            .filter(|message| message["role"] == "user")
            .last()
            .map(|message| text_of(&message["content"]))
            .unwrap_or_default()
    }

    /// The names of the tools that are offered.
    pub fn tools(&self) -> Vec<&str> {
        let tools = self.body["tools"].as_array().map(Vec::as_slice);
        tools
            .unwrap_or_default()
            .iter()
            .filter_map(|tool| tool["name"].as_str())
            .collect()
    }

    /// The results of tools in the whole conversation, oldest first.
    pub fn tool_results(&self) -> Vec<ToolResult> {
        let mut names: Vec<(&str, &str)> = Vec::new();
        let mut results = Vec::new();
        for message in self.messages() {
            for block in message["content"].as_array().into_iter().flatten() {
                match block["type"].as_str() {
                    Some("tool_use") => names.push((
                        block["id"].as_str().unwrap_or_default(),
                        block["name"].as_str().unwrap_or_default(),
                    )),
                    Some("tool_result") => {
                        let id = block["tool_use_id"].as_str().unwrap_or_default();
                        let name = names.iter().rev().find(|(known, _)| *known == id);
                        results.push(ToolResult {
                            id: id.to_owned(),
                            name: name.map(|(_, name)| *name).unwrap_or_default().to_owned(),
                            text: text_of(&block["content"]),
                            is_error: block["is_error"] == true,
                        });
                    }
                    Some(_) | None => {}
                }
            }
        }
        results
    }

    /// The newest result of a tool, if the conversation has any.
    pub fn last_tool_result(&self) -> Option<ToolResult> {
        self.tool_results().pop()
    }

    /// What became of the reply so far.
    pub fn outcome(&self) -> Outcome {
        match self.outcome.load(Ordering::SeqCst) {
            0 => Outcome::UnderWay,
            1 => Outcome::Written,
            _ => Outcome::Abandoned,
        }
    }

    fn messages(&self) -> impl Iterator<Item = &Value> {
        self.body["messages"].as_array().into_iter().flatten()
    }
}

/// The texts in a content: a text, or a list of blocks.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts: Vec<&str> = blocks
                .iter()
                .filter_map(|block| block["text"].as_str())
                .collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}
