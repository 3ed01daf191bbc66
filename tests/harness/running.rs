//! A command that is watched while it runs, and told to stop.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::Ran;

/// How long anything may take before the test gives up.
const DEADLINE: Duration = Duration::from_secs(120);

/// A command that runs. It is killed with this.
pub struct Running {
    child: Child,
    lines: Receiver<(Stream, String)>,
    readers: Vec<JoinHandle<()>>,
    said: [String; 2],
}

/// Where a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

impl Running {
    /// Starts a command.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("fapo starts")?;
        let (send, lines) = channel();
        let mut readers = Vec::new();
        let out = child.stdout.take().context("stdout is piped")?;
        let err = child.stderr.take().context("stderr is piped")?;
        let streams: [(Stream, Box<dyn Read + Send>); 2] =
            [(Stream::Out, Box::new(out)), (Stream::Err, Box::new(err))];
        for (stream, reader) in streams {
            let send = send.clone();
            readers.push(std::thread::spawn(move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    if send.send((stream, line)).is_err() {
                        return;
                    }
                }
            }));
        }
        Ok(Self {
            child,
            lines,
            readers,
            said: [String::new(), String::new()],
        })
    }

    /// Waits for a line that contains `text`, on either stream, and returns it.
    ///
    /// # Errors
    /// When the command ends without it, or the deadline passes.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((stream, line)) = self.lines.recv_timeout(left) else {
                bail!("{text:?} was never said, but:\n{}", self.said.join("\n"));
            };
            self.note(stream, &line);
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Sends a signal, such as `INT`.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()?;
        if !sent.success() {
            bail!("SIG{name} could not be sent");
        }
        Ok(())
    }

    /// Waits for the end and returns all that was said.
    ///
    /// # Errors
    /// When the deadline passes.
    pub fn end(mut self) -> Result<Ran> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((stream, line)) => self.note(stream, &line),
                // both streams are closed: the process has ended, or is about to
                Err(_) if self.readers.iter().all(JoinHandle::is_finished) => break,
                Err(_) if left.is_zero() => {
                    bail!("it does not end, but says:\n{}", self.said.join("\n"))
                }
                Err(_) => {}
            }
        }
        let status = self.child.wait()?;
        let [stdout, stderr] = std::mem::take(&mut self.said);
        Ok(Ran(Output {
            status,
            stdout: stdout.into_bytes(),
            stderr: stderr.into_bytes(),
        }))
    }

    fn note(&mut self, stream: Stream, line: &str) {
        let said = &mut self.said[stream as usize];
        said.push_str(line);
        said.push('\n');
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // gone already where it was waited for
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
