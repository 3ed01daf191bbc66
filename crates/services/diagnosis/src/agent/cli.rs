//! What a session needs to know of a program: how it is called for a prompt, and what its lines come to.

use std::path::Path;

use fapo_domain::ports::agents::{AgentRequest, AgentTools};
use serde_json::Value;

use super::program::Installed;

/// Most notes of refusals kept.
pub(super) const MOST_REFUSED: usize = 50;
/// Most names of tools counted.
const MOST_TOOLS: usize = 100;

/// What one prompt is to be run with, in terms that each program translates.
pub struct Asked<'a> {
    /// The session.
    pub request: &'a AgentRequest,
    /// The text.
    pub text: &'a str,
    /// Most turns.
    pub turns: u32,
    /// The conversation to go on with, as the program named it.
    pub conversation: Option<&'a str>,
    /// Its tools.
    pub tools: Option<&'a AgentTools>,
    /// The command that joins standard streams to a socket, with the socket's path inside as its last argument.
    pub bridge: Vec<String>,
    /// The session's HOME, inside.
    pub home: &'a Path,
}

/// How a program is called for a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, beside HOME, PATH and the relay's address.
    pub env: Vec<(String, String)>,
    /// What it reads from standard input.
    pub stdin: String,
    /// Files to be put into its HOME, by relative path; readable by their owner only.
    pub home: Vec<(String, String)>,
}

/// What a program's lines came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// What the conversation can be continued under.
    pub conversation: Option<String>,
    /// The program's version.
    pub version: Option<String>,
    /// Turns of the model.
    pub turns: u32,
    /// Calls of tools, by name in order of first use.
    pub tool_calls: Vec<(String, u32)>,
    /// What was refused to it, in words.
    pub refused: Vec<String>,
    /// What it answered with.
    pub answer: Option<Value>,
    /// How it ended, as far as its lines say.
    pub outcome: Outcome,
}

impl Report {
    /// Counts a call of a tool.
    pub fn count_tool(&mut self, name: &str) {
        self.count_tools(name, 1);
    }

    pub(super) fn count_tools(&mut self, name: &str, calls: u32) {
        if let Some((_, count)) = self.tool_calls.iter_mut().find(|(known, _)| known == name) {
            *count += calls;
        } else if self.tool_calls.len() < MOST_TOOLS {
            self.tool_calls.push((name.to_owned(), calls));
        }
    }

    /// Notes a refusal.
    pub fn note_refusal(&mut self, what: String) {
        if self.refused.len() < MOST_REFUSED {
            self.refused.push(what);
        }
    }
}

/// How a program's lines ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Outcome {
    /// They broke off: no last word.
    #[default]
    BrokenOff,
    /// It is done; whether with an answer is another matter.
    Done,
    /// Its turns were used up.
    OutOfTurns,
    /// Its money was used up, by its own count.
    OutOfMoney,
    /// The provider failed.
    Provider {
        /// The HTTP status, where there was one.
        status: Option<u16>,
        /// What was said, in one line.
        message: String,
    },
    /// It failed by itself.
    Failed {
        /// What was said, in one line.
        message: String,
    },
}

/// Reads a program's lines, in order.
pub trait Reader: Send {
    /// Takes in a line. True when nothing good can come any more and the program is to be ended.
    fn read(&mut self, line: &[u8]) -> bool;

    /// What they came to.
    fn finish(&mut self) -> Report;
}

/// What differs between the programs.
pub trait Cli: Send + Sync + 'static {
    /// Its name in records.
    fn name(&self) -> &'static str;

    /// The program.
    fn installed(&self) -> &Installed;

    /// How the address of its model's endpoint is handed to it: a variable, and the address with `{port}`.
    fn endpoint(&self) -> (&'static str, &'static str);

    /// The call for a prompt.
    fn call(&self, asked: &Asked<'_>) -> Call;

    /// A reader for one prompt's lines.
    fn reader(&self) -> Box<dyn Reader>;

    /// Whether the program keeps the bound of turns by itself and its lines tell them. Where not, the replies that went
    /// through the relay are counted, and the program is ended after one too many.
    fn counts_turns(&self) -> bool {
        true
    }
}
