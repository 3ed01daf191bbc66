//! A Redis server of one's own, which can be killed and emptied.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{Running, free_port};

/// How long Redis may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// A Redis server of one's own, which forgets everything when it ends.
pub struct Redis {
    port: u16,
    folder: TempDir,
    running: Option<Running>,
}

impl Redis {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When `redis-server` is not there or does not come up.
    pub fn start() -> Result<Self> {
        let mut redis = Self {
            port: free_port()?,
            folder: tempfile::tempdir()?,
            running: None,
        };
        redis.restart()?;
        Ok(redis)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, for whoever reaches it through `port`.
    pub fn url(port: u16) -> String {
        format!("redis://127.0.0.1:{port}/0")
    }

    /// Kills it where it runs, and starts it again, empty, on the same port.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::null());
        let started = Running::start(command).and_then(|mut running| {
            running.wait_for("Ready to accept connections")?;
            Ok(running)
        });
        let why = "redis-server comes up; Debian's package redis-server has it";
        self.running = Some(started.context(why)?);
        Ok(())
    }

    /// Whether it was started, and not killed since.
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        // it is killed with the value
        self.running = None;
    }

    /// Throws all keys away.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn flush(&self) -> Result<()> {
        self.ask(&["FLUSHALL"]).map(drop)
    }

    /// Runs a script, and returns the number that it returns.
    ///
    /// # Errors
    /// When it does not answer, or the script fails.
    pub fn eval(&self, script: &str) -> Result<u64> {
        let said = self.ask(&["EVAL", script, "0"])?;
        said.strip_prefix(':')
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("Redis says {said:?} instead of a number"))
    }

    /// Sends one command and returns the first line of the answer.
    fn ask(&self, command: &[&str]) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut request = format!("*{}\r\n", command.len());
        for part in command {
            request.push_str(&format!("${}\r\n{part}\r\n", part.len()));
        }
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        if answer.is_empty() || answer.starts_with('-') {
            bail!("Redis says {answer:?}");
        }
        Ok(answer.trim_end().to_owned())
    }
}
