//! [`PythonPool`]: workers that are started once and asked many times.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fapo_domain::error::chain;
use fapo_domain::hash::ContentHash;
use fapo_domain::ports::code::{CodeError, CodeReply, CodeRunner, CodeUnit};
use fapo_domain::ports::sandbox::{Mount, ProcessLimits, ProcessSpec, Sandbox, SandboxError};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::interpreter::Interpreter;
use super::worker::{Broken, Reply, Request, Worker};
use super::{ISOLATED, environment, folder, write_files};

/// The program that each worker runs, and the module it gives to the user's code.
const PROGRAM: [(&str, &str); 2] = [
    ("worker.py", include_str!("../../python/worker.py")),
    ("fapo.py", include_str!("../../python/fapo.py")),
];

/// Bounds of a pool and of each of its workers.
#[derive(Debug, Clone, Copy)]
pub struct PythonConfig {
    /// Workers alive at once, over all units.
    pub workers: usize,
    /// Bytes of what a function may return, as JSON.
    pub output_bytes: usize,
    /// Characters kept of what it prints.
    pub printed_bytes: usize,
    /// How long a worker may take to start, and a file to be loaded.
    pub start: Duration,
    /// Seconds of CPU of a worker's whole life; it is replaced when half of them are used.
    pub cpu_seconds: u64,
    /// Bytes of the largest file a worker may write, in its private `/tmp`.
    pub file_bytes: u64,
    /// Processes and threads of a worker.
    pub processes: u64,
}

impl Default for PythonConfig {
    fn default() -> Self {
        Self {
            workers: 2,
            output_bytes: 8 << 20,
            printed_bytes: 4096,
            start: Duration::from_secs(60),
            cpu_seconds: 3600,
            file_bytes: 64 << 20,
            processes: 64,
        }
    }
}

struct Idle {
    unit: ContentHash,
    worker: Worker,
    since: Instant,
}

/// Runs `python` steps and scorers. One call at a time per worker; calls beyond the number of workers wait.
pub struct PythonPool {
    sandbox: Arc<dyn Sandbox>,
    interpreter: Arc<Interpreter>,
    config: PythonConfig,
    permits: Semaphore,
    idle: Mutex<Vec<Idle>>,
    /// Written once, for as long as a worker of the unit lives.
    units: tokio::sync::Mutex<HashMap<ContentHash, Weak<TempDir>>>,
}

impl PythonPool {
    /// A pool without workers.
    pub fn new(
        sandbox: Arc<dyn Sandbox>,
        interpreter: Arc<Interpreter>,
        config: PythonConfig,
    ) -> Self {
        Self {
            sandbox,
            interpreter,
            permits: Semaphore::new(config.workers.max(1)),
            config,
            idle: Mutex::new(Vec::new()),
            units: tokio::sync::Mutex::new(HashMap::new()),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle worker of the unit, or those that must go before another may be started. The caller holds a permit.
    fn take(&self, unit: ContentHash) -> Result<Worker, Vec<Worker>> {
        let mut idle = self.idle();
        let newest = idle
            .iter()
            .enumerate()
            .filter(|(_, idle)| idle.unit == unit)
            .max_by_key(|(_, idle)| idle.since)
            .map(|(at, _)| at);
        if let Some(at) = newest {
            return Ok(idle.swap_remove(at).worker);
        }
        let workers = self.config.workers.max(1);
        let busy = workers - self.permits.available_permits().min(workers);
        let mut closed = Vec::new();
        idle.sort_by_key(|idle| idle.since);
        while idle.len() + busy > workers && !idle.is_empty() {
            closed.push(idle.remove(0).worker);
        }
        Err(closed)
    }

    /// The folder with the worker's program under `worker` and the unit's files under `unit`.
    async fn files(&self, unit: &CodeUnit) -> std::io::Result<Arc<TempDir>> {
        let mut units = self.units.lock().await;
        units.retain(|_, folder| folder.strong_count() > 0);
        if let Some(folder) = units.get(&unit.hash).and_then(Weak::upgrade) {
            return Ok(folder);
        }
        let folder = Arc::new(folder("fapo-code-")?);
        let program = PROGRAM.map(|(name, text)| (name.to_owned(), Arc::from(text.as_bytes())));
        let (ours, theirs) = (folder.path().join("worker"), folder.path().join("unit"));
        tokio::fs::create_dir(&ours).await?;
        tokio::fs::create_dir(&theirs).await?;
        write_files(&ours, &program.into()).await?;
        write_files(&theirs, &unit.files).await?;
        units.insert(unit.hash, Arc::downgrade(&folder));
        Ok(folder)
    }

    /// Starts a worker and loads the unit; tried twice where it is not the unit's fault.
    async fn start(&self, unit: &CodeUnit) -> Result<Worker, CodeError> {
        let first = self.start_once(unit).await;
        match first {
            Err(CodeError::Unavailable {
                configuration: false,
                message,
                ..
            }) => {
                tracing::debug!(file = %unit.file, %message, "a worker could not be started; again");
                self.start_once(unit).await
            }
            done => done,
        }
    }

    async fn start_once(&self, unit: &CodeUnit) -> Result<Worker, CodeError> {
        let ours = |message: String| CodeError::Unavailable {
            file: unit.file.clone(),
            message,
            configuration: false,
        };
        let held = |error: SandboxError| CodeError::Unavailable {
            file: unit.file.clone(),
            configuration: matches!(error, SandboxError::Unavailable { .. }),
            message: chain(&error),
        };
        let found = self.interpreter.found(&unit.file).await?;
        let folder = match self.files(unit).await {
            Ok(folder) => folder,
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                return Err(failed(unit, error.to_string()));
            }
            Err(error) => return Err(ours(format!("its files could not be written: {error}"))),
        };
        let shown = Mount {
            host: folder.path().to_owned(),
            inside: "/run/fapo-code".into(),
        };
        let place = self.sandbox.inside(&shown).await.map_err(held)?;
        let (program, root) = (place.join("worker/worker.py"), place.join("unit"));
        let mut read_only = found.mounts.clone();
        read_only.push(shown);
        let spec = ProcessSpec {
            program: found.program.clone(),
            args: ISOLATED
                .map(str::to_owned)
                .into_iter()
                .chain([program.to_string_lossy().into_owned()])
                .collect(),
            env: environment(),
            cwd: root.clone(),
            read_only,
            writable: Vec::new(),
            forwards: Vec::new(),
            limits: ProcessLimits {
                wall: None,
                cpu_seconds: Some(self.config.cpu_seconds),
                memory_bytes: Some(unit.memory_bytes),
                file_bytes: Some(self.config.file_bytes),
                open_files: Some(256),
                processes: Some(self.config.processes),
            },
        };
        let process = self.sandbox.spawn(spec).await.map_err(held)?;
        let mut worker =
            Worker::new(process, folder).ok_or_else(|| ours("its streams are gone".to_owned()))?;
        match timeout(self.config.start, worker.greeting()).await {
            Ok(Ok(Reply::Ready { ready })) => {
                tracing::debug!(file = %unit.file, python = %ready, "a worker was started");
            }
            Ok(_) => {
                return Err(ours(format!(
                    "Python did not start: {}",
                    worker.post_mortem().await
                )));
            }
            Err(_) => return Err(ours("Python did not start in time".to_owned())),
        }
        self.load(unit, worker, &root.to_string_lossy()).await
    }

    async fn load(
        &self,
        unit: &CodeUnit,
        mut worker: Worker,
        root: &str,
    ) -> Result<Worker, CodeError> {
        let request = Request::Load {
            root,
            file: &unit.file,
            function: &unit.function,
            output_bytes: self.config.output_bytes,
            printed_bytes: self.config.printed_bytes,
        };
        match timeout(self.config.start, worker.ask(&request, 0)).await {
            Ok(Ok(Reply::Loaded { loaded: true })) => Ok(worker),
            Ok(Ok(Reply::Error { error, memory, .. })) => {
                worker.close().await;
                Err(if memory {
                    died(unit, memory_message(unit))
                } else {
                    failed(unit, error)
                })
            }
            Ok(Ok(_)) => Err(failed(unit, "it spoke in the worker's place".to_owned())),
            Ok(Err(broken)) => Err(self.broken(unit, worker, broken).await),
            Err(_) => {
                worker.close().await;
                Err(timed_out(unit, self.config.start))
            }
        }
    }

    async fn broken(&self, unit: &CodeUnit, worker: Worker, broken: Broken) -> CodeError {
        match broken {
            Broken::Ended => died(unit, worker.post_mortem().await),
            Broken::TooLong => {
                worker.close().await;
                let most = self.config.output_bytes;
                failed(unit, format!("it returned more than {most} bytes"))
            }
            Broken::Garbled(why) => {
                worker.close().await;
                failed(unit, format!("it returned what JSON cannot hold: {why}"))
            }
        }
    }
}

fn failed(unit: &CodeUnit, message: String) -> CodeError {
    CodeError::Failed {
        file: unit.file.clone(),
        message,
    }
}

fn died(unit: &CodeUnit, message: String) -> CodeError {
    CodeError::Died {
        file: unit.file.clone(),
        message,
    }
}

fn timed_out(unit: &CodeUnit, time: Duration) -> CodeError {
    CodeError::TimedOut {
        file: unit.file.clone(),
        seconds: time.as_secs().max(1),
    }
}

fn memory_message(unit: &CodeUnit) -> String {
    format!(
        "out of memory: its limit is {} MiB",
        unit.memory_bytes >> 20
    )
}

#[async_trait]
impl CodeRunner for PythonPool {
    async fn call(
        &self,
        unit: &Arc<CodeUnit>,
        input: &Value,
        time: Duration,
    ) -> Result<CodeReply, CodeError> {
        // Held until the worker is idle again or gone: no more permits than workers.
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| CodeError::Unavailable {
                file: unit.file.clone(),
                message: "the pool is closed".to_owned(),
                configuration: false,
            })?;
        let mut worker = match self.take(unit.hash) {
            Ok(worker) => worker,
            Err(closed) => {
                for worker in closed {
                    worker.close().await;
                }
                self.start(unit).await?
            }
        };
        let began = Instant::now();
        let asked = timeout(
            time,
            worker.ask(&Request::Call(input), self.config.output_bytes),
        )
        .await;
        let took = began.elapsed();
        let (answer, cpu) = match asked {
            Err(_) => {
                worker.close().await;
                return Err(timed_out(unit, time));
            }
            Ok(Err(broken)) => return Err(self.broken(unit, worker, broken).await),
            // what runs out of memory once is not trusted to have all it needs
            Ok(Ok(Reply::Error { memory: true, .. })) => {
                worker.close().await;
                return Err(died(unit, memory_message(unit)));
            }
            Ok(Ok(Reply::Error {
                error,
                cpu,
                printed,
                ..
            })) => {
                tracing::debug!(file = %unit.file, %error, %printed, "code failed");
                (Err(failed(unit, error)), cpu)
            }
            Ok(Ok(Reply::Output {
                output,
                printed,
                cpu,
            })) => {
                let reply = CodeReply {
                    output,
                    printed,
                    took,
                };
                (Ok(reply), cpu)
            }
            Ok(Ok(Reply::Loaded { .. } | Reply::Ready { .. })) => {
                worker.close().await;
                return Err(failed(unit, "it spoke in the worker's place".to_owned()));
            }
        };
        if cpu * 2.0 < Duration::from_secs(self.config.cpu_seconds).as_secs_f64() {
            self.idle().push(Idle {
                unit: unit.hash,
                worker,
                since: Instant::now(),
            });
        } else {
            worker.close().await;
        }
        answer
    }
}
