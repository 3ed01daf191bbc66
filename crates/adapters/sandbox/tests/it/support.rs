//! What the tests have in common.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fapo_domain::ports::sandbox::{
    Mount, ProcessExit, ProcessLimits, ProcessSpec, Sandbox, SandboxedProcess,
};
use fapo_sandbox::{ProcessSandbox, SandboxConfig, SandboxMode, find_program};
use tokio::io::AsyncReadExt;

pub const INIT: &str = env!("CARGO_BIN_EXE_fapo-sandbox-init");
/// Far beyond what anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The path of programs, which the product reads once and hands down.
pub fn search_path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// The home of whoever runs this.
pub fn home() -> String {
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    home.into_string().unwrap()
}

pub fn require_bwrap() -> PathBuf {
    find_program("bwrap", &search_path())
        .expect("install bubblewrap: these tests are about what it holds")
}

pub fn config() -> SandboxConfig {
    SandboxConfig::new(Some(require_bwrap()), INIT.into(), Vec::new())
}

pub fn sandbox() -> Arc<ProcessSandbox> {
    Arc::new(ProcessSandbox::new(config()))
}

pub fn unconfined() -> Arc<ProcessSandbox> {
    let mut config = SandboxConfig::new(None, INIT.into(), Vec::new());
    config.mode = SandboxMode::Off;
    Arc::new(ProcessSandbox::new(config))
}

pub const NO_LIMITS: ProcessLimits = ProcessLimits {
    wall: None,
    cpu_seconds: None,
    memory_bytes: None,
    file_bytes: None,
    open_files: None,
    processes: None,
};

pub fn spec(program: &str, args: &[&str]) -> ProcessSpec {
    ProcessSpec {
        program: program.into(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        cwd: "/tmp".into(),
        read_only: Vec::new(),
        writable: Vec::new(),
        forwards: Vec::new(),
        limits: NO_LIMITS,
    }
}

pub fn shell(script: &str) -> ProcessSpec {
    spec("/bin/sh", &["-c", script])
}

pub fn python(script: &str) -> ProcessSpec {
    spec("/usr/bin/python3", &["-I", "-c", script])
}

/// `folder` shown as `/work`, writable, and the working folder.
pub fn at_work(mut spec: ProcessSpec, folder: &Path) -> ProcessSpec {
    spec.writable.push(Mount {
        host: folder.into(),
        inside: "/work".into(),
    });
    spec.cwd = "/work".into();
    spec
}

#[derive(Debug)]
pub struct Ran {
    pub exit: ProcessExit,
    pub stdout: String,
    pub stderr: String,
    pub peak: Option<u64>,
}

/// Runs it to its end, with nothing on its standard input.
pub async fn run(sandbox: &dyn Sandbox, spec: ProcessSpec) -> Ran {
    let process = sandbox.spawn(spec).await.unwrap();
    finish(process).await
}

pub async fn finish(mut process: Box<dyn SandboxedProcess>) -> Ran {
    let mut streams = process.streams().unwrap();
    drop(streams.stdin);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let both = async {
        let (out, err) = tokio::join!(
            streams.stdout.read_to_end(&mut stdout),
            streams.stderr.read_to_end(&mut stderr),
        );
        out.unwrap();
        err.unwrap();
        process.wait().await.unwrap()
    };
    let exit = tokio::time::timeout(PATIENCE, both)
        .await
        .expect("it hangs");
    Ran {
        exit,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        peak: process.peak_memory(),
    }
}

pub const GOOD: ProcessExit = ProcessExit::Code { code: 0 };

/// Waits until something is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Processes of the host whose command line has `mark`.
pub fn processes_with(mark: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            path.file_name()?.to_str()?.parse::<u32>().ok()?;
            let line = std::fs::read(path.join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(mark).then_some(line)
        })
        .collect()
}

/// A text that is on no other command line.
pub fn mark() -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("mark-{}-{next}", std::process::id())
}
