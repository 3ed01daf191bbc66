//! A Postgres server of one's own, which can be killed and started again.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::free_port;

/// Where Debian puts the programs of each version.
const INSTALLED: &str = "/usr/lib/postgresql";
/// Who runs it where the tests run as root, which Postgres refuses.
const USER: &str = "postgres";

/// A server over a folder of its own. It is stopped, and its folder removed, with this value.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl Postgres {
    /// Makes an empty cluster of databases and serves it on a free port, with a database `fapo`.
    ///
    /// # Errors
    /// When the server's programs are not installed, or it does not come up.
    pub fn start() -> Result<Self> {
        let postgres = Self {
            folder: tempfile::tempdir()?,
            programs: programs()?,
            port: free_port()?,
        };
        if is_root() {
            let folder = postgres.folder.path().to_string_lossy().into_owned();
            said(Command::new("chown").args([USER, &folder]))?;
        }
        let data = postgres.data();
        postgres.run(
            "initdb",
            &[
                "--pgdata",
                &data,
                "--username",
                USER,
                "--auth",
                "trust",
                "--no-sync",
            ],
        )?;
        postgres.up()?;
        postgres.ask("postgres", "CREATE DATABASE fapo")?;
        Ok(postgres)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The database's URL, for whoever reaches it through `port`.
    pub fn url(port: u16) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/fapo")
    }

    /// Ends it at once, as a crash would, and starts it again: it recovers from its log.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.up()
    }

    /// What a query of one row and column says, in the database `fapo`.
    ///
    /// # Errors
    /// When it fails.
    pub fn one(&self, sql: &str) -> Result<String> {
        self.ask("fapo", sql)
    }

    fn ask(&self, database: &str, sql: &str) -> Result<String> {
        let port = self.port.to_string();
        let output = said(
            Command::new(self.programs.join("psql"))
                .args(["-h", "127.0.0.1", "-p", &port, "-U", USER, "-d", database])
                .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]),
        )?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn up(&self) -> Result<()> {
        let folder = self.folder.path().to_string_lossy();
        let log = format!("{folder}/log");
        // only its process is killed here, never the machine: what it has handed to the system survives without fsync
        let options = format!(
            "-p {} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200",
            self.port
        );
        let data = self.data();
        self.run(
            "pg_ctl",
            &["start", "--wait", "-D", &data, "-l", &log, "-o", &options],
        )
    }

    fn stop(&self) -> Result<()> {
        let data = self.data();
        self.run(
            "pg_ctl",
            &["stop", "--wait", "-D", &data, "-m", "immediate"],
        )
    }

    fn data(&self) -> String {
        self.folder
            .path()
            .join("data")
            .to_string_lossy()
            .into_owned()
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<()> {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", USER, "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // the server outlives pg_ctl and would hold a pipe open
        let status = command
            .args(args)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .with_context(|| format!("{command:?} starts"))?;
        if !status.success() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            bail!("{command:?} failed ({status})\n{log}");
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // where it does not stop, its folder goes all the same, and it ends by itself
        let _ = self.stop();
    }
}

/// Runs a command, which must succeed.
fn said(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?} starts"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed: {}", words.trim());
    }
    Ok(output)
}

/// The programs of the newest version that is installed.
fn programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir(INSTALLED).into_iter().flatten().flatten();
    let newest = versions
        .map(|version| version.path().join("bin"))
        .filter(|programs| programs.join("initdb").is_file())
        .max_by_key(|programs| version(programs));
    newest.with_context(|| {
        format!(
            "no Postgres server below {INSTALLED}: install one (Debian: apt-get install postgresql)"
        )
    })
}

fn version(programs: &Path) -> Option<u32> {
    programs.parent()?.file_name()?.to_str()?.parse().ok()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
