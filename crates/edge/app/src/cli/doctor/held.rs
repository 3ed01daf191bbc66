//! What is tried in the sandbox, as a session would be held in it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fapo_diagnosis::agent::Installed;
use fapo_domain::error::chain;
use fapo_domain::ports::sandbox::{
    Mount, ProcessExit, ProcessLimits, ProcessSpec, Sandbox, SandboxedProcess, Streams,
};
use fapo_domain::text::one_line;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;

/// How long a program may take to tell its version, and a bridge to call back.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes read of what a program says.
const SAID: u64 = 4096;

/// What the program says to `--version`.
///
/// # Errors
/// Why it says nothing, in words.
pub async fn version(sandbox: &dyn Sandbox, installed: &Installed) -> Result<String, String> {
    let (program, args) = installed.command(["--version".to_owned()]);
    let spec = spec(program, args, installed.mounts.clone());
    let mut process = sandbox.spawn(spec).await.map_err(|error| chain(&error))?;
    let (out, err) = told(&mut *process).await;
    match process.wait().await {
        Ok(ProcessExit::Code { code: 0 }) => Ok(one_line(&out, 80)),
        Ok(exit) => Err(ended(exit, &err)),
        Err(error) => Err(chain(&error)),
    }
}

/// Whether a session can reach its tools: the bridge is started as a session starts it, calls a socket of ours, shows its
/// token, and hands back what it is answered. How long that took.
///
/// # Errors
/// What failed, in words.
pub async fn tools(sandbox: &dyn Sandbox) -> Result<Duration, String> {
    let began = Instant::now();
    let io = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| format!("{what}: {error}")
    };
    let folder = tempfile::Builder::new()
        .prefix("fapo-")
        .tempdir()
        .map_err(io("no folder can be made for its socket"))?;
    let socket = folder.path().join("tools");
    let listener = UnixListener::bind(&socket).map_err(io("its socket cannot be made"))?;
    let mount = Mount {
        host: folder.path().to_owned(),
        inside: PathBuf::from("/session/run"),
    };
    let inside = sandbox
        .inside(&mount)
        .await
        .map_err(|error| chain(&error))?;
    let (program, mut args) = sandbox.bridge();
    args.push(inside.join("tools").display().to_string());
    let mut spec = spec(program, args, vec![mount]);
    // opens nothing: this socket asks for no secret, only for the line
    let token = format!("doctor-{}", std::process::id());
    spec.env
        .push(("FAPO_SESSION_TOKEN".to_owned(), token.clone()));
    let mut process = sandbox.spawn(spec).await.map_err(|error| chain(&error))?;
    let mut streams = process.streams().ok_or("its streams are gone")?;
    let talked = tokio::time::timeout(PATIENCE, talk(&listener, &token, &mut streams));
    let talked = talked
        .await
        .unwrap_or_else(|_| Err(format!("no call within {} s", PATIENCE.as_secs())));
    process.kill().await.map_err(|error| chain(&error))?;
    match talked {
        Ok(()) => Ok(began.elapsed()),
        Err(why) => {
            let mut said = String::new();
            // what it said before it ended is all that is to be had
            let _ = (&mut streams.stderr)
                .take(SAID)
                .read_to_string(&mut said)
                .await;
            Err(if said.trim().is_empty() {
                why
            } else {
                format!("{why}: {}", one_line(&said, 200))
            })
        }
    }
}

/// The token in, an answer out.
async fn talk(listener: &UnixListener, token: &str, streams: &mut Streams) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the connection broke: {error}");
    let mut answer = String::new();
    let mut out = BufReader::new(&mut streams.stdout);
    let stream = tokio::select! {
        accepted = listener.accept() => accepted.map_err(failed)?.0,
        // it writes nothing before it is answered, so this is its end
        _ = out.read_line(&mut answer) => return Err("the bridge ended".to_owned()),
    };
    let (read, mut write) = stream.into_split();
    let mut shown = String::new();
    BufReader::new(read)
        .read_line(&mut shown)
        .await
        .map_err(failed)?;
    if shown.trim_end() != token {
        return Err("it showed another token".to_owned());
    }
    write.write_all(b"heard\n").await.map_err(failed)?;
    out.read_line(&mut answer).await.map_err(failed)?;
    if answer == "heard\n" {
        Ok(())
    } else {
        Err("its answer did not arrive".to_owned())
    }
}

/// A process with nothing to write, no network, and little time.
fn spec(program: PathBuf, args: Vec<String>, read_only: Vec<Mount>) -> ProcessSpec {
    let env = [
        ("HOME", "/tmp"),
        ("PATH", "/usr/bin:/bin"),
        ("LANG", "C.UTF-8"),
    ];
    ProcessSpec {
        program,
        args,
        env: env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        cwd: PathBuf::from("/tmp"),
        read_only,
        writable: Vec::new(),
        forwards: Vec::new(),
        limits: ProcessLimits {
            wall: Some(PATIENCE),
            cpu_seconds: None,
            memory_bytes: None,
            file_bytes: Some(16 * 1024 * 1024),
            open_files: Some(1024),
            processes: Some(256),
        },
    }
}

/// The beginning of what a process says on both its streams, until it closes them.
async fn told(process: &mut dyn SandboxedProcess) -> (String, String) {
    let Some(Streams {
        stdin,
        stdout,
        stderr,
    }) = process.streams()
    else {
        return (String::new(), String::new());
    };
    drop(stdin);
    tokio::join!(head(stdout), head(stderr))
}

async fn head(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut said = Vec::new();
    // what came before a failure counts; its end is the process's affair
    let _ = (&mut stream).take(SAID).read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).into_owned()
}

fn ended(exit: ProcessExit, said: &str) -> String {
    let how = match exit {
        ProcessExit::Code { code } => format!("it ended with code {code}"),
        ProcessExit::Signal { signal } => format!("it ended by signal {signal}"),
        ProcessExit::TimedOut => format!("it did not answer within {} s", PATIENCE.as_secs()),
        ProcessExit::Killed => "it was killed".to_owned(),
    };
    match said.trim() {
        "" => how,
        said => format!("{how}: {}", one_line(said, 200)),
    }
}
