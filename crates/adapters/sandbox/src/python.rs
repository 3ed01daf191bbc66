//! Python that is not ours, in sandboxed processes without network.

mod interpreter;
mod pool;
mod scripts;
mod worker;

pub use interpreter::Interpreter;
pub use pool::{PythonConfig, PythonPool};
pub use scripts::PythonScripts;

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

/// The whole environment of a Python process. Hashes do not depend on the run, so the same code on the same input does the
/// same; numeric libraries start no threads, which would each take address space.
fn environment() -> Vec<(String, String)> {
    [
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("MALLOC_ARENA_MAX", "2"),
        ("MKL_NUM_THREADS", "1"),
        ("OMP_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONUTF8", "1"),
        ("TMPDIR", "/tmp"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Arguments before the script: no bytecode is written, nothing of a user's own site is loaded. Not `-I`, which would leave
/// out our environment too; there is no other.
const ISOLATED: [&str; 2] = ["-B", "-s"];

/// Writes files into `folder`. A path that would lead out of it is an error.
async fn write_files(folder: &Path, files: &BTreeMap<String, Arc<[u8]>>) -> io::Result<()> {
    for (path, content) in files {
        let inside = Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !inside {
            let why = format!("{path:?} is not a path within the files");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let target = folder.join(path);
        if let Some(parent) = target.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        tokio::fs::write(target, content).await?;
    }
    Ok(())
}

/// A private folder that is removed with this.
fn folder(prefix: &str) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix(prefix).tempdir()
}
