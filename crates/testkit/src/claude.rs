//! The real Claude Code CLI, where it is installed.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Where the Claude Code CLI is: `FAPO_CLAUDE`, else what `make tools` installed, else `claude` on the path.
pub fn claude() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("FAPO_CLAUDE").filter(|named| !named.is_empty()) {
        return Some(PathBuf::from(named)).filter(|named| named.is_file());
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/tools/node_modules/@anthropic-ai/claude-code/bin/claude.exe");
    if let Ok(installed) = installed.canonicalize() {
        return Some(installed);
    }
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join("claude"))
        .find(|program| program.is_file())
}

/// [`claude()`] for a test: where the CLI is not installed, says on standard error, past the test runner's capture, that `test`
/// was skipped.
pub fn claude_or_skip(test: &str) -> Option<PathBuf> {
    let found = claude();
    if found.is_none() {
        // where nobody listens, there is nobody to be told
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {test}: the Claude Code CLI is not installed (`make tools` needs npm; or set FAPO_CLAUDE)"
        );
    }
    found
}
