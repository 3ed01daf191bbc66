//! The coding agents' programs, where they are on this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use fapo_diagnosis::agent::{
    AgentParts, ClaudeCode, CliAgent, Codex, Installed, MissingProgram, find_claude, find_codex,
};
use fapo_domain::hash::ContentHash;
use fapo_domain::model::project::ProposerBackend;
use fapo_domain::ports::agents::CodingAgent;

use crate::config::Env;

/// The backends that are coding agents.
pub const BACKENDS: [ProposerBackend; 2] = [ProposerBackend::ClaudeCode, ProposerBackend::Codex];

/// The program of a backend on this machine.
///
/// # Errors
/// When it is not there.
pub fn program(backend: ProposerBackend, env: &Env) -> Result<Installed, MissingProgram> {
    let look = |name: &str| env.get(name).map(str::to_owned);
    match backend {
        ProposerBackend::Codex => find_codex(&look),
        ProposerBackend::ClaudeCode
        | ProposerBackend::Catalogue
        | ProposerBackend::Reflect
        | ProposerBackend::Replay => find_claude(&look),
    }
}

/// The agents whose programs are here. One that is not here is told of when a job wants it.
pub fn agents(env: &Env, parts: &AgentParts) -> Vec<(ProposerBackend, Arc<dyn CodingAgent>)> {
    BACKENDS
        .into_iter()
        .filter_map(|backend| {
            let installed = program(backend, env).ok()?;
            let agent: Arc<dyn CodingAgent> = if backend == ProposerBackend::Codex {
                Arc::new(CliAgent::new(Codex::new(installed), parts.clone()))
            } else {
                Arc::new(CliAgent::new(ClaudeCode::new(installed), parts.clone()))
            };
            Some((backend, agent))
        })
        .collect()
}

/// The folder in which a project's sessions have theirs. It goes with this.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// That of the project in `dir`: short, because sockets' paths must be, and its own. The first session makes it. What a
    /// process that died left there is removed: call it only while the project's lock is held.
    ///
    /// # Errors
    /// When what was left cannot be removed.
    pub fn of(dir: &Path) -> anyhow::Result<Self> {
        let place = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let hash = ContentHash::of(place.as_os_str().as_encoded_bytes());
        let scratch = std::env::temp_dir().join(format!("fapo-{}", hash.short()));
        match std::fs::remove_dir_all(&scratch) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "cannot remove what an earlier session left in {}",
                        scratch.display()
                    )
                });
            }
        }
        Ok(Self(scratch))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // a session that is still being ended removes its own; what stays is removed at the next start
        let _ = std::fs::remove_dir(&self.0);
    }
}
