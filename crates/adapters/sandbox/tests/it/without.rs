//! Without namespaces, as the operator may allow: what still holds.

use fapo_domain::ports::sandbox::{Forward, Mount, Sandbox};
use fapo_sandbox::{ProcessSandbox, SandboxMode};

use crate::support::*;

#[tokio::test]
async fn places_are_the_hosts_own() {
    let work = tempfile::tempdir().unwrap();
    let mount = Mount {
        host: work.path().into(),
        inside: "/work".into(),
    };
    let (with, without) = (sandbox(), unconfined());
    assert_eq!(with.inside(&mount).await.unwrap(), mount.inside);
    assert_eq!(without.inside(&mount).await.unwrap(), mount.host);
    let mut spec = shell("pwd; echo a > new");
    spec.cwd = work.path().into();
    spec.writable.push(mount);
    let ran = run(&*without, spec).await;
    assert_eq!(
        ran.stdout,
        format!("{}\n", work.path().display()),
        "{}",
        ran.stderr
    );
    assert!(work.path().join("new").exists());
}

#[tokio::test]
async fn the_environment_is_exactly_what_was_given() {
    let mut spec = spec("/usr/bin/env", &[]);
    spec.env = vec![("ONE".to_owned(), "1".to_owned())];
    assert_eq!(run(&*unconfined(), spec).await.stdout, "ONE=1\n");
}

#[tokio::test]
async fn landlock_holds_files_ports_and_processes_where_the_kernel_has_it() {
    let sandbox = unconfined();
    let held = sandbox.confinement().await.unwrap();
    assert!(!held.namespaces);
    if held.landlock_abi < 6 {
        // An older kernel holds less, and says so: then this is what there is to test.
        assert!(held.detail.contains("no namespaces"), "{}", held.detail);
        return;
    }
    let home = home();
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let pid = std::process::id();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let script = format!(
        "
import os, socket
def tried(name, what):
    try:
        what()
        print(name)
    except OSError:
        pass
tried('home', lambda: os.listdir({home:?}))
tried('shadow', lambda: open('/etc/shadow'))
tried('write', lambda: open('/usr/fapo-test', 'w'))
tried('environment', lambda: open('/proc/{pid}/environ').read())
tried('kill', lambda: os.kill({pid}, 0))
tried('init', lambda: os.kill(os.getppid(), 0))
tried('port', lambda: socket.create_connection(('127.0.0.1', {port})))
tried('listen', lambda: socket.create_server(('127.0.0.1', 0)))
tried('forward', lambda: socket.create_connection(('127.0.0.1', int(os.environ['PORT']))))
"
    );
    let mut spec = python(&script);
    spec.forwards.push(Forward {
        socket,
        variable: "PORT".to_owned(),
        address: "{port}".to_owned(),
    });
    let ran = run(&*sandbox, spec).await;
    assert_eq!(ran.stdout, "forward\n", "{}", ran.stderr);
}

#[tokio::test]
async fn preferred_takes_namespaces_where_they_can_be_had_and_goes_without_elsewhere() {
    let mut config = config();
    config.mode = SandboxMode::Preferred;
    let with = ProcessSandbox::new(config.clone())
        .confinement()
        .await
        .unwrap();
    assert!(with.namespaces);
    config.bwrap = None;
    let without = ProcessSandbox::new(config).confinement().await.unwrap();
    assert!(!without.namespaces);
    assert!(
        without.detail.contains("not installed"),
        "{}",
        without.detail
    );
}

#[tokio::test]
async fn the_tmp_is_a_folder_of_the_sessions_own_and_goes_with_it() {
    let mut spec =
        shell("pwd; echo $HOME; touch x; mktemp; echo a > /tmp/fapo-shared && echo written");
    spec.env
        .extend(["HOME", "TMPDIR"].map(|name| (name.to_owned(), "/tmp".to_owned())));
    let sandbox = unconfined();
    let ran = run(&*sandbox, spec).await;
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], lines[1]);
    assert_ne!(lines[0], "/tmp");
    assert!(lines[2].starts_with(lines[0]), "{lines:?}");
    assert!(!std::path::Path::new(lines[0]).exists());
    if sandbox.confinement().await.unwrap().landlock_abi > 0 {
        assert_eq!(lines.len(), 3, "{lines:?}");
    }
    std::fs::remove_file("/tmp/fapo-shared").ok();
}

#[tokio::test]
async fn what_cannot_be_hidden_without_namespaces_is_refused() {
    let mut config = config();
    config.mode = SandboxMode::Off;
    config.hidden = vec![std::fs::canonicalize("/usr/share").unwrap()];
    let error = ProcessSandbox::new(config).confinement().await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("move the project"), "{said}");
}
