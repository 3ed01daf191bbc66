//! Untrusted processes: coding agents, code steps, analyses. What such a process may see, reach and use up is said here and
//! enforced by whoever implements this, not by the process.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::{Classified, ErrorCode, Retry};

/// A place of the host shown inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is on the host; absolute.
    pub host: PathBuf,
    /// Where it is inside; absolute.
    pub inside: PathBuf,
}

impl Mount {
    /// A place shown under its own path.
    pub fn same(path: impl Into<PathBuf>) -> Self {
        let host = path.into();
        Self {
            inside: host.clone(),
            host,
        }
    }
}

/// A loopback port inside that leads to a Unix socket of the host: the only network a process gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The socket on the host; absolute.
    pub socket: PathBuf,
    /// The variable of the process's environment that holds the address.
    pub variable: String,
    /// The address, with `{port}` for the port that was free.
    pub address: String,
}

/// What one process may use up. Each bound is enforced from outside the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Time on the wall; the whole group is killed after it.
    pub wall: Option<Duration>,
    /// Seconds of CPU of each process (RLIMIT_CPU).
    pub cpu_seconds: Option<u64>,
    /// Bytes of address space of each process (RLIMIT_AS).
    pub memory_bytes: Option<u64>,
    /// Bytes of the largest file it may write (RLIMIT_FSIZE).
    pub file_bytes: Option<u64>,
    /// Open files of each process (RLIMIT_NOFILE).
    pub open_files: Option<u64>,
    /// Processes and threads at once, over all of the session: the session is killed where there are more (and
    /// RLIMIT_NPROC refuses them, where the kernel counts it per session).
    pub processes: Option<u64>,
}

/// One process to be started, with everything it gets. Nothing is inherited: no environment, no file, no descriptor but
/// the three standard streams.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// The program; absolute, as it is called inside.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// The working folder, inside.
    pub cwd: PathBuf,
    /// Shown and not writable. Programs need their libraries: implementations show the system's (`/usr`, `/lib`, and the
    /// few files of `/etc` that a process needs to run) by themselves.
    pub read_only: Vec<Mount>,
    /// Shown and writable.
    pub writable: Vec<Mount>,
    /// Its network: none but these.
    pub forwards: Vec<Forward>,
    /// What it may use up.
    pub limits: ProcessLimits,
}

/// How well a process is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Own mount, PID, network, IPC and user namespaces (bubblewrap).
    pub namespaces: bool,
    /// Landlock rules behind them; the ABI version of the kernel, 0 where it has none.
    pub landlock_abi: u32,
    /// In words, for people: what holds it, or why nothing does.
    pub detail: String,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "exit", rename_all = "snake_case")]
pub enum ProcessExit {
    /// By itself.
    Code {
        /// Its exit code.
        code: i32,
    },
    /// By a signal: 9 for a crash by memory or a kill from elsewhere, 24 for too much CPU time (SIGXCPU).
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// Killed because its time on the wall was over.
    TimedOut,
    /// Killed because its owner asked for it.
    Killed,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No sandbox can be had, and the operator did not allow running without one.
    #[error("no sandbox can be had: {why}")]
    Unavailable {
        /// What is missing and what to do.
        why: String,
    },
    /// The process could not be started.
    #[error("{program} could not be started")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Classified for SandboxError {
    fn code(&self) -> ErrorCode {
        ErrorCode::FailedPrecondition
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "SANDBOX_UNAVAILABLE",
            Self::Spawn { .. } => "SANDBOX_FAILED",
        }
    }
}

/// The standard streams of a process, each to be taken once.
pub struct Streams {
    /// To its standard input; dropping it closes that.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// From its standard output.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// From its standard error.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
}

/// A running process. Dropping it kills the whole group. When the process that owns it dies, by whatever means, the group
/// is killed by the kernel.
#[async_trait]
pub trait SandboxedProcess: Send {
    /// Its standard streams; `None` when they were taken before.
    fn streams(&mut self) -> Option<Streams>;

    /// Waits for its end, which [`ProcessLimits::wall`] bounds. Nothing of the group is left when it returns. May be called
    /// again: the answer stays. Cancelling it loses nothing.
    async fn wait(&mut self) -> Result<ProcessExit, SandboxError>;

    /// Kills the whole group and waits until nothing of it is left. Harmless when it has ended.
    async fn kill(&mut self) -> Result<ProcessExit, SandboxError>;

    /// Most memory resident at once so far, over the processes of the group, where that can be told: bytes.
    fn peak_memory(&self) -> Option<u64>;
}

/// Starts untrusted processes.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// How a process would be held. Tries it once (starts a process that does nothing) and remembers that it can be had.
    /// `Unavailable` where none can be had and the operator did not allow that; then the next call tries again.
    async fn confinement(&self) -> Result<Confinement, SandboxError>;

    /// Starts a process.
    async fn spawn(&self, spec: ProcessSpec) -> Result<Box<dyn SandboxedProcess>, SandboxError>;

    /// Where a process sees this place: where the mount says behind namespaces; without them there is no other place than
    /// the host's own. Whoever names places in a program, an argument, a variable or a file asks here. `/tmp` is private
    /// everywhere: without namespaces a variable, or the working folder, that is `/tmp` means a folder of the session.
    async fn inside(&self, mount: &Mount) -> Result<PathBuf, SandboxError> {
        let namespaces = self.confinement().await?.namespaces;
        Ok(if namespaces {
            &mount.inside
        } else {
            &mount.host
        }
        .clone())
    }

    /// The command, inside, that joins its standard streams to a Unix socket shown inside: `program` and leading arguments,
    /// to which the socket's path is added. The first line sent is the value of `FAPO_SESSION_TOKEN`. To be asked after
    /// [`Sandbox::confinement`], which it depends on.
    fn bridge(&self) -> (PathBuf, Vec<String>);
}
