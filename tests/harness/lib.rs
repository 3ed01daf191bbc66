//! What end-to-end tests share: the real binary, throw-away copies of the example projects, simulated models.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub mod chaos;
pub mod cluster;
pub mod postgres;
pub mod proxy;
pub mod redis;
mod running;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

pub use running::Running;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The `fapo` binary that `make test` built beside this test binary.
///
/// # Errors
/// When it is not there.
pub fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe().context("the test binary has a path")?;
    let profile = test
        .ancestors()
        .nth(2)
        .context("the test binary lies in target/<profile>/deps")?;
    let binary = profile.join("fapo");
    if !binary.is_file() {
        bail!(
            "{} is not there: run `cargo build -p fapo` first (`make test` does)",
            binary.display()
        );
    }
    Ok(binary)
}

/// The binary with nothing of the test's environment.
fn bare() -> Result<Command> {
    let mut process = Command::new(binary()?);
    process
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null());
    Ok(process)
}

/// Runs `fapo <args>` to its end, without a project.
///
/// # Errors
/// When the binary cannot be started.
pub fn fapo(args: &[&str]) -> Result<Ran> {
    Ok(Ran(bare()?.args(args).output().context("fapo starts")?))
}

/// Starts `fapo <args>`, without a project.
///
/// # Errors
/// When the binary cannot be started.
pub fn start(args: &[&str]) -> Result<Running> {
    let mut process = bare()?;
    process.args(args);
    Running::start(process)
}

/// A throw-away project folder.
pub struct Project {
    folder: TempDir,
}

impl Project {
    /// A copy of `examples/<name>`.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn example(name: &str) -> Result<Self> {
        let project = Self::empty()?;
        copy(&root().join("examples").join(name), project.path())?;
        Ok(project)
    }

    /// An empty folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn empty() -> Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, with the folders above it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path().join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, content)?;
        Ok(())
    }

    /// Reads a file as text.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.path().join(name))?)
    }

    /// Replaces `from` by `to` in a file; `from` must be there.
    ///
    /// # Errors
    /// When it is not, or the file cannot be read or written.
    pub fn edit(&self, name: &str, from: &str, to: &str) -> Result<()> {
        let text = self.read(name)?;
        if !text.contains(from) {
            bail!("{name} does not contain {from:?}");
        }
        self.write(name, text.replace(from, to))
    }

    /// Runs `fapo <command> <this folder> <args>` to its end.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub fn fapo(&self, command: &str, args: &[&str]) -> Result<Ran> {
        self.fapo_with_env(command, args, &[])
    }

    /// The same with further environment variables. The test's own environment is not passed on.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub fn fapo_with_env(&self, command: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Ran> {
        let output = self
            .command(command, args, env)?
            .output()
            .context("fapo starts")?;
        Ok(Ran(output))
    }

    /// The command, for tests that want to kill it.
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn command(&self, command: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Command> {
        let mut process = bare()?;
        process
            .arg(command)
            .arg(self.path())
            .args(args)
            .env("HOME", self.path())
            .envs(env.iter().copied());
        Ok(process)
    }
}

/// A finished command.
pub struct Ran(pub Output);

impl Ran {
    /// Its exit code; -1 when a signal ended it.
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    /// What it printed as data.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    /// What it said besides.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Its data as JSON; the command must have succeeded.
    ///
    /// # Errors
    /// With what it said, when it failed or printed something else.
    pub fn json(&self) -> Result<Value> {
        if self.code() != 0 {
            bail!(
                "exit code {}\n{}\n{}",
                self.code(),
                self.stdout(),
                self.stderr()
            );
        }
        serde_json::from_slice(&self.0.stdout)
            .with_context(|| format!("stdout is JSON: {}\n{}", self.stdout(), self.stderr()))
    }
}

/// A port that nobody has now, and that the system gives to nobody who asks for any: a server that is killed finds its own again.
///
/// # Errors
/// When none is free.
pub fn free_port() -> Result<u16> {
    /// Below the ports that Linux hands out by itself.
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static ASKED: AtomicU32 = AtomicU32::new(0);
    // processes that ask at the same time begin in different places
    let begin = std::process::id().wrapping_mul(131);
    for _ in 0..COUNT {
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + begin.wrapping_add(asked) % COUNT;
        let port = u16::try_from(port).context("a port has 16 bits")?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in
        std::fs::read_dir(from).with_context(|| format!("{} can be read", from.display()))?
    {
        let entry = entry?;
        let name = entry.file_name();
        if name == ".fapo" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(name))?;
        } else {
            std::fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}
