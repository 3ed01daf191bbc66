//! Sessions of coding agents.

use fapo_domain::hash::ContentHash;
use fapo_domain::ids::TaskId;
use fapo_domain::model::session::{SessionId, SessionRecord};
use fapo_domain::money::SpendRole;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Moment, SpendView};

/// What is kept of a session; its transcript is not here.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SessionView {
    /// The session.
    pub id: SessionId,
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
    /// How it was held, in words.
    pub confinement: String,
    /// When it was opened.
    pub started_at: Moment,
    /// When it was closed.
    pub ended_at: Moment,
    /// How it ended, in words.
    pub end: String,
    /// Prompts it was sent.
    pub prompts: u32,
    /// Turns of the model.
    pub turns: u32,
    /// Calls of tools, by name, in order of first use.
    pub tool_calls: Vec<ToolCount>,
    /// What was refused to it on the way, oldest first.
    pub refused: Vec<String>,
    /// What it cost.
    pub spend: SpendView,
    /// Most memory resident at once, in bytes.
    pub peak_memory: Option<u64>,
    /// The hash of its transcript.
    pub transcript: Option<ContentHash>,
}

/// How often a tool was called.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ToolCount {
    /// The tool.
    pub tool: String,
    /// How often.
    pub count: u32,
}

impl From<SessionRecord> for SessionView {
    fn from(session: SessionRecord) -> Self {
        Self {
            id: session.id,
            task: session.task,
            role: session.role,
            agent: session.agent,
            version: session.version,
            model: session.model,
            confinement: session.confinement.detail,
            started_at: session.started_at.into(),
            ended_at: session.ended_at.into(),
            end: session.end.to_string(),
            prompts: session.prompts,
            turns: session.turns,
            tool_calls: session
                .tool_calls
                .into_iter()
                .map(|(tool, count)| ToolCount { tool, count })
                .collect(),
            refused: session.refused,
            spend: session.spend.into(),
            peak_memory: session.peak_memory,
            transcript: session.transcript,
        }
    }
}
