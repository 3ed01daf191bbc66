//! The real Codex CLI, where it is installed.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Where the Codex CLI is: `FAPO_CODEX`, else what `make tools` installed, else `codex` on the path.
pub fn codex() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("FAPO_CODEX").filter(|named| !named.is_empty()) {
        return Some(PathBuf::from(named)).filter(|named| named.is_file());
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/tools/node_modules/@openai/codex/bin/codex.js");
    if let Ok(installed) = installed.canonicalize() {
        return Some(installed);
    }
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join("codex"))
        .find(|program| program.is_file())
}

/// [`codex()`] for a test: where the CLI is not installed, says on standard error, past the test runner's capture, that `test`
/// was skipped.
pub fn codex_or_skip(test: &str) -> Option<PathBuf> {
    let found = codex();
    if found.is_none() {
        // where nobody listens, there is nobody to be told
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {test}: the Codex CLI is not installed (`npm install --prefix target/tools @openai/codex`; or set FAPO_CODEX)"
        );
    }
    found
}
