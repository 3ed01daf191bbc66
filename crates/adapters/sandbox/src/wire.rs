//! What fapo and [`crate::init`] tell each other: one JSON line with the order, then lines with what became of it. The socket
//! is connected before the program is started and belongs to nobody else, so the program cannot speak on it; that it
//! closes tells each side that the other is gone.

use std::path::PathBuf;

use fapo_domain::ports::sandbox::ProcessExit;
use serde::{Deserialize, Serialize};

/// What to run and how to hold it. All paths are those inside.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// How init calls itself.
    pub init: (PathBuf, Vec<String>),
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: PathBuf,
    pub forwards: Vec<ForwardOrder>,
    /// Milliseconds on the wall.
    pub wall_ms: Option<u64>,
    /// Processes at once.
    pub processes: Option<u64>,
    /// Whether init is PID 1 of namespaces of its own.
    pub namespaces: bool,
    /// What stands for `/tmp` without them; removed with the session.
    pub tmp: Option<PathBuf>,
    /// What `init exec` applies to itself before it becomes the program.
    pub hold: Hold,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ForwardOrder {
    pub socket: PathBuf,
    pub variable: String,
    pub address: String,
}

/// Rules that the program cannot take off again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub cpu_seconds: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub file_bytes: Option<u64>,
    pub open_files: Option<u64>,
    /// RLIMIT_NPROC; only where the kernel counts per session.
    pub processes: Option<u64>,
    /// Landlock: what it may read and execute.
    pub read: Vec<PathBuf>,
    /// Landlock: what it may change.
    pub write: Vec<PathBuf>,
    /// Landlock: TCP ports it may connect to.
    pub connect: Vec<u16>,
    /// Landlock: whether it may listen on TCP ports.
    pub listen: bool,
    /// Whether it dies with the thread that started it.
    pub die_with_parent: bool,
}

/// What init says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub(crate) enum Report {
    /// The program was started.
    Started,
    /// It was not.
    Refused { why: String },
    /// Most memory resident at once so far.
    Peak { bytes: u64 },
    /// The program ended, or was ended. All else in the session ends with this.
    Ended { exit: ProcessExit, peak: u64 },
}

/// Where things of ours stand inside.
pub(crate) mod inside {
    /// The folder.
    pub(crate) const ROOT: &str = "/run/fapo";
    /// The init program.
    pub(crate) const INIT: &str = "/run/fapo/init";
    /// The socket to fapo.
    pub(crate) const CONTROL: &str = "/run/fapo/control";
}
