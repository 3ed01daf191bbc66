//! Coding agents: command-line programs that read and edit files on their own, such as Claude Code. Wrapped so that one sees
//! what it may see, changes what it may change, and is trusted in nothing.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::StoreError;
use super::relay::RelayError;
use super::sandbox::SandboxError;
use crate::error::{Classified, ErrorCode, Retry};
use crate::ids::JobId;
use crate::model::project::ModelSpec;
use crate::model::proposal::LintFinding;
use crate::model::session::{SessionEnd, SessionId, SessionRecord};
use crate::model::task::Fence;
use crate::model::variant::VariantTree;
use crate::money::{MicroUsd, Spend, SpendRole};

/// A server of tools for a session: a Unix socket that speaks MCP after a first line with the token.
#[derive(Clone)]
pub struct AgentTools {
    /// The socket on the host.
    pub socket: std::path::PathBuf,
    /// What the session shows to be let in. Worth nothing outside the session.
    pub token: String,
    /// The tools' names, which the session may use without asking.
    pub names: Vec<String>,
}

impl std::fmt::Debug for AgentTools {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentTools")
            .field("socket", &self.socket)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Bounds of a session, all its turns together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentLimits {
    /// Time on the wall, while a prompt is worked at.
    pub wall: Duration,
    /// Money, within the job's own cap.
    pub cost: Option<MicroUsd>,
}

/// A session to be opened.
#[derive(Debug, Clone)]
pub struct AgentRequest {
    /// Its id.
    pub id: SessionId,
    /// The job that pays.
    pub job: JobId,
    /// The claimed task that runs it.
    pub fence: Fence,
    /// As whom it spends.
    pub role: SpendRole,
    /// The entry of `models:`, for messages.
    pub entry: String,
    /// The model and how it is reached.
    pub model: ModelSpec,
    /// Instructions that hold for the whole session.
    pub system: String,
    /// The files it starts from, shown as `pipeline/`.
    pub tree: VariantTree,
    /// Whether it may change them.
    pub writable: bool,
    /// JSON Schema of what it answers with at the end.
    pub schema: Value,
    /// Its bounds.
    pub limits: AgentLimits,
}

/// What became of one prompt.
#[derive(Debug, Clone)]
pub struct AgentTurn {
    /// How it ended.
    pub end: SessionEnd,
    /// What it answered with, where it did: not checked against the schema here.
    pub answer: Option<Value>,
    /// The files as they are now, for a writable session. What the rules for files refuse is in `refusals` and is not in
    /// the tree.
    pub tree: VariantTree,
    /// Files that the rules refuse: links, devices, binary files, files that are too large, files outside `pipeline/`.
    pub refusals: Vec<LintFinding>,
    /// What this prompt cost.
    pub spend: Spend,
}

/// Why a session could not be run; not what the agent did wrong, which is an [`AgentTurn`].
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The program is not there, is too old, or its model is not set up.
    #[error("{message}")]
    Config {
        /// What to change.
        message: String,
    },
    /// The sandbox failed.
    #[error("the session could not be run in a sandbox")]
    Sandbox(#[from] SandboxError),
    /// The relay failed.
    #[error("the session's model cannot be reached")]
    Relay(#[from] RelayError),
    /// The store failed.
    #[error("the session could not be recorded")]
    Store(#[from] StoreError),
    /// The provider failed in a way that may pass, until the program gave up.
    #[error("the session's model failed: {message}")]
    Provider {
        /// The last failure, in one line.
        message: String,
        /// Whether a person must change something first (a wrong key).
        configuration: bool,
    },
    /// The files could not be written or read.
    #[error("{what}")]
    Files {
        /// What failed.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Classified for AgentError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Config { .. } => ErrorCode::FailedPrecondition,
            Self::Sandbox(error) => error.code(),
            Self::Relay(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Provider { configuration, .. } => {
                if *configuration {
                    ErrorCode::Unauthenticated
                } else {
                    ErrorCode::Unavailable
                }
            }
            Self::Files { .. } => ErrorCode::Unavailable,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Config { .. } => Retry::Never,
            Self::Sandbox(error) => error.retry(),
            Self::Relay(error) => error.retry(),
            Self::Store(error) => error.retry(),
            Self::Provider { configuration, .. } => {
                if *configuration {
                    Retry::Never
                } else {
                    Retry::After(Duration::from_secs(5))
                }
            }
            Self::Files { .. } => Retry::Now,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Config { .. } => "AGENT_CONFIG",
            Self::Sandbox(error) => error.reason(),
            Self::Relay(error) => error.reason(),
            Self::Store(error) => error.reason(),
            Self::Provider { .. } => "AGENT_PROVIDER",
            Self::Files { .. } => "AGENT_FILES",
        }
    }
}

/// The files of a session, to be looked at while it runs.
#[async_trait]
pub trait SessionFiles: Send + Sync {
    /// The files as they are now. What the rules for files refuse comes beside and is not in the tree.
    async fn tree(&self) -> Result<(VariantTree, Vec<LintFinding>), AgentError>;
}

/// An open session: a conversation over files.
#[async_trait]
pub trait AgentSession: Send {
    /// A folder of the host that the session sees without being able to write to it: where a tool server's socket goes.
    fn socket_folder(&self) -> &std::path::Path;

    /// Its files, for tools that look at them while it runs.
    fn files(&self) -> std::sync::Arc<dyn SessionFiles>;

    /// Gives it tools besides reading and editing files. Before the first prompt.
    fn attach(&mut self, tools: AgentTools);

    /// Sends a prompt and waits until the agent has ended, or a bound or `stop` ended it; then nothing of it runs. The
    /// conversation so far is kept: a second prompt continues it. `turns` bounds this prompt; time and money bound the
    /// session.
    async fn prompt(
        &mut self,
        text: &str,
        turns: u32,
        stop: &CancellationToken,
    ) -> Result<AgentTurn, AgentError>;

    /// Ends the session, removes its files, and returns its record with the transcript. What it spent is settled.
    async fn close(self: Box<Self>) -> Result<SessionRecord, AgentError>;
}

/// A coding agent.
#[async_trait]
pub trait CodingAgent: Send + Sync {
    /// Its name in records: `claude-code` or `codex`.
    fn name(&self) -> &'static str;

    /// Opens a session: makes its folder and its relay. Starts no process.
    async fn open(&self, request: AgentRequest) -> Result<Box<dyn AgentSession>, AgentError>;
}
