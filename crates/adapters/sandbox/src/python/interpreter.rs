//! Where Python is, and what of the host it needs to be shown.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fapo_domain::ports::code::CodeError;
use fapo_domain::ports::sandbox::Mount;
use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::bubblewrap::SYSTEM;
use crate::config::find_program;
use crate::hidden::{shows, within};

/// What an interpreter is asked about itself.
const QUESTION: &str = "import json, sys, sysconfig
print(json.dumps({'program': sys.executable, 'version': sys.version.split()[0],
    'folders': [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix,
                *(sysconfig.get_path(name) for name in ('stdlib', 'platstdlib', 'purelib', 'platlib'))]}))";

/// How long it may take to answer; a shim that looks for versions takes a second on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
struct Answer {
    program: PathBuf,
    version: String,
    folders: Vec<PathBuf>,
}

/// An interpreter that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub program: PathBuf,
    pub version: String,
    /// What it needs besides the system's folders.
    pub mounts: Vec<Mount>,
}

/// The Python of the host that user code runs with.
///
/// It is asked once where it really is: `python3` is often a shim, or a virtual environment that leans on another
/// installation. It runs outside the sandbox for that, so it must be one that the operator chose; no user code is run.
pub struct Interpreter {
    named: Option<PathBuf>,
    path: OsString,
    hidden: Vec<PathBuf>,
    found: OnceCell<Found>,
}

impl Interpreter {
    /// The program named, or else `python3` in the folders of `path`, which is written like the variable `PATH`. Nothing
    /// is looked for yet.
    pub fn new(named: Option<PathBuf>, path: OsString) -> Self {
        Self {
            named,
            path,
            hidden: Vec::new(),
            found: OnceCell::new(),
        }
    }

    /// Folders that the sandbox hides, [`SandboxConfig::hidden`](crate::SandboxConfig::hidden): what Python needs of them is
    /// shown, and a Python that they lie within is refused.
    #[must_use]
    pub fn hiding(mut self, hidden: Vec<PathBuf>) -> Self {
        self.hidden = hidden;
        self
    }

    /// Where it is and which version it has, for people.
    pub async fn describe(&self) -> Result<(PathBuf, String), CodeError> {
        let found = self.found("python3").await?;
        Ok((found.program.clone(), found.version.clone()))
    }

    /// Looks for it once; `file` is for the error.
    pub(super) async fn found(&self, file: &str) -> Result<&Found, CodeError> {
        let found = self.found.get_or_try_init(|| self.look()).await;
        found.map_err(|message| CodeError::Unavailable {
            file: file.to_owned(),
            message,
            configuration: true,
        })
    }

    async fn look(&self) -> Result<Found, String> {
        let program = match &self.named {
            Some(named) => named.clone(),
            None => find_program("python3", &self.path)
                .ok_or("there is no python3 on the path; install it, or name the interpreter")?,
        };
        let failed = |why: String| format!("{} is no usable Python: {why}", program.display());
        let asked = Command::new(&program)
            .args(["-I", "-B", "-c", QUESTION])
            .stdin(Stdio::null())
            .current_dir("/")
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, asked)
            .await
            .map_err(|_| failed(format!("no answer within {} s", PATIENCE.as_secs())))?
            .map_err(|error| failed(error.to_string()))?;
        let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.trim().lines().last().unwrap_or("it said nothing");
            failed(last.to_owned())
        })?;
        let mounts = mounts(&answer, &self.hidden);
        for mount in &mounts {
            if let Some(folder) = within(&mount.host, &self.hidden) {
                return Err(failed(shows(&mount.host, folder)));
            }
        }
        Ok(Found {
            mounts,
            program: answer.program,
            version: answer.version,
        })
    }
}

/// The folders that are not shown with the system's, each once, without those that lie within another.
fn mounts(answer: &Answer, hidden: &[PathBuf]) -> Vec<Mount> {
    let mut folders: Vec<&PathBuf> = answer.folders.iter().collect();
    folders.sort();
    let mut mounts: Vec<Mount> = Vec::new();
    for folder in folders {
        let is_hidden = hidden.iter().any(|hidden| folder.starts_with(hidden));
        let shown = is_system(folder) && !is_hidden
            || mounts.iter().any(|mount| folder.starts_with(&mount.host));
        if folder.is_absolute() && folder.parent().is_some() && folder.is_dir() && !shown {
            mounts.push(Mount::same(folder));
        }
    }
    mounts
}

fn is_system(folder: &Path) -> bool {
    SYSTEM.iter().any(|system| folder.starts_with(system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_outside_the_system_is_mounted_and_only_once() {
        let home = tempfile::tempdir().unwrap();
        let (inner, other) = (home.path().join("a/lib"), home.path().join("b"));
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        let answer = Answer {
            program: "/usr/bin/python3".into(),
            version: "3".into(),
            folders: vec![
                inner,
                home.path().join("a"),
                "/usr".into(),
                "/usr/lib/python3".into(),
                "/".into(),
                "relative".into(),
                home.path().join("nowhere"),
                other.clone(),
                other.clone(),
            ],
        };
        let wanted = [Mount::same(home.path().join("a")), Mount::same(other)];
        assert_eq!(mounts(&answer, &[]), wanted);
    }

    #[test]
    fn what_python_needs_of_a_hidden_folder_within_the_system_is_mounted() {
        let answer = Answer {
            program: "/usr/bin/python3".into(),
            version: "3".into(),
            folders: vec!["/usr/bin".into(), "/usr/lib".into()],
        };
        let wanted = [Mount::same("/usr/lib")];
        assert_eq!(mounts(&answer, &["/usr/lib".into()]), wanted);
    }
}
