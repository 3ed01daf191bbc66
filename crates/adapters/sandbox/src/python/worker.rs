//! One Python process that holds one function, and the lines spoken with it.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::ports::sandbox::{ProcessExit, SandboxedProcess, Streams};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::time::timeout;

/// Kept of what it writes to standard error: the end, where the reason of a death stands.
const NOISE: usize = 2048;
/// Beyond the output itself: what was printed, escaped, and the names of the fields.
const FRAME: usize = 256 * 1024;
/// How long the end of a worker may take that has closed its streams.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request<'a> {
    Load {
        root: &'a str,
        file: &'a str,
        function: &'a str,
        output_bytes: usize,
        printed_bytes: usize,
    },
    Call(&'a Value),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Reply {
    Output {
        output: Value,
        printed: String,
        cpu: f64,
    },
    Error {
        error: String,
        memory: bool,
        printed: String,
        cpu: f64,
    },
    Loaded {
        loaded: bool,
    },
    Ready {
        ready: String,
    },
}

/// Why there was no reply. The worker is of no more use.
#[derive(Debug)]
pub(super) enum Broken {
    /// Its process ended, or closed the stream.
    Ended,
    /// The reply was too long.
    TooLong,
    /// It sent what is no reply; `serde_json` says why.
    Garbled(String),
}

pub(super) struct Worker {
    process: Box<dyn SandboxedProcess>,
    stdin: Box<dyn AsyncWrite + Send + Unpin>,
    stdout: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    noise: Vec<u8>,
    /// The files it reads; removed when the last of its workers is gone.
    _files: Arc<TempDir>,
}

impl Worker {
    /// Takes over a started process; `None` where its streams are gone.
    pub(super) fn new(mut process: Box<dyn SandboxedProcess>, files: Arc<TempDir>) -> Option<Self> {
        let Streams {
            stdin,
            stdout,
            stderr,
        } = process.streams()?;
        Some(Self {
            process,
            stdin,
            stdout: BufReader::new(stdout),
            stderr: Some(stderr),
            noise: Vec::new(),
            _files: files,
        })
    }

    /// Sends a request and reads the reply. Not to be used again after an error, nor after this was cancelled.
    pub(super) async fn ask(
        &mut self,
        request: &Request<'_>,
        most: usize,
    ) -> Result<Reply, Broken> {
        let mut line =
            serde_json::to_vec(request).map_err(|error| Broken::Garbled(error.to_string()))?;
        line.push(b'\n');
        let Self {
            stdin,
            stdout,
            stderr,
            noise,
            ..
        } = self;
        let talk = async {
            // A worker that answers before it has read all is as good as one that ended: the read tells which.
            let (_, read) = tokio::join!(stdin.write_all(&line), read_line(stdout, most + FRAME));
            read
        };
        tokio::select! {
            read = talk => parse(&read?),
            never = listen(stderr, noise) => match never {},
        }
    }

    /// Reads what it says of itself when it has started.
    pub(super) async fn greeting(&mut self) -> Result<Reply, Broken> {
        let Self {
            stdout,
            stderr,
            noise,
            ..
        } = self;
        tokio::select! {
            read = read_line(stdout, FRAME) => parse(&read?),
            never = listen(stderr, noise) => match never {},
        }
    }

    /// Kills it, and waits until it is gone.
    pub(super) async fn close(mut self) {
        // an error is one of following what is to be forgotten
        let _ = self.process.kill().await;
    }

    /// How a worker died that gave no reply, in words.
    pub(super) async fn post_mortem(mut self) -> String {
        let exit = match timeout(PATIENCE, self.process.wait()).await {
            Ok(exit) => exit,
            Err(_) => self.process.kill().await,
        };
        if let Some(stderr) = &mut self.stderr {
            let mut last = Vec::new();
            let _ = timeout(PATIENCE, stderr.take(1 << 20).read_to_end(&mut last)).await;
            keep_end(&mut self.noise, &last);
        }
        let how = match exit {
            Ok(ProcessExit::Code { code }) => format!("it ended itself with code {code}"),
            Ok(ProcessExit::Signal { signal: 9 }) => {
                "it was killed (SIGKILL), as for too much memory or too many processes".to_owned()
            }
            Ok(ProcessExit::Signal { signal: 24 }) => "its CPU time was used up".to_owned(),
            Ok(ProcessExit::Signal { signal: 11 }) => "it crashed (SIGSEGV)".to_owned(),
            Ok(ProcessExit::Signal { signal: 6 }) => "it aborted (SIGABRT)".to_owned(),
            Ok(ProcessExit::Signal { signal }) => format!("it ended by signal {signal}"),
            Ok(ProcessExit::TimedOut) => "its time was over".to_owned(),
            Ok(ProcessExit::Killed) => "it closed its streams".to_owned(),
            Err(error) => error.to_string(),
        };
        let noise = String::from_utf8_lossy(&self.noise);
        match noise.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(last) => {
                let last: String = last.trim().chars().take(300).collect();
                format!("{how}; its last words: {last}")
            }
            None => how,
        }
    }
}

fn parse(line: &[u8]) -> Result<Reply, Broken> {
    serde_json::from_slice(line).map_err(|error| Broken::Garbled(error.to_string()))
}

/// A line of at most so many bytes.
async fn read_line(from: &mut (impl AsyncBufRead + Unpin), most: usize) -> Result<Vec<u8>, Broken> {
    let mut line = Vec::new();
    loop {
        let piece = from.fill_buf().await.map_err(|_| Broken::Ended)?;
        if piece.is_empty() {
            return Err(Broken::Ended);
        }
        let (used, complete) = match piece.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (piece.len(), false),
        };
        if line.len() + used > most {
            return Err(Broken::TooLong);
        }
        line.extend_from_slice(&piece[..used]);
        from.consume(used);
        if complete {
            return Ok(line);
        }
    }
}

/// Reads standard error for as long as this is polled, so that a worker is never stuck with it.
async fn listen(
    stderr: &mut Option<Box<dyn AsyncRead + Send + Unpin>>,
    noise: &mut Vec<u8>,
) -> std::convert::Infallible {
    let mut piece = [0; 4096];
    while let Some(open) = stderr {
        match open.read(&mut piece).await {
            Ok(read) if read > 0 => keep_end(noise, &piece[..read]),
            Ok(_) | Err(_) => *stderr = None,
        }
    }
    std::future::pending().await
}

fn keep_end(noise: &mut Vec<u8>, more: &[u8]) {
    noise.extend_from_slice(more);
    let over = noise.len().saturating_sub(NOISE);
    noise.drain(..over);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_read_up_to_its_bound_however_it_comes() {
        let text = b"one\n\ntoo long\nrest".as_slice();
        for capacity in [1, 2, 5, 100] {
            let mut from = BufReader::with_capacity(capacity, text);
            assert_eq!(read_line(&mut from, 4).await.unwrap(), b"one\n");
            assert_eq!(read_line(&mut from, 4).await.unwrap(), b"\n");
            assert!(matches!(
                read_line(&mut from, 4).await,
                Err(Broken::TooLong)
            ));
        }
        let mut from = BufReader::new(b"no end".as_slice());
        assert!(matches!(
            read_line(&mut from, 100).await,
            Err(Broken::Ended)
        ));
    }

    #[test]
    fn only_the_end_of_the_noise_is_kept() {
        let mut noise = Vec::new();
        for _ in 0..10 {
            keep_end(&mut noise, &[b'x'; 1000]);
        }
        keep_end(&mut noise, b"the end");
        assert_eq!(noise.len(), NOISE);
        assert!(noise.ends_with(b"xthe end"));
    }
}
