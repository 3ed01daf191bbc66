//! [`ProcessSandbox`]: starts processes, held as well as this machine can.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::ports::sandbox::{
    Confinement, ProcessExit, ProcessLimits, ProcessSpec, Sandbox, SandboxError, SandboxedProcess,
    Streams,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use crate::advice::advice;
use crate::bubblewrap::{Arguments, check_mounts, write_files};
use crate::config::{SandboxConfig, SandboxMode};
use crate::control::Control;
use crate::hidden::open_without_namespaces;
use crate::order::order;
use crate::process::Running;
use crate::removal::PrivateTmp;
use crate::spawner::{Owned, Spawner};
use crate::wire::{Report, inside};

/// How long init may take to call back: it is started in milliseconds, on a machine that has time for it.
const CALL_BACK: Duration = Duration::from_secs(60);

/// How processes are held here, once that was tried.
#[derive(Debug, Clone)]
struct Held {
    namespaces: bool,
    /// Whether what runs inside is kept from making namespaces of its own.
    forbid_namespaces: bool,
    landlock_abi: u32,
    detail: String,
}

/// Starts processes behind bubblewrap, or without it where the operator says so. Cheap to share.
pub struct ProcessSandbox {
    config: SandboxConfig,
    held: OnceCell<Held>,
    spawner: OnceCell<Arc<Spawner>>,
}

impl ProcessSandbox {
    /// A sandbox. Nothing is tried or started yet.
    pub fn new(config: SandboxConfig) -> Self {
        Self {
            config,
            held: OnceCell::new(),
            spawner: OnceCell::new(),
        }
    }

    /// Only success is remembered: what a person mends works without a restart.
    async fn held(&self) -> Result<&Held, SandboxError> {
        self.held.get_or_try_init(|| self.try_out()).await
    }

    async fn try_out(&self) -> Result<Held, SandboxError> {
        let why = match self.config.mode {
            SandboxMode::Off => "the operator turned it off".to_owned(),
            SandboxMode::Required | SandboxMode::Preferred => match self.try_namespaces().await {
                Ok(held) => return Ok(held),
                Err(why) => why,
            },
        };
        if self.config.mode == SandboxMode::Required {
            return Err(SandboxError::Unavailable { why: advice(&why) });
        }
        if let Some(open) = open_without_namespaces(&self.config.hidden) {
            let why = format!("{open} (no namespaces: {why})");
            return Err(SandboxError::Unavailable { why });
        }
        let mut held = Held {
            namespaces: false,
            forbid_namespaces: false,
            landlock_abi: 0,
            detail: String::new(),
        };
        held.landlock_abi = self.probe(&held).await?;
        held.detail = match held.landlock_abi {
            0 => format!("process group and limits only: no namespaces ({why}), no Landlock"),
            abi => format!("Landlock (ABI {abi}) and limits: no namespaces ({why})"),
        };
        Ok(held)
    }

    /// Tries bubblewrap; what it says where it fails.
    async fn try_namespaces(&self) -> Result<Held, String> {
        if self.config.bwrap.is_none() {
            return Err("bubblewrap (bwrap) is not installed".to_owned());
        }
        let mut first = None;
        for forbid_namespaces in [true, false] {
            let mut held = Held {
                namespaces: true,
                forbid_namespaces,
                landlock_abi: 0,
                detail: String::new(),
            };
            match self.probe(&held).await {
                Ok(abi) => {
                    held.landlock_abi = abi;
                    let behind = match abi {
                        0 => "no Landlock behind them".to_owned(),
                        abi => format!("Landlock (ABI {abi}) behind them"),
                    };
                    held.detail = format!("own namespaces (bubblewrap), {behind}, and limits");
                    return Ok(held);
                }
                Err(error) => {
                    let why = fapo_domain::error::chain(&error);
                    tracing::debug!(forbid_namespaces, %why, "bubblewrap was tried in vain");
                    first.get_or_insert(why);
                }
            }
        }
        Err(first.unwrap_or_default())
    }

    /// Starts a process that says which Landlock it sees, and ends.
    async fn probe(&self, held: &Held) -> Result<u32, SandboxError> {
        let (program, mut args) = self.init(held.namespaces);
        args.push("probe".to_owned());
        let spec = ProcessSpec {
            program: program.clone(),
            args,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            read_only: Vec::new(),
            writable: Vec::new(),
            forwards: Vec::new(),
            limits: ProcessLimits {
                wall: Some(CALL_BACK),
                cpu_seconds: None,
                memory_bytes: None,
                file_bytes: None,
                open_files: None,
                processes: None,
            },
        };
        let mut process = self.start(held, spec).await?;
        let failed = |source| SandboxError::Spawn {
            program: program.clone(),
            source,
        };
        let mut said = String::new();
        if let Some(mut streams) = process.streams() {
            let read = streams.stdout.read_to_string(&mut said).await;
            read.map_err(failed)?;
        }
        match process.wait().await? {
            ProcessExit::Code { code: 0 } => said.trim().parse().map_err(|_| {
                failed(io::Error::other(format!(
                    "it said {said:?} instead of a number"
                )))
            }),
            exit => Err(failed(io::Error::other(format!("it ended with {exit:?}")))),
        }
    }

    /// How init is called inside.
    fn init(&self, namespaces: bool) -> (PathBuf, Vec<String>) {
        let (host, leading) = &self.config.init;
        let program = if namespaces {
            PathBuf::from(inside::INIT)
        } else {
            host.clone()
        };
        (program, leading.clone())
    }

    async fn start(&self, held: &Held, spec: ProcessSpec) -> Result<Running, SandboxError> {
        let program = spec.program.clone();
        let started = self.start_process(held, spec).await;
        started.map_err(|source| SandboxError::Spawn { program, source })
    }

    async fn start_process(&self, held: &Held, spec: ProcessSpec) -> io::Result<Running> {
        check_mounts(&spec, &self.config.hidden)?;
        // Removed as soon as init has called back: from then on the session needs nothing of it.
        let folder = tempfile::Builder::new().prefix("fapo-").tempdir()?;
        let listener = UnixListener::bind(folder.path().join("control"))?;
        let tmp = match held.namespaces {
            true => None,
            false => Some(PrivateTmp::new()?),
        };
        let place = tmp.as_ref().map(PrivateTmp::path);
        let order = serde_json::to_vec(&order(
            self.init(held.namespaces),
            held.namespaces,
            &spec,
            place,
        ))
        .map_err(|_| io::Error::other("a path or an argument is not UTF-8"))?;
        let mut command = if held.namespaces {
            write_files(folder.path())?;
            let bwrap = self.config.bwrap.clone().unwrap_or_default();
            let forbid = held.forbid_namespaces;
            let arguments = Arguments::new(&self.config, &spec, folder.path(), forbid)?;
            let mut command = Command::new(bwrap);
            command.args(arguments.into_inner()).arg(inside::INIT);
            command
                .args(&self.config.init.1)
                .arg("run")
                .arg(inside::CONTROL);
            command
        } else {
            let mut command = Command::new(&self.config.init.0);
            command.args(&self.config.init.1).arg("run");
            command.arg(folder.path().join("control"));
            command
        };
        command.env_clear().current_dir("/");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let spawner = self
            .spawner
            .get_or_try_init(|| async { Spawner::start() })
            .await?;
        let mut owned = spawner.spawn(command).await?;
        let mut streams = streams(&mut owned)?;
        let called = timeout(
            CALL_BACK,
            call_back(&listener, &mut owned, held.namespaces, order),
        );
        let called = called.await.unwrap_or_else(|_| {
            let late = format!("init did not call back within {} s", CALL_BACK.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, late))
        });
        let control = match called {
            Ok(control) => control,
            Err(error) => {
                owned.kill();
                return Err(explain(error, &mut streams).await);
            }
        };
        let deadline = spec
            .limits
            .wall
            .and_then(|wall| Instant::now().checked_add(wall));
        Ok(Running {
            owned,
            streams: Some(streams),
            control: Mutex::new(control),
            deadline,
            end: None,
            _tmp: tmp,
        })
    }
}

fn streams(owned: &mut Owned) -> io::Result<Streams> {
    let gone = || io::Error::other("its streams are gone");
    let (stdin, stdout, stderr) = owned.streams.take().ok_or_else(gone)?;
    Ok(Streams {
        stdin: Box::new(pipe::Sender::from_owned_fd(stdin.into())?),
        stdout: Box::new(pipe::Receiver::from_owned_fd(stdout.into())?),
        stderr: Box::new(pipe::Receiver::from_owned_fd(stderr.into())?),
    })
}

/// Waits for init, gives it the order, and hears whether the program was started.
async fn call_back(
    listener: &UnixListener,
    owned: &mut Owned,
    namespaces: bool,
    mut order: Vec<u8>,
) -> io::Result<Control> {
    let (mut stream, _) = tokio::select! {
        accepted = listener.accept() => accepted?,
        () = owned.ended() => {
            return Err(io::Error::other("it ended at once"));
        }
    };
    if namespaces {
        let init = stream.peer_cred()?.pid();
        let init = init.ok_or_else(|| io::Error::other("the kernel does not tell who called"))?;
        owned.found_init(init)?;
    }
    order.push(b'\n');
    stream.write_all(&order).await?;
    let (line, unread) = first_line(&mut stream).await?;
    match serde_json::from_str(&line) {
        Ok(Report::Started) => Control::new(stream.into_std()?, unread),
        Ok(Report::Refused { why }) => Err(io::Error::other(why)),
        Ok(Report::Peak { .. } | Report::Ended { .. }) | Err(_) => {
            Err(io::Error::other("it ended at once"))
        }
    }
}

async fn first_line(stream: &mut UnixStream) -> io::Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    Ok((line, reader.buffer().to_vec()))
}

/// Adds what bubblewrap or init said on standard error before they ended.
async fn explain(error: io::Error, streams: &mut Streams) -> io::Error {
    let mut said = Vec::new();
    let mut head = (&mut streams.stderr).take(4096);
    // what was read until then counts, whether the end came in time or not
    let _ = timeout(Duration::from_secs(1), head.read_to_end(&mut said)).await;
    let said = String::from_utf8_lossy(&said);
    match said.trim() {
        "" => error,
        said => io::Error::new(error.kind(), format!("{error}: {said}")),
    }
}

#[async_trait]
impl Sandbox for ProcessSandbox {
    async fn confinement(&self) -> Result<Confinement, SandboxError> {
        let held = self.held().await?;
        Ok(Confinement {
            namespaces: held.namespaces,
            landlock_abi: held.landlock_abi,
            detail: held.detail.clone(),
        })
    }

    async fn spawn(&self, spec: ProcessSpec) -> Result<Box<dyn SandboxedProcess>, SandboxError> {
        let held = self.held().await?;
        Ok(Box::new(self.start(held, spec).await?))
    }

    fn bridge(&self) -> (PathBuf, Vec<String>) {
        let namespaces = match self.held.get() {
            Some(held) => held.namespaces,
            None => self.config.mode != SandboxMode::Off,
        };
        let (program, mut args) = self.init(namespaces);
        args.push("bridge".to_owned());
        (program, args)
    }
}
