//! The sandbox and what runs in it. Nothing is looked for or started before something is to be run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use fapo_domain::ports::code::CodeError;
use fapo_domain::ports::sandbox::{Confinement, Sandbox};
use fapo_sandbox::{
    Interpreter, ProcessSandbox, PythonConfig, PythonPool, SandboxConfig, SandboxMode, find_program,
};

use crate::cli::advice::Advice;
use crate::config::Env;

/// The word by which the program calls itself to be the one inside a sandbox.
pub const INIT: &str = "sandbox-init";

/// The sandbox, as the operator wants it: `FAPO_SANDBOX` is `required` (also where it is not set), `preferred` or `off`.
/// No process sees the project in `dir`, wherever it lies.
///
/// # Errors
/// When it is none of these, or the program does not know where it is itself.
pub fn sandbox(env: &Env, dir: &Path) -> anyhow::Result<Arc<ProcessSandbox>> {
    let mode = match env.get("FAPO_SANDBOX") {
        None | Some("required") => SandboxMode::Required,
        Some("preferred") => SandboxMode::Preferred,
        Some("off") => SandboxMode::Off,
        Some(other) => {
            bail!("FAPO_SANDBOX is {other:?}: set it to required, preferred or off")
        }
    };
    let own = std::env::current_exe().context("the program cannot find its own file")?;
    let bwrap = find_program("bwrap", search_path(env).as_ref());
    let mut config = SandboxConfig::new(bwrap, own, vec![INIT.to_owned()]);
    config.mode = mode;
    config.hidden = hidden(dir);
    Ok(Arc::new(ProcessSandbox::new(config)))
}

/// Holds what the operator wants against whose code it is: behind tokens it is that of whoever may submit, and a process without
/// namespaces reaches the network and other processes of the machine.
///
/// # Errors
/// When `FAPO_SANDBOX` is anything but `required`.
pub fn must_be_required(env: &Env) -> anyhow::Result<()> {
    match env.get("FAPO_SANDBOX") {
        None | Some("required") => Ok(()),
        Some(other) => Err(Advice::new(
            format!("FAPO_SANDBOX is {other:?}, and a server with tokens runs the code of whoever may submit"),
            "unset it: where there is no sandbox, projects without code and coding agents still run",
        )
        .into()),
    }
}

/// The project's folder where it really is.
fn hidden(dir: &Path) -> Vec<PathBuf> {
    vec![std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned())]
}

/// The Python that runs the code of the project in `dir`: `FAPO_PYTHON`, or `python3` on the path.
pub fn interpreter(env: &Env, dir: &Path) -> Arc<Interpreter> {
    let named = env.get("FAPO_PYTHON").map(Into::into);
    Arc::new(Interpreter::new(named, search_path(env).into()).hiding(hidden(dir)))
}

/// Workers for the code of steps and scorers.
pub fn pool(sandbox: Arc<dyn Sandbox>, interpreter: Arc<Interpreter>) -> Arc<PythonPool> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let config = PythonConfig {
        workers: cores.clamp(2, 16),
        ..PythonConfig::default()
    };
    Arc::new(PythonPool::new(sandbox, interpreter, config))
}

/// Tries how a process would be held here.
///
/// # Errors
/// When there is no sandbox, or `FAPO_SANDBOX` is not understood; with what to do.
pub async fn confinement(env: &Env, dir: &Path) -> anyhow::Result<Confinement> {
    Ok(sandbox(env, dir)?.confinement().await?)
}

/// Tries whether the code of the project in `dir` could be run here; the error says what is missing and what to do.
///
/// # Errors
/// When there is no sandbox or no Python.
pub async fn try_code(env: &Env, dir: &Path) -> anyhow::Result<String> {
    let held = confinement(env, dir).await?;
    let (program, version) = match interpreter(env, dir).describe().await {
        Ok(found) => found,
        Err(CodeError::Unavailable { message, .. }) => bail!(message),
        Err(error) => return Err(error.into()),
    };
    Ok(format!(
        "Python {version} ({}), {}",
        program.display(),
        held.detail
    ))
}

fn search_path(env: &Env) -> &str {
    env.get("PATH").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_that_is_not_understood_is_refused() {
        let dir = Path::new(".");
        for right in ["required", "preferred", "off", ""] {
            assert!(
                sandbox(&Env::from_pairs([("FAPO_SANDBOX", right)]), dir).is_ok(),
                "{right}"
            );
        }
        let error = sandbox(&Env::from_pairs([("FAPO_SANDBOX", "none")]), dir).err();
        assert!(error.is_some_and(|error| error.to_string().contains("required")));
    }

    #[test]
    fn code_of_others_is_never_run_without_a_sandbox() {
        for right in ["required", ""] {
            assert!(must_be_required(&Env::from_pairs([("FAPO_SANDBOX", right)])).is_ok());
        }
        assert!(must_be_required(&Env::default()).is_ok());
        for wrong in ["preferred", "off", "none"] {
            let refused = must_be_required(&Env::from_pairs([("FAPO_SANDBOX", wrong)]));
            assert!(refused.is_err_and(|error| error.to_string().contains(wrong)));
        }
    }

    #[tokio::test]
    async fn a_python_that_is_not_there_is_named() {
        let env = Env::from_pairs([("FAPO_SANDBOX", "off"), ("FAPO_PYTHON", "/nowhere/python3")]);
        let said = match interpreter(&env, Path::new(".")).describe().await {
            Err(error) => error.to_string(),
            Ok(found) => panic!("{found:?}"),
        };
        assert!(said.contains("/nowhere/python3"), "{said}");
    }
}
