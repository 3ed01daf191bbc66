//! Owns a session and waits, for the test that kills such an owner: `owner INIT FOLDER` starts a shell that leaves a
//! process behind and writes to `FOLDER/alive` for ever, and says `ready` once it does.

use std::io::Write;
use std::path::PathBuf;

use fapo_domain::ports::sandbox::{Mount, ProcessLimits, ProcessSpec, Sandbox};
use fapo_sandbox::{ProcessSandbox, SandboxConfig, SandboxMode, find_program};

const SCRIPT: &str = "
(setsid sh -c 'while :; do echo daemon >> alive; sleep 0.05; done' &)
while :; do echo program >> alive; sleep 0.05; done";

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, init, folder, mode] = &args[..] else {
        anyhow::bail!("owner INIT FOLDER required|off");
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut config = SandboxConfig::new(find_program("bwrap", &path), init.into(), Vec::new());
    if mode == "off" {
        config.mode = SandboxMode::Off;
    }
    let spec = ProcessSpec {
        program: PathBuf::from("/bin/sh"),
        args: vec!["-c".to_owned(), SCRIPT.to_owned()],
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        cwd: PathBuf::from(folder),
        read_only: Vec::new(),
        writable: vec![Mount::same(folder)],
        forwards: Vec::new(),
        limits: ProcessLimits {
            wall: None,
            cpu_seconds: None,
            memory_bytes: None,
            file_bytes: None,
            open_files: None,
            processes: None,
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let sandbox = ProcessSandbox::new(config);
        let mut process = sandbox.spawn(spec).await?;
        let mut output = std::io::stdout();
        output.write_all(b"ready\n")?;
        output.flush()?;
        process.wait().await?;
        Ok(())
    })
}
