//! Python that is not ours: `python` steps and `python` scorers, run by workers that are started once and asked many times;
//! and scripts that a session writes to analyse what it may see, each run once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::sandbox::ProcessExit;
use crate::error::{Classified, ErrorCode, Retry};
use crate::hash::ContentHash;

/// A function of a Python file, with the files that it may import. Equal units share workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeUnit {
    /// The file that holds the function, relative to the files' root, such as `steps/clean.py`.
    pub file: String,
    /// The function, such as `run`; it takes one dict and returns what JSON can hold.
    pub function: String,
    /// All files the code may read or import, by path relative to their root.
    pub files: BTreeMap<String, Arc<[u8]>>,
    /// Hash over file, function, files and memory.
    pub hash: ContentHash,
    /// Bytes of address space of a worker.
    pub memory_bytes: u64,
}

impl CodeUnit {
    /// A unit; its hash is computed here.
    pub fn new(
        file: impl Into<String>,
        function: impl Into<String>,
        files: BTreeMap<String, Arc<[u8]>>,
        memory_bytes: u64,
    ) -> Self {
        let (file, function) = (file.into(), function.into());
        let mut hasher = crate::hash::Hasher::new("code-unit/v1");
        hasher
            .part(file.as_bytes())
            .part(function.as_bytes())
            .number(memory_bytes);
        for (path, content) in &files {
            hasher.part(path.as_bytes()).hash(&ContentHash::of(content));
        }
        Self {
            hash: hasher.finish(),
            file,
            function,
            files,
            memory_bytes,
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeReply {
    /// What the function returned.
    pub output: Value,
    /// What it printed, cut to a few lines.
    pub printed: String,
    /// How long the call took, without waiting for a worker.
    pub took: Duration,
}

/// Why code gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// The code raised an exception, could not be loaded, or returned what JSON cannot hold: the candidate's own fault.
    #[error("{file}: {message}")]
    Failed {
        /// The file.
        file: String,
        /// The exception and where it was raised, in one line.
        message: String,
    },
    /// The worker died while it worked on this call (a crash, too much memory, `os._exit`): the candidate's own fault.
    #[error("{file}: its process died: {message}")]
    Died {
        /// The file.
        file: String,
        /// How.
        message: String,
    },
    /// It took too long and was killed: the candidate's own fault.
    #[error("{file}: no answer within {seconds} s")]
    TimedOut {
        /// The file.
        file: String,
        /// The limit.
        seconds: u64,
    },
    /// No worker can be had: not the candidate's fault. The case's result is `missing`.
    #[error("{file}: no worker can be had: {message}")]
    Unavailable {
        /// The file.
        file: String,
        /// Why, and what to do.
        message: String,
        /// Whether a person must change something first.
        configuration: bool,
    },
}

impl Classified for CodeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Failed { .. } | Self::Died { .. } => ErrorCode::InvalidArgument,
            Self::TimedOut { .. } => ErrorCode::Timeout,
            Self::Unavailable { configuration, .. } => {
                if *configuration {
                    ErrorCode::FailedPrecondition
                } else {
                    ErrorCode::Unavailable
                }
            }
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Failed { .. } | Self::Died { .. } | Self::TimedOut { .. } => Retry::Never,
            Self::Unavailable { configuration, .. } => {
                if *configuration {
                    Retry::Never
                } else {
                    Retry::After(Duration::from_secs(1))
                }
            }
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "CODE_FAILED",
            Self::Died { .. } => "CODE_DIED",
            Self::TimedOut { .. } => "CODE_TIMED_OUT",
            Self::Unavailable { .. } => "CODE_UNAVAILABLE",
        }
    }
}

/// Runs a user's code in sandboxed workers without network.
#[async_trait]
pub trait CodeRunner: Send + Sync {
    /// Calls the unit's function with `input`. Workers are reused; a worker that crashed, ran out of time or memory is
    /// replaced. Repeating is harmless: a worker keeps no state that the runner promises. Dropping the future kills the
    /// worker that works on it.
    async fn call(
        &self,
        unit: &Arc<CodeUnit>,
        input: &Value,
        time: Duration,
    ) -> Result<CodeReply, CodeError>;
}

/// A Python script to be run once, in a process of its own.
#[derive(Debug, Clone)]
pub struct ScriptRequest {
    /// Its text; run as `script.py`.
    pub source: String,
    /// Files it may read, by path relative to its working folder, where they are shown and not writable. Modules among
    /// them can be imported.
    pub files: BTreeMap<String, Arc<[u8]>>,
    /// Time on the wall; it is killed after that.
    pub time: Duration,
    /// Bytes of address space.
    pub memory_bytes: u64,
    /// Most bytes kept of its standard output, and as many of its standard error; what is over is read and dropped.
    pub output_bytes: usize,
}

/// How a script ended, and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptReply {
    /// Its standard output. What is not UTF-8 is replaced.
    pub stdout: String,
    /// Its standard error, with the traceback of an exception that nobody caught.
    pub stderr: String,
    /// How it ended; `TimedOut` where the time was over, which is an answer like others.
    pub exit: ProcessExit,
    /// Whether either was cut at `output_bytes`.
    pub truncated: bool,
}

/// Runs scripts in a sandbox without network.
#[async_trait]
pub trait ScriptRunner: Send + Sync {
    /// Runs a script to its end. Whatever the script does is a reply; the only error is
    /// [`CodeError::Unavailable`]. Repeating is harmless. Dropping the future kills it.
    async fn run(&self, script: ScriptRequest) -> Result<ScriptReply, CodeError>;
}
