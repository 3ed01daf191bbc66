//! A session ends as a whole.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fapo_domain::ports::sandbox::{ProcessExit, Sandbox};
use tokio::io::AsyncReadExt;

use crate::support::*;

/// Leaves a process behind in a session of its own, and says so when it runs.
fn with_daemon(mark: &str, last: &str) -> String {
    format!(
        "(setsid sh -c 'echo daemon; while :; do sleep 0.05; done' {mark} < /dev/null &)
         sh -c 'while :; do sleep 0.05; done' {mark} &
         {last}"
    )
}

async fn first_line(process: &mut Box<dyn fapo_domain::ports::sandbox::SandboxedProcess>) {
    let mut streams = process.streams().unwrap();
    let mut line = [0; 7];
    streams.stdout.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"daemon\n");
}

#[tokio::test]
async fn what_a_program_leaves_behind_is_gone_when_it_ends() {
    for sandbox in [sandbox(), unconfined()] {
        let mark = mark();
        let script = with_daemon(&mark, "sleep 0.1; exit 3");
        let ran = run(&*sandbox, shell(&script)).await;
        assert_eq!(ran.exit, ProcessExit::Code { code: 3 });
        assert_eq!(ran.stdout, "daemon\n");
        assert_eq!(processes_with(&mark), [""; 0]);
    }
}

#[tokio::test]
async fn a_kill_leaves_nothing() {
    for sandbox in [sandbox(), unconfined()] {
        let mark = mark();
        let mut process = sandbox
            .spawn(shell(&with_daemon(&mark, "wait")))
            .await
            .unwrap();
        first_line(&mut process).await;
        assert!(!processes_with(&mark).is_empty());
        assert_eq!(process.kill().await.unwrap(), ProcessExit::Killed);
        assert_eq!(processes_with(&mark), [""; 0]);
        assert_eq!(process.wait().await.unwrap(), ProcessExit::Killed);
    }
}

#[tokio::test]
async fn a_dropped_process_is_killed_as_a_whole() {
    for sandbox in [sandbox(), unconfined()] {
        let mark = mark();
        let mut process = sandbox
            .spawn(shell(&with_daemon(&mark, "wait")))
            .await
            .unwrap();
        first_line(&mut process).await;
        drop(process);
        until("all are gone", || processes_with(&mark).is_empty()).await;
    }
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let mut process = sandbox().spawn(shell("read line; exit 4")).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(50), process.wait()).await;
    assert!(waited.is_err());
    drop(process.streams());
    assert_eq!(process.wait().await.unwrap(), ProcessExit::Code { code: 4 });
}

#[tokio::test]
async fn time_on_the_wall_ends_it_even_if_nobody_waits() {
    for sandbox in [sandbox(), unconfined()] {
        let mark = mark();
        let mut spec = shell(&with_daemon(&mark, "trap '' TERM INT; wait"));
        spec.limits.wall = Some(Duration::from_millis(300));
        let mut process = sandbox.spawn(spec).await.unwrap();
        first_line(&mut process).await;
        until("all are gone", || processes_with(&mark).is_empty()).await;
        assert_eq!(process.wait().await.unwrap(), ProcessExit::TimedOut);
    }
}

#[tokio::test]
async fn signals_are_told_as_such() {
    for (signal, wanted) in [("SEGV", 11), ("KILL", 9), ("TERM", 15)] {
        let ran = run(&*sandbox(), shell(&format!("kill -{signal} $$"))).await;
        assert_eq!(ran.exit, ProcessExit::Signal { signal: wanted });
    }
}

/// The kernel ends bubblewrap's sessions when the thread that started them ends, so that must not be one that comes and goes.
#[test]
fn a_session_outlives_the_thread_and_the_runtime_that_started_it() {
    let sandbox = sandbox();
    let starting = std::sync::Arc::clone(&sandbox);
    let started = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut process = runtime
            .block_on(starting.spawn(shell("read line; exit 5")))
            .unwrap();
        // kept open; it belongs to the runtime that is about to go
        (process.streams(), process)
    });
    let (streams, mut process) = started.join().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let waited = tokio::time::timeout(Duration::from_millis(100), process.wait()).await;
        assert!(waited.is_err(), "{waited:?}");
        drop(streams);
        assert_eq!(process.wait().await.unwrap(), ProcessExit::Code { code: 5 });
    });
}

#[tokio::test]
async fn sessions_end_with_the_kill_of_their_owner() {
    let examples = Path::new(INIT).parent().unwrap().join("examples/owner");
    require_bwrap();
    for mode in ["required", "off"] {
        let folder = tempfile::tempdir().unwrap();
        let mut owner = Command::new(&examples)
            .args([INIT, folder.path().to_str().unwrap(), mode])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(owner.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let alive = folder.path().join("alive");
        let both = || {
            let text = std::fs::read_to_string(&alive).unwrap_or_default();
            text.contains("daemon") && text.contains("program")
        };
        until("both write", both).await;
        // SIGKILL: it cannot tidy up
        owner.kill().unwrap();
        owner.wait().unwrap();
        until("nobody writes any more", || {
            std::fs::remove_file(&alive).ok();
            std::thread::park_timeout(Duration::from_millis(200));
            !alive.exists()
        })
        .await;
    }
}

#[tokio::test]
async fn many_sessions_at_once_do_not_disturb_each_other() {
    let sandbox = sandbox();
    let runs = (0..24).map(|at| {
        let sandbox = sandbox.clone();
        async move {
            let ran = run(&*sandbox, shell(&format!("echo {at}; exit {at}"))).await;
            assert_eq!(ran.exit, ProcessExit::Code { code: at });
            assert_eq!(ran.stdout, format!("{at}\n"));
        }
    });
    futures::future::join_all(runs).await;
}
