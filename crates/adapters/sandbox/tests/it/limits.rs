//! What a process can use up.

use std::time::{Duration, Instant};

use fapo_domain::ports::sandbox::ProcessExit;

use crate::support::*;

#[tokio::test]
async fn a_fork_bomb_is_killed_at_its_limit() {
    for sandbox in [sandbox(), unconfined()] {
        let mark = mark();
        // doubles ten times: a thousand at most, should nothing stop it
        let mut spec = python(&format!(
            "import os, time  # {mark}\nfor _ in range(10): os.fork()\ntime.sleep(60)"
        ));
        spec.limits.processes = Some(40);
        spec.limits.wall = Some(Duration::from_secs(30));
        let began = Instant::now();
        let ran = run(&*sandbox, spec).await;
        assert_ne!(ran.exit, GOOD);
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(processes_with(&mark), [""; 0]);
    }
}

#[tokio::test]
async fn too_many_processes_are_told_on_standard_error() {
    let mut spec = shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; wait");
    spec.limits.processes = Some(5);
    // not root: the kernel refuses them before we count them
    let ran = run(&*sandbox(), spec).await;
    let said = ran.stderr.contains("where 5 are allowed") || ran.stderr.contains("fork");
    assert!(said, "{ran:?}");
}

#[tokio::test]
async fn a_file_grows_to_its_limit_and_no_further() {
    let work = tempfile::tempdir().unwrap();
    let script = "head -c 300000 /dev/zero > big; echo $?";
    let mut spec = at_work(shell(script), work.path());
    spec.limits.file_bytes = Some(100_000);
    let ran = run(&*sandbox(), spec).await;
    assert_ne!(ran.stdout, "0\n");
    assert_eq!(
        std::fs::metadata(work.path().join("big")).unwrap().len(),
        100_000
    );
}

#[tokio::test]
async fn the_private_tmp_has_a_size() {
    let mut config = config();
    config.tmp_bytes = 1 << 20;
    let sandbox = fapo_sandbox::ProcessSandbox::new(config);
    for folder in ["/tmp", "/dev/shm"] {
        let script = format!("head -c 3000000 /dev/zero > {folder}/big; stat -c %s {folder}/big");
        let ran = run(&sandbox, shell(&script)).await;
        assert_eq!(ran.stdout, "1048576\n", "{}", ran.stderr);
    }
}

#[tokio::test]
async fn memory_is_refused_over_its_limit() {
    let mut spec = python("x = bytearray(500_000_000)");
    spec.limits.memory_bytes = Some(200_000_000);
    let ran = run(&*sandbox(), spec).await;
    assert_eq!(ran.exit, ProcessExit::Code { code: 1 });
    assert!(ran.stderr.contains("MemoryError"), "{}", ran.stderr);
}

#[tokio::test]
async fn cpu_time_ends_with_its_own_signal() {
    let mut spec = shell("while :; do :; done");
    spec.limits.cpu_seconds = Some(1);
    let ran = run(&*sandbox(), spec).await;
    assert_eq!(ran.exit, ProcessExit::Signal { signal: 24 });
}

#[tokio::test]
async fn open_files_are_bounded() {
    let script = "
files = []
try:
    while True: files.append(open('/dev/null'))
except OSError as error:
    print(len(files) < 32, error.strerror)";
    let mut spec = python(script);
    spec.limits.open_files = Some(32);
    let ran = run(&*sandbox(), spec).await;
    assert_eq!(ran.stdout, "True Too many open files\n");
}

#[tokio::test]
async fn peak_memory_is_that_of_the_program() {
    let ran = run(
        &*sandbox(),
        python("import time\nx = b'x' * 120_000_000\ntime.sleep(0.3)"),
    )
    .await;
    let peak = ran.peak.unwrap();
    assert!((120_000_000..250_000_000).contains(&peak), "{peak}");
}
