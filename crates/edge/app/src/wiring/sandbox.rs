//! The sandbox and what runs in it. Nothing is looked for or started before something is to be run.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use fapo_domain::ports::code::CodeError;
use fapo_domain::ports::sandbox::{Confinement, Sandbox};
use fapo_sandbox::{
    Interpreter, ProcessSandbox, PythonConfig, PythonPool, SandboxConfig, SandboxMode, find_program,
};

use crate::config::Env;

/// The word by which the program calls itself to be the one inside a sandbox.
pub const INIT: &str = "sandbox-init";

/// The sandbox, as the operator wants it: `FAPO_SANDBOX` is `required` (also where it is not set), `preferred` or `off`.
///
/// # Errors
/// When it is none of these, or the program does not know where it is itself.
pub fn sandbox(env: &Env) -> anyhow::Result<Arc<ProcessSandbox>> {
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
    Ok(Arc::new(ProcessSandbox::new(config)))
}

/// The Python that runs code: `FAPO_PYTHON`, or `python3` on the path.
pub fn interpreter(env: &Env) -> Arc<Interpreter> {
    let named = env.get("FAPO_PYTHON").map(Into::into);
    Arc::new(Interpreter::new(named, search_path(env).into()))
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
pub async fn confinement(env: &Env) -> anyhow::Result<Confinement> {
    Ok(sandbox(env)?.confinement().await?)
}

/// Tries whether code could be run here; the error says what is missing and what to do.
///
/// # Errors
/// When there is no sandbox or no Python.
pub async fn try_code(env: &Env) -> anyhow::Result<String> {
    let held = confinement(env).await?;
    let (program, version) = match interpreter(env).describe().await {
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
        for right in ["required", "preferred", "off", ""] {
            assert!(
                sandbox(&Env::from_pairs([("FAPO_SANDBOX", right)])).is_ok(),
                "{right}"
            );
        }
        let error = sandbox(&Env::from_pairs([("FAPO_SANDBOX", "none")])).err();
        assert!(error.is_some_and(|error| error.to_string().contains("required")));
    }

    #[tokio::test]
    async fn a_python_that_is_not_there_is_named() {
        let env = Env::from_pairs([("FAPO_SANDBOX", "off"), ("FAPO_PYTHON", "/nowhere/python3")]);
        let said = match interpreter(&env).describe().await {
            Err(error) => error.to_string(),
            Ok(found) => panic!("{found:?}"),
        };
        assert!(said.contains("/nowhere/python3"), "{said}");
    }
}
