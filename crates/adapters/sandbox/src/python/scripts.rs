//! [`PythonScripts`]: scripts that are run once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::error::chain;
use fapo_domain::ports::code::{CodeError, ScriptReply, ScriptRequest, ScriptRunner};
use fapo_domain::ports::sandbox::{
    Mount, ProcessLimits, ProcessSpec, Sandbox, SandboxError, SandboxedProcess,
};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::interpreter::Interpreter;
use super::{ISOLATED, environment, folder, write_files};

/// The script's own name, among its files.
const SCRIPT: &str = "script.py";
/// How long the streams of a script that has ended are read on. Behind namespaces they end with it; without, a process that it
/// left behind may hold them open for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs Python scripts that a session wrote, each in a process of its own. They see their files and Python, and write to a
/// private `/tmp` that goes with them.
pub struct PythonScripts {
    sandbox: Arc<dyn Sandbox>,
    interpreter: Arc<Interpreter>,
}

impl PythonScripts {
    /// A runner; nothing is started.
    pub fn new(sandbox: Arc<dyn Sandbox>, interpreter: Arc<Interpreter>) -> Self {
        Self {
            sandbox,
            interpreter,
        }
    }
}

fn unavailable(message: String, configuration: bool) -> CodeError {
    CodeError::Unavailable {
        file: SCRIPT.to_owned(),
        message,
        configuration,
    }
}

fn held(error: &SandboxError) -> CodeError {
    let configuration = matches!(error, SandboxError::Unavailable { .. });
    unavailable(chain(error), configuration)
}

#[async_trait]
impl ScriptRunner for PythonScripts {
    async fn run(&self, script: ScriptRequest) -> Result<ScriptReply, CodeError> {
        let ours = |error: std::io::Error| unavailable(error.to_string(), false);
        let found = self.interpreter.found(SCRIPT).await?;
        let folder = folder("fapo-script-").map_err(ours)?;
        let mut files = script.files;
        files.insert(SCRIPT.to_owned(), script.source.into_bytes().into());
        write_files(folder.path(), &files).await.map_err(ours)?;
        let shown = Mount {
            host: folder.path().to_owned(),
            inside: PathBuf::from("/analysis"),
        };
        let place = self
            .sandbox
            .inside(&shown)
            .await
            .map_err(|error| held(&error))?;
        let mut read_only = found.mounts.clone();
        read_only.push(shown);
        let mut args: Vec<String> = ISOLATED.map(str::to_owned).into();
        args.push(SCRIPT.to_owned());
        let spec = ProcessSpec {
            program: found.program.clone(),
            args,
            env: environment(),
            cwd: place,
            read_only,
            writable: Vec::new(),
            forwards: Vec::new(),
            limits: ProcessLimits {
                wall: Some(script.time),
                cpu_seconds: Some(script.time.as_secs().saturating_add(1)),
                memory_bytes: Some(script.memory_bytes),
                file_bytes: Some(64 << 20),
                open_files: Some(256),
                processes: Some(64),
            },
        };
        let spawned = self.sandbox.spawn(spec).await;
        let mut process = spawned.map_err(|error| held(&error))?;
        let mut streams = process
            .streams()
            .ok_or_else(|| unavailable("its streams are gone".to_owned(), false))?;
        drop(streams.stdin);
        let most = script.output_bytes;
        follow(
            &mut *process,
            &mut streams.stdout,
            &mut streams.stderr,
            most,
        )
        .await
        .map_err(|error| held(&error))
    }
}

/// Reads what it says until it ends, and for [`LAST_WORDS`] after that.
async fn follow(
    process: &mut dyn SandboxedProcess,
    stdout: &mut (dyn AsyncRead + Send + Unpin),
    stderr: &mut (dyn AsyncRead + Send + Unpin),
    most: usize,
) -> Result<ScriptReply, SandboxError> {
    let (mut said, mut aside) = (Beginning::default(), Beginning::default());
    let exit = {
        let reading = async { tokio::join!(said.read(stdout, most), aside.read(stderr, most)) };
        tokio::pin!(reading);
        tokio::select! {
            _ = &mut reading => process.wait().await?,
            exit = process.wait() => {
                // what was read until then counts, whether the streams ended or not
                let _ = tokio::time::timeout(LAST_WORDS, reading).await;
                exit?
            }
        }
    };
    Ok(ScriptReply {
        exit,
        truncated: said.more || aside.more,
        stdout: said.text(),
        stderr: aside.text(),
    })
}

/// The beginning of a stream, and whether there was more.
#[derive(Default)]
struct Beginning {
    kept: Vec<u8>,
    more: bool,
}

impl Beginning {
    /// Reads a stream to its end, so that nobody waits to write.
    async fn read(&mut self, from: &mut (dyn AsyncRead + Send + Unpin), most: usize) {
        let mut piece = vec![0; 64 * 1024];
        // a stream that fails has ended
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            let room = most - self.kept.len();
            self.more |= read > room;
            self.kept.extend_from_slice(&piece[..read.min(room)]);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::ports::sandbox::{ProcessExit, Streams};
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    struct Ended;

    #[async_trait]
    impl SandboxedProcess for Ended {
        fn streams(&mut self) -> Option<Streams> {
            None
        }

        async fn wait(&mut self) -> Result<ProcessExit, SandboxError> {
            Ok(ProcessExit::Code { code: 0 })
        }

        async fn kill(&mut self) -> Result<ProcessExit, SandboxError> {
            self.wait().await
        }

        fn peak_memory(&self) -> Option<u64> {
            None
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_script_leaves_behind_does_not_hold_its_reply() {
        // held open to the end of the test, as by a process that was left behind
        let (mut left, mut stdout) = tokio::io::duplex(64);
        left.write_all(b"said").await.unwrap();
        let mut stderr = tokio::io::empty();
        let mut process = Ended;
        let reply = follow(&mut process, &mut stdout, &mut stderr, 100);
        let reply = tokio::time::timeout(Duration::from_secs(3600), reply);
        let reply = reply.await.unwrap().unwrap();
        assert_eq!((&*reply.stdout, reply.truncated), ("said", false));
        drop(left);
    }
}
