//! What the operator decides about sandboxes.

use std::ffi::OsStr;
use std::path::PathBuf;

/// Whether a process may run without namespaces around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SandboxMode {
    /// Behind namespaces or not at all.
    #[default]
    Required,
    /// Behind namespaces where they can be had, without them elsewhere.
    Preferred,
    /// Without namespaces. Landlock, where the kernel has it, and the limits still hold.
    Off,
}

/// How processes are held.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Whether namespaces are needed.
    pub mode: SandboxMode,
    /// The bubblewrap program, as [`find_program`] finds `bwrap`; `None` where it is not installed.
    pub bwrap: Option<PathBuf>,
    /// The program on the host that is [`crate::init`], and the arguments that make it so: for the product, its own path
    /// and `["sandbox-init"]`.
    pub init: (PathBuf, Vec<String>),
    /// Bytes that the private `/tmp` may hold, and `/dev/shm` as many: both are memory.
    pub tmp_bytes: u64,
    /// Folders, by their real paths, that no process may see, wherever they lie: a project below `/usr`, which every
    /// process sees otherwise. What a process is shown of them by name (a virtual environment) it does see.
    pub hidden: Vec<PathBuf>,
}

impl SandboxConfig {
    /// Namespaces required, a private `/tmp` of at most 1 GiB, nothing hidden.
    pub fn new(bwrap: Option<PathBuf>, init: PathBuf, leading: Vec<String>) -> Self {
        Self {
            mode: SandboxMode::Required,
            bwrap,
            init: (init, leading),
            tmp_bytes: 1 << 30,
            hidden: Vec::new(),
        }
    }
}

/// Finds a program in the folders of `path`, which is written like the variable `PATH`.
pub fn find_program(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|candidate| is_executable(candidate))
}

/// Whether this is a file that we may execute.
pub(crate) fn is_executable(path: &std::path::Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
