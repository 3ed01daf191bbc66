//! The agents' programs on this machine.

use std::path::{Path, PathBuf};

use fapo_domain::ports::sandbox::Mount;

/// A program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The real file.
    pub program: PathBuf,
    /// What it must see of itself to run.
    pub mounts: Vec<Mount>,
    /// An interpreter that runs it, where it is a script.
    pub interpreter: Option<PathBuf>,
}

impl Installed {
    /// The command that runs it with these arguments.
    pub fn command(&self, args: impl IntoIterator<Item = String>) -> (PathBuf, Vec<String>) {
        match &self.interpreter {
            Some(interpreter) => {
                let script = self.program.display().to_string();
                let args = std::iter::once(script).chain(args).collect();
                (interpreter.clone(), args)
            }
            None => (self.program.clone(), args.into_iter().collect()),
        }
    }
}

/// A program that was not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {name} program is not there: {looked}; install it with `npm install -g {package}`, or name it in {variable}"
)]
pub struct MissingProgram {
    /// What people call it.
    pub name: &'static str,
    /// Its package.
    pub package: &'static str,
    /// The variable that can name it.
    pub variable: &'static str,
    /// Where it was looked for.
    pub looked: String,
}

/// Claude Code: the file that `FAPO_CLAUDE` names, else `claude` on `PATH`.
///
/// # Errors
/// When it is not there.
pub fn find_claude(env: &dyn Fn(&str) -> Option<String>) -> Result<Installed, MissingProgram> {
    find(
        env,
        MissingProgram {
            name: "Claude Code",
            package: "@anthropic-ai/claude-code",
            variable: "FAPO_CLAUDE",
            looked: "claude".to_owned(),
        },
    )
}

/// Codex: the file that `FAPO_CODEX` names, else `codex` on `PATH`.
///
/// # Errors
/// When it is not there.
pub fn find_codex(env: &dyn Fn(&str) -> Option<String>) -> Result<Installed, MissingProgram> {
    find(
        env,
        MissingProgram {
            name: "Codex",
            package: "@openai/codex",
            variable: "FAPO_CODEX",
            looked: "codex".to_owned(),
        },
    )
}

fn find(
    env: &dyn Fn(&str) -> Option<String>,
    mut missing: MissingProgram,
) -> Result<Installed, MissingProgram> {
    let command = std::mem::take(&mut missing.looked);
    if let Some(named) = env(missing.variable) {
        return installed(Path::new(&named), env).map_err(|why| MissingProgram {
            looked: format!("{} names {named}, {why}", missing.variable),
            ..missing
        });
    }
    let path = env("PATH").unwrap_or_default();
    let Some(found) = on_path(&path, &command) else {
        return Err(MissingProgram {
            looked: format!("no `{command}` on PATH"),
            ..missing
        });
    };
    installed(&found, env).map_err(|why| MissingProgram {
        looked: format!("`{command}` on PATH is {}, {why}", found.display()),
        ..missing
    })
}

fn on_path(path: &str, command: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(command))
        .find(|file| file.is_file())
}

/// The real file behind a name, and what is shown of it: a program of its own as it is, a script of Node's with its package
/// and Node. Why it cannot be run, where it cannot: what another interpreter needs to be shown is not known here.
fn installed(named: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Installed, String> {
    let program = std::fs::canonicalize(named)
        .ok()
        .filter(|file| file.is_file())
        .ok_or("which is no file")?;
    let Some(line) = shebang(&program) else {
        return Ok(native(program));
    };
    if let Some(program) = packaged_codex(&program) {
        return Ok(native(program));
    }
    match interpreter(&line) {
        Some("node") => {}
        Some(other) => {
            return Err(format!(
                "which is a script for `{}`, and only a program of its own or a script for `node` can be run in a \
                 sandbox: a wrapper of yours is to be replaced by the program that it starts",
                other.escape_default()
            ));
        }
        None => return Err("which is a script that does not say what runs it".to_owned()),
    }
    // a package of npm: all of its node_modules, where what it needs lies beside it
    let package = program
        .ancestors()
        .filter(|folder| folder.ends_with("node_modules"))
        .last()
        .or_else(|| program.parent())
        .ok_or("which is no file")?
        .to_owned();
    let node = on_path(&env("PATH").unwrap_or_default(), "node")
        .and_then(|node| std::fs::canonicalize(node).ok())
        .ok_or("which is a script for `node`, and there is no `node` on PATH")?;
    Ok(Installed {
        mounts: vec![Mount::same(package), Mount::same(&node)],
        program,
        interpreter: Some(node),
    })
}

/// The first line of a script after `#!`, as much of it as the kernel reads; `None` for what is no script.
fn shebang(program: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut start = Vec::new();
    let file = std::fs::File::open(program).ok()?;
    file.take(256).read_to_end(&mut start).ok()?;
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next();
    Some(String::from_utf8_lossy(line.unwrap_or_default()).into_owned())
}

/// The name of the program that runs a script with this first line: that which `env` would look for, where `env` is asked.
fn interpreter(line: &str) -> Option<&str> {
    let name = |word: &'_ str| word.rfind('/').map_or(0, |at| at + 1);
    let mut words = line.split_whitespace().map(|word| &word[name(word)..]);
    match words.next() {
        // its own options (`-S`) come first
        Some("env") => words.find(|word| !word.starts_with('-')),
        first => first,
    }
}

/// A program that needs nothing but itself, and the folder of helpers that Codex puts beside its own (`rg`).
fn native(program: PathBuf) -> Installed {
    let mut mounts = vec![Mount::same(&program)];
    let helpers = program
        .parent()
        .and_then(Path::parent)
        .map(|package| package.join("codex-path"))
        .filter(|helpers| program.ends_with("bin/codex") && helpers.is_dir());
    mounts.extend(helpers.map(Mount::same));
    Installed {
        mounts,
        program,
        interpreter: None,
    }
}

/// The program that the script of the package `@openai/codex` would start: it is in a package of its own for each platform,
/// looked for as Node looks for it. Called by itself it needs no Node, and nothing else of the packages is shown.
fn packaged_codex(script: &Path) -> Option<PathBuf> {
    let package = script.parent()?.parent()?;
    if !package.ends_with("@openai/codex") {
        return None;
    }
    let (platform, target) = match std::env::consts::ARCH {
        "x86_64" => ("codex-linux-x64", "x86_64-unknown-linux-musl"),
        "aarch64" => ("codex-linux-arm64", "aarch64-unknown-linux-musl"),
        _ => return None,
    };
    let place = Path::new(target).join("bin/codex");
    package
        .ancestors()
        .map(|folder| folder.join("node_modules/@openai").join(platform))
        .chain([package.to_owned()])
        .map(|package| package.join("vendor").join(&place))
        .find_map(|program| program.canonicalize().ok().filter(|file| file.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codex_is_its_own_program_and_not_the_script_that_starts_it() {
        let folder = tempfile::tempdir().unwrap();
        let packages = folder
            .path()
            .canonicalize()
            .unwrap()
            .join("node_modules/@openai");
        let write = |path: &Path, content: &[u8]| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        let script = packages.join("codex/bin/codex.js");
        write(&script, b"#!/usr/bin/env node\n");
        let (platform, target) = match std::env::consts::ARCH {
            "aarch64" => ("codex-linux-arm64", "aarch64-unknown-linux-musl"),
            _ => ("codex-linux-x64", "x86_64-unknown-linux-musl"),
        };
        let package = packages.join(platform).join("vendor").join(target);
        write(&package.join("bin/codex"), b"\x7fELF");
        write(&package.join("codex-path/rg"), b"\x7fELF");
        let named = script.to_str().unwrap().to_owned();
        let found = find_codex(&|name| (name == "FAPO_CODEX").then(|| named.clone())).unwrap();
        assert_eq!(
            found,
            Installed {
                program: package.join("bin/codex"),
                mounts: vec![
                    Mount::same(package.join("bin/codex")),
                    Mount::same(package.join("codex-path")),
                ],
                interpreter: None,
            }
        );
    }

    #[test]
    fn a_program_is_looked_for_where_the_variable_says_then_on_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let claude = folder.path().join("claude");
        std::fs::write(&claude, b"\x7fELF").unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let on_path = find_claude(&|name| (name == "PATH").then(|| path.clone())).unwrap();
        assert_eq!(on_path.program, std::fs::canonicalize(&claude).unwrap());
        assert_eq!(on_path.interpreter, None);

        let gone = find_claude(&|name| match name {
            "PATH" => Some(path.clone()),
            "FAPO_CLAUDE" => Some("/nowhere/claude".to_owned()),
            _ => None,
        })
        .unwrap_err()
        .to_string();
        assert!(gone.contains("FAPO_CLAUDE names /nowhere/claude"), "{gone}");

        let nowhere = find_claude(&|_| None).unwrap_err().to_string();
        assert!(
            nowhere.contains("npm install -g @anthropic-ai/claude-code"),
            "{nowhere}"
        );
    }

    #[test]
    fn a_script_is_run_by_node_only_where_it_says_so() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let script = folder.join("claude");
        let node = folder.join("node");
        std::fs::write(&node, b"\x7fELF").unwrap();
        std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.to_str().unwrap().to_owned();
        let find = |content: &str| {
            std::fs::write(&script, content).unwrap();
            find_claude(&|name| (name == "PATH").then(|| path.clone()))
        };
        for line in [
            "#!/usr/bin/env node",
            "#! /usr/local/bin/node --no-warnings",
            "#!/usr/bin/env -S node --no-warnings",
            "#!/usr/bin/env node\r",
        ] {
            let found = find(&format!("{line}\nlet a = 1\n")).unwrap();
            assert_eq!(found.interpreter.as_deref(), Some(&*node), "{line}");
        }
        for (line, named) in [
            ("#!/bin/sh", "`sh`"),
            ("#!/usr/bin/env bash", "`bash`"),
            ("#!/usr/bin/env python3 node", "`python3`"),
            ("#!/opt/node/bin/deno", "`deno`"),
            ("#!/usr/bin/nodemon", "`nodemon`"),
            ("#!", "does not say"),
        ] {
            let said = find(&format!("{line}\nexec node\n"))
                .unwrap_err()
                .to_string();
            assert!(said.contains(named), "{said}");
            assert!(said.contains("FAPO_CLAUDE"), "{said}");
        }
        std::fs::remove_file(&node).unwrap();
        let said = find("#!/usr/bin/env node\n").unwrap_err().to_string();
        assert!(said.contains("no `node` on PATH"), "{said}");
    }
}
