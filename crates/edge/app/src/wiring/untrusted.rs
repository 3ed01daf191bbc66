//! What runs things that nobody trusts: the sandbox, Python, and the coding agents' programs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use fapo_diagnosis::agent::{
    AgentParts, ClaudeCode, CliAgent, Installed, MissingProgram, find_claude,
};
use fapo_domain::clock::Clock;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::project::ProposerBackend;
use fapo_domain::ports::agents::CodingAgent;
use fapo_domain::ports::relay::Relays;
use fapo_domain::ports::sandbox::Sandbox;
use fapo_sandbox::{
    Interpreter, ProcessSandbox, PythonScripts, SandboxConfig, SandboxMode, find_program,
};

use crate::config::Env;

/// The command of our own program that is the sandbox's inside.
pub const SANDBOX_INIT: &str = "sandbox-init";
/// The operator's word on sandboxes: `required` (default), `preferred`, or `off`.
pub const SANDBOX: &str = "FAPO_SANDBOX";
/// The Python that runs code steps, code scorers and analyses, where it is not `python3` on `PATH`.
pub const PYTHON: &str = "FAPO_PYTHON";

/// What the operator says about sandboxes.
///
/// # Errors
/// For a word that there is none of.
pub fn sandbox_mode(env: &Env) -> anyhow::Result<SandboxMode> {
    Ok(match env.get(SANDBOX) {
        None | Some("required") => SandboxMode::Required,
        Some("preferred") => SandboxMode::Preferred,
        Some("off") => SandboxMode::Off,
        Some(other) => bail!(
            "{SANDBOX} is `{other}`: it may be `required` (refuse where no sandbox can be had), `preferred` or `off`"
        ),
    })
}

/// The sandbox of this process. Nothing is started before it is needed.
///
/// # Errors
/// When the operator's word is not understood, or our own program cannot be found.
pub fn sandbox(env: &Env) -> anyhow::Result<Arc<dyn Sandbox>> {
    let path = OsString::from(env.get("PATH").unwrap_or_default());
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let mut config = SandboxConfig::new(
        find_program("bwrap", &path),
        own,
        vec![SANDBOX_INIT.to_owned()],
    );
    config.mode = sandbox_mode(env)?;
    Ok(Arc::new(ProcessSandbox::new(config)))
}

/// The Python of this machine. It is looked at when it is first needed.
pub fn interpreter(env: &Env) -> Arc<Interpreter> {
    let path = OsString::from(env.get("PATH").unwrap_or_default());
    Arc::new(Interpreter::new(env.get(PYTHON).map(PathBuf::from), path))
}

/// Scripts of sessions.
pub fn scripts(sandbox: &Arc<dyn Sandbox>, interpreter: &Arc<Interpreter>) -> PythonScripts {
    PythonScripts::new(Arc::clone(sandbox), Arc::clone(interpreter))
}

/// Where the sessions of the project in `dir` have their folders: short, because sockets' paths must be, and its own, because
/// what a dead process left there is removed at the next start.
///
/// # Errors
/// When what was left cannot be removed.
pub fn scratch(dir: &Path) -> anyhow::Result<PathBuf> {
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
    Ok(scratch)
}

/// The program of a backend on this machine.
///
/// # Errors
/// When it is not there.
pub fn program(backend: ProposerBackend, env: &Env) -> Result<Installed, MissingProgram> {
    let look = |name: &str| env.get(name).map(str::to_owned);
    match backend {
        ProposerBackend::Codex => fapo_diagnosis::agent::find_codex(&look),
        ProposerBackend::ClaudeCode
        | ProposerBackend::Catalogue
        | ProposerBackend::Reflect
        | ProposerBackend::Replay => find_claude(&look),
    }
}

/// The coding agents whose programs are on this machine.
pub fn agents(
    env: &Env,
    sandbox: &Arc<dyn Sandbox>,
    relays: &Arc<dyn Relays>,
    clock: &Arc<dyn Clock>,
    scratch: &Path,
) -> Vec<(ProposerBackend, Arc<dyn CodingAgent>)> {
    let parts = AgentParts {
        sandbox: Arc::clone(sandbox),
        relays: Arc::clone(relays),
        clock: Arc::clone(clock),
        scratch: scratch.to_owned(),
    };
    let mut found: Vec<(ProposerBackend, Arc<dyn CodingAgent>)> = Vec::new();
    if let Ok(installed) = program(ProposerBackend::ClaudeCode, env) {
        let agent = CliAgent::new(ClaudeCode::new(installed), parts);
        found.push((ProposerBackend::ClaudeCode, Arc::new(agent)));
    }
    found
}
