//! Sessions of coding agents, as they are recorded.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::hash::{ContentHash, Hasher, InvalidHash};
use crate::ids::{JobId, TaskId};
use crate::model::task::Fence;
use crate::money::{Spend, SpendRole};
use crate::ports::sandbox::Confinement;

/// A session of a coding agent; derived from the claim that runs it, so each claim of a task has its own.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
#[schemars(inline)]
pub struct SessionId(pub ContentHash);

impl SessionId {
    /// The session numbered `number` of a claim.
    pub fn derive(fence: Fence, number: u32) -> Self {
        let mut hasher = Hasher::new("session/v1");
        hasher
            .hash(&fence.task.0)
            .number(fence.epoch)
            .number(u64::from(number));
        Self(hasher.finish())
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0.short())
    }
}

impl FromStr for SessionId {
    type Err = InvalidHash;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// How a session, or one prompt of it, ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum SessionEnd {
    /// With an answer.
    Answered,
    /// By itself, without an answer.
    NoAnswer,
    /// Its turns were used up.
    OutOfTurns,
    /// Its time was over; it was killed.
    OutOfTime,
    /// Its money, or the job's, was used up.
    OutOfMoney,
    /// It was flooding its output, and was killed.
    Flooded,
    /// It was cancelled, and was killed.
    Cancelled,
    /// The program failed.
    Failed {
        /// What was seen, in one line.
        message: String,
    },
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("answered"),
            Self::NoAnswer => f.write_str("ended without an answer"),
            Self::OutOfTurns => f.write_str("ran out of turns"),
            Self::OutOfTime => f.write_str("ran out of time"),
            Self::OutOfMoney => f.write_str("ran out of money"),
            Self::Flooded => f.write_str("flooded its output and was killed"),
            Self::Cancelled => f.write_str("was cancelled"),
            Self::Failed { message } => write!(f, "failed: {message}"),
        }
    }
}

/// What is kept of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The session.
    pub id: SessionId,
    /// The job that paid.
    pub job: JobId,
    /// The task that ran it.
    pub task: TaskId,
    /// As whom it spent.
    pub role: SpendRole,
    /// `claude-code` or `codex`.
    pub agent: String,
    /// What the program calls its version.
    pub version: Option<String>,
    /// The model, as it was asked for.
    pub model: String,
    /// How it was held.
    pub confinement: Confinement,
    /// Hash over the instructions and prompts it was given.
    pub prompt_hash: ContentHash,
    /// When it was opened.
    pub started_at: Timestamp,
    /// When it was closed.
    pub ended_at: Timestamp,
    /// How it ended: the last prompt's end.
    pub end: SessionEnd,
    /// Prompts it was sent: 1, or 2 with a continuation.
    pub prompts: u32,
    /// Turns of the model.
    pub turns: u32,
    /// Calls of tools, by name, in order of first use.
    pub tool_calls: Vec<(String, u32)>,
    /// What was refused to it on the way: requests at the relay, permissions, files; in words, oldest first.
    pub refused: Vec<String>,
    /// What it cost.
    pub spend: Spend,
    /// Milliseconds from the start of the program to its first request to the model.
    pub first_request_ms: Option<u64>,
    /// Microseconds from the end of the program until its files were read back, over all prompts.
    pub harvest_us: u64,
    /// Most memory resident at once, where that can be told: bytes.
    pub peak_memory: Option<u64>,
    /// Every line the program wrote, prompts included, as JSON lines: the blob that holds it, once stored.
    pub transcript: Option<ContentHash>,
    /// The transcript itself, until it is stored; no part of the row.
    #[serde(skip)]
    pub transcript_text: Vec<u8>,
}
