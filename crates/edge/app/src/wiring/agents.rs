//! The coding agents' programs, where they are on this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fapo_diagnosis::agent::{
    AgentParts, ClaudeCode, CliAgent, Codex, Installed, MissingProgram, find_claude, find_codex,
    remove_all,
};
use fapo_domain::hash::ContentHash;
use fapo_domain::model::project::{ModelSpec, ProjectSpec, ProposerBackend};
use fapo_domain::money::{Price, SpendRole};
use fapo_domain::ports::agents::{AgentError, CodingAgent};

use crate::config::Env;

/// The backends that are coding agents.
pub const BACKENDS: [ProposerBackend; 2] = [ProposerBackend::ClaudeCode, ProposerBackend::Codex];

/// A coding agent that a project wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What for: to propose, to review, or to read failures.
    pub role: SpendRole,
    /// Which one.
    pub backend: ProposerBackend,
    /// What messages call its model: an entry of `models:`, or the model's own name.
    pub entry: String,
    /// Its model, and how that is reached.
    pub model: ModelSpec,
}

impl Wanted {
    fn new(project: &ProjectSpec, role: SpendRole, backend: ProposerBackend) -> Self {
        let named = match role {
            SpendRole::Reviewer => project.reviewing_agent_model(backend),
            SpendRole::Diagnosis => project.reading_agent_model(backend),
            SpendRole::Task | SpendRole::Judge | SpendRole::Proposer => {
                project.proposer.model.as_deref()
            }
        };
        let (entry, model) = project.agent_model(backend, named);
        Self {
            role,
            backend,
            entry,
            model,
        }
    }

    /// What is wanted, in words: `claude-code` is to propose.
    pub fn words(&self) -> String {
        let verb = match self.role {
            SpendRole::Reviewer => "review",
            SpendRole::Diagnosis => "read failures",
            SpendRole::Task | SpendRole::Judge | SpendRole::Proposer => "propose",
        };
        format!("`{}` is to {verb}", self.backend.as_str())
    }

    /// Whether its dollars are to be bounded and nobody knows what its model costs. What a mere word such as `opus` stands for is
    /// known to the program alone; the relay asks for the price then.
    pub fn is_unpriced(
        &self,
        project: &ProjectSpec,
        price: &dyn Fn(&ModelSpec) -> Option<Price>,
    ) -> bool {
        let own = match self.role {
            SpendRole::Reviewer => project.reviewer.usd,
            SpendRole::Task | SpendRole::Judge | SpendRole::Diagnosis | SpendRole::Proposer => {
                project.proposer.usd
            }
        };
        let is_capped = own.or(project.budget.usd).is_some();
        is_capped && fapo_llm::is_exact(&self.model) && price(&self.model).is_none()
    }

    /// That its program is not on this machine; `None` where it is.
    pub fn missing(&self, env: &Env) -> Option<AgentError> {
        let missing = program(self.backend, env).err()?;
        Some(AgentError::Config {
            message: format!("{}, and {missing}", self.words()),
        })
    }
}

/// The coding agents that a project wants, the proposer first.
pub fn wanted(project: &ProjectSpec) -> Vec<Wanted> {
    let proposer = Some(project.proposer.backend).filter(|backend| backend.is_agent());
    let reviewer = project.reviewer_backend().agent();
    let reader = project.diagnosis.reader.backend.agent();
    [
        (SpendRole::Proposer, proposer),
        (SpendRole::Reviewer, reviewer),
        (SpendRole::Diagnosis, reader),
    ]
    .into_iter()
    .filter_map(|(role, backend)| Some(Wanted::new(project, role, backend?)))
    .collect()
}

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
    /// That of a server's process: its own, by the name that is its owner's in leases.
    pub fn of_process(owner: &str) -> Self {
        let hash = ContentHash::of(owner.as_bytes());
        Self(std::env::temp_dir().join(format!("fapo-{}", hash.short())))
    }

    /// That of the project in `dir`: short, because sockets' paths must be, and its own. The first session makes it. What a
    /// process that died left there is removed: call it only while the project's lock is held.
    /// What cannot be removed is warned of.
    pub fn of(dir: &Path) -> Self {
        let place = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let hash = ContentHash::of(place.as_os_str().as_encoded_bytes());
        let scratch = std::env::temp_dir().join(format!("fapo-{}", hash.short()));
        if let Err(error) = remove_all(&scratch) {
            // each session has a folder of its own, so that what stays is in nobody's way
            tracing::warn!(folder = %scratch.display(), %error, "what an earlier session left stays");
        }
        Self(scratch)
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
