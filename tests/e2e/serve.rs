//! A server of the real binary: it comes up, says where it is, answers, and stops in order.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fapo_e2e::{Project, Running, fapo, start};
use serde_json::Value;

/// Every role in one process, over a folder of its own, on free ports.
fn serve(folder: &Project, more: &[&str]) -> (Running, Value) {
    let dir = folder.path().join("server");
    let dir = dir.to_str().unwrap();
    let mut args = vec![
        "serve",
        "--json",
        "--dir",
        dir,
        "--grpc",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ];
    args.extend(more);
    let mut running = start(&args).unwrap();
    let line = running.wait_for("\"grpc\"").unwrap();
    let said = serde_json::from_str(&line).unwrap();
    (running, said)
}

fn url(said: &Value, port: &str) -> String {
    format!("http://{}", said[port].as_str().unwrap())
}

/// The whole answer to a GET, head and body.
fn get(said: &Value, path: &str) -> String {
    let mut stream = TcpStream::connect(said["http"].as_str().unwrap()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn every_role_in_one_process_works_out_of_the_box_and_stops_in_order() {
    let folder = Project::empty().unwrap();
    let (running, said) = serve(&folder, &[]);
    assert_eq!(said["roles"].as_array().unwrap().len(), 6, "{said}");
    for asked in [
        ["--http", &url(&said, "http")],
        ["--grpc", &url(&said, "grpc")],
    ] {
        let ran = fapo(&["health", asked[0], asked[1]]).unwrap();
        assert_eq!(ran.code(), 0, "{asked:?}: {}", ran.stderr());
    }
    assert!(get(&said, "/healthz").starts_with("HTTP/1.1 200"));
    let ready = get(&said, "/readyz");
    assert!(
        ready.contains("\"store\":\"ok\"") && ready.contains("\"queue\":\"ok\""),
        "{ready}"
    );
    assert!(get(&said, "/metrics").starts_with("HTTP/1.1 200"));
    assert!(get(&said, "/api/v1/jobs").starts_with("HTTP/1.1 200"));

    let begun = Instant::now();
    running.signal("TERM").unwrap();
    let ended = running.end().unwrap();
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_server_that_is_gone_is_not_healthy() {
    let folder = Project::empty().unwrap();
    let (running, said) = serve(&folder, &[]);
    running.signal("KILL").unwrap();
    running.end().unwrap();
    for asked in [
        ["--http", &url(&said, "http")],
        ["--grpc", &url(&said, "grpc")],
    ] {
        let ran = fapo(&["health", asked[0], asked[1]]).unwrap();
        assert_eq!(ran.code(), 1, "{asked:?}");
        assert!(ran.stderr().contains("does not answer"), "{}", ran.stderr());
    }
}

#[test]
fn tokens_are_made_once_listed_without_their_text_and_revoked() {
    let folder = Project::empty().unwrap();
    let (running, said) = serve(&folder, &["--set", "auth.mode=tokens"]);
    let refused = get(&said, "/api/v1/jobs");
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let dir = format!("node.dir={}", folder.path().join("server").display());
    let at = ["--set", dir.as_str()];
    let create = [
        "token",
        "create",
        "--name",
        "ci",
        "--role",
        "viewer",
        "--project",
        "qa",
    ];
    let made = fapo(&[&create[..], &at[..], &["--expires", "30d"]].concat()).unwrap();
    let token = made.stdout().trim().to_owned();
    assert!(
        token.starts_with("fapo_") && token.len() == 65,
        "{token:?} {}",
        made.stderr()
    );
    let listed = fapo(&[&["token", "list"][..], &at[..]].concat()).unwrap();
    let secret = &token[22..];
    assert!(listed.stdout().contains("ci") && !listed.stdout().contains(secret));
    let revoked = fapo(&[&["token", "revoke", &token[5..21]][..], &at[..]].concat()).unwrap();
    assert_eq!(revoked.code(), 0, "{}", revoked.stderr());
    running.signal("TERM").unwrap();
    assert_eq!(running.end().unwrap().code(), 0);
}

#[test]
fn a_configuration_that_does_not_fit_lists_all_its_problems_and_starts_nothing() {
    let ran = fapo(&[
        "serve",
        "--role",
        "executor",
        "--set",
        "workers.execute=0",
        "--set",
        "node.colour=red",
        "--http",
        "0.0.0.0:0",
    ])
    .unwrap();
    assert_eq!(ran.code(), 3, "{}", ran.stderr());
    for part in [
        "node.colour",
        "workers.execute",
        "node.roles",
        "listen.http",
        "4 problems",
    ] {
        assert!(
            ran.stderr().contains(part),
            "{part} is not in {}",
            ran.stderr()
        );
    }
    assert_eq!(ran.stdout(), "");
}

#[test]
fn two_servers_do_not_share_a_folder_and_the_second_says_so() {
    let folder = Project::empty().unwrap();
    let (running, _) = serve(&folder, &[]);
    let dir = folder.path().join("server");
    let second = fapo(&[
        "serve",
        "--dir",
        dir.to_str().unwrap(),
        "--grpc",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ])
    .unwrap();
    assert_eq!(second.code(), 1, "{}", second.stderr());
    assert!(
        second.stderr().contains("another fapo works"),
        "{}",
        second.stderr()
    );
    running.signal("TERM").unwrap();
    assert_eq!(running.end().unwrap().code(), 0);
}
