//! [`PythonScripts`]: scripts that are run once.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::error::chain;
use fapo_domain::ports::code::{CodeError, ScriptReply, ScriptRequest, ScriptRunner};
use fapo_domain::ports::sandbox::{Mount, ProcessLimits, ProcessSpec, Sandbox, SandboxError};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::interpreter::Interpreter;
use super::{ISOLATED, environment, folder, write_files};

/// The script's own name, among its files.
const SCRIPT: &str = "script.py";

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
        let (exit, stdout, stderr) = tokio::join!(
            process.wait(),
            read(&mut streams.stdout, most),
            read(&mut streams.stderr, most),
        );
        Ok(ScriptReply {
            exit: exit.map_err(|error| held(&error))?,
            truncated: stdout.1 || stderr.1,
            stdout: stdout.0,
            stderr: stderr.0,
        })
    }
}

/// The beginning of a stream, and whether there was more. It is read to its end, so that nobody waits to write.
async fn read(from: &mut (dyn AsyncRead + Send + Unpin), most: usize) -> (String, bool) {
    let (mut kept, mut more) = (Vec::new(), false);
    let mut piece = vec![0; 64 * 1024];
    // a stream that fails has ended
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let room = most - kept.len();
        more |= read > room;
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
    (String::from_utf8_lossy(&kept).into_owned(), more)
}
