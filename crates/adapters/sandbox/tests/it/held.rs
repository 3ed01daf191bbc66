//! What surrounds a process: its environment, its user, its processes.

use fapo_domain::ports::sandbox::Sandbox;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

#[tokio::test]
async fn the_environment_is_exactly_what_was_given() {
    let mut spec = spec("/usr/bin/env", &[]);
    spec.env = vec![
        ("ONE".to_owned(), "a b\nc".to_owned()),
        ("TWO".to_owned(), String::new()),
    ];
    let ran = run(&*sandbox(), spec).await;
    assert_eq!(ran.stdout, "ONE=a b\nc\nTWO=\n");
}

#[tokio::test]
async fn arguments_arrive_as_they_are() {
    let ran = run(
        &*sandbox(),
        spec(
            "/usr/bin/printf",
            &["%s|", "a b", "", "--", "'\"\\ü\n", "$HOME"],
        ),
    )
    .await;
    assert_eq!(ran.stdout, "a b||--|'\"\\ü\n|$HOME|");
}

#[tokio::test]
async fn only_the_sessions_own_processes_are_seen_and_its_init_is_closed() {
    let script = "
import os
pids = sorted(int(name) for name in os.listdir('/proc') if name.isdigit())
print(pids == [1, os.getpid()], os.getppid(), os.getuid(), os.uname().nodename)
for path in ['environ', 'mem', 'maps', 'fd/0', 'cwd', 'root', 'exe', 'io', 'task/1/environ']:
    try:
        open('/proc/1/' + path, 'rb').read(1)
        print('open:', path)
    except OSError:
        pass
for signal in (9, 19, 15):
    try:
        os.kill(1, signal)
    except PermissionError:
        pass  # Landlock forbids what PID 1 would not hear anyway
status = open('/proc/self/status').read()
print([line.split()[1] for line in status.splitlines() if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs'))])
";
    let ran = run(&*sandbox(), python(script)).await;
    let none = "0000000000000000";
    assert_eq!(
        ran.stdout,
        format!("True 1 1000 sandbox\n['{none}', '{none}', '1']\n"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.exit, GOOD);
}

#[tokio::test]
async fn a_process_makes_no_namespaces_of_its_own() {
    let ran = run(&*sandbox(), shell("unshare -Ur true 2>&1 && echo made")).await;
    assert!(!ran.stdout.contains("made"), "{}", ran.stdout);
}

#[tokio::test]
async fn streams_are_the_callers() {
    let mut process = sandbox().spawn(spec("/bin/cat", &[])).await.unwrap();
    let mut streams = process.streams().unwrap();
    assert!(process.streams().is_none());
    streams.stdin.write_all(b"one\n").await.unwrap();
    let mut line = [0; 4];
    streams.stdout.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"one\n");
    drop(streams.stdin);
    assert_eq!(process.wait().await.unwrap(), GOOD);
    assert_eq!(process.wait().await.unwrap(), GOOD);
    assert_eq!(process.kill().await.unwrap(), GOOD);
}

#[tokio::test]
async fn a_flood_is_bounded_by_the_reader_and_does_not_stop_the_end() {
    let script = "cat /dev/zero & cat /dev/zero >&2";
    let mut process = sandbox().spawn(shell(script)).await.unwrap();
    let mut streams = process.streams().unwrap();
    let mut read = vec![0; 1 << 20];
    streams.stdout.read_exact(&mut read).await.unwrap();
    // nobody reads on, and the writers are stuck: it ends all the same
    process.kill().await.unwrap();
    let ran = run(
        &*sandbox(),
        shell("head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2"),
    )
    .await;
    assert_eq!(
        (ran.stdout.len(), ran.stderr.len()),
        (20_000_000, 20_000_000)
    );
}

#[tokio::test]
async fn confinement_says_how_it_is_held() {
    let held = sandbox().confinement().await.unwrap();
    assert!(held.namespaces);
    assert!(held.detail.contains("bubblewrap"), "{}", held.detail);
}

#[tokio::test]
async fn without_bubblewrap_it_refuses_and_says_what_to_do() {
    let mut config = config();
    for (bwrap, wanted) in [
        (None, "install bubblewrap"),
        (Some("/bin/false".into()), "it ended at once"),
    ] {
        config.bwrap = bwrap;
        let sandbox = fapo_sandbox::ProcessSandbox::new(config.clone());
        let error = sandbox.confinement().await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(wanted) && text.contains("FAPO_SANDBOX=off"),
            "{text}"
        );
        assert!(sandbox.spawn(shell("true")).await.is_err());
    }
}

#[tokio::test]
async fn descriptors_that_fapo_was_started_with_do_not_reach_the_program() {
    let file = tempfile::tempfile().unwrap();
    // as a shell leaves them that did not close its own
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    // the one that the listing itself used is gone when it is looked at
    let script = "
import os
def is_open(fd):
    try: return bool(os.fstat(fd))
    except OSError: return False
print([fd for fd in sorted(map(int, os.listdir('/proc/self/fd'))) if is_open(fd)])";
    for sandbox in [sandbox(), unconfined()] {
        let ran = run(&*sandbox, python(script)).await;
        assert_eq!(ran.stdout, "[0, 1, 2]\n", "{}", ran.stderr);
    }
}
