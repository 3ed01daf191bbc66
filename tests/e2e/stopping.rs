//! Commands that are stopped while they run, and what is left of them: a server that ends, a job that goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use fapo_e2e::{Project, Running, fapo, root, start};
use serde_json::{Value, json};

use super::results::is_self_contained;

const INTERRUPTED: i32 = 130;

/// One request over a connection of its own; returns the head and the body.
fn http(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_simulated_model_answers_over_http_until_it_is_told_to_stop() {
    let world = root().join("examples/answer-form/sim.json");
    for signal in ["TERM", "INT"] {
        let args = ["sim", "--world", world.to_str().unwrap(), "--port", "0"];
        let mut sim = start(&args).unwrap();
        // said as data and in a note, whichever is read first
        let line = sim.wait_for("http://").unwrap();
        let (_, rest) = line.split_once("http://").unwrap();
        let (address, _) = rest.split_once("/v1").unwrap();
        let body = json!({
            "model": "sim-small",
            "messages": [{"role": "user", "content": "Answer with only the label. Ticket: Hello, I cannot sign in since December."}],
        })
        .to_string();
        let (head, reply) = http(
            address,
            &format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            ),
        );
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let reply: Value = serde_json::from_str(&reply).unwrap();
        assert_eq!(reply["choices"][0]["message"]["content"], "account");
        sim.signal(signal).unwrap();
        let ended = sim.end().unwrap();
        assert_eq!(ended.code(), 0, "{}", ended.stderr());
        assert!(
            ended.stderr().contains("\"requests\":1"),
            "{}",
            ended.stderr()
        );
        assert!(
            TcpStream::connect(address).is_err(),
            "the port is free again"
        );
    }
}

#[test]
fn a_simulated_model_that_cannot_be_served_says_why() {
    let ran = fapo(&["sim", "--world", "/nonexistent/sim.json"]).unwrap();
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr().contains("--world"), "{}", ran.stderr());
    let project = Project::empty().unwrap();
    project.write("sim.json", "{\"stile\": 1}").unwrap();
    let world = project.path().join("sim.json");
    let ran = fapo(&["sim", "--world", world.to_str().unwrap()]).unwrap();
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr().contains("stile"), "{}", ran.stderr());
}

/// A project whose model takes its time, so that a job can be met while it runs.
fn slow() -> Project {
    let project = Project::example("answer-form").unwrap();
    project
        .edit(
            "sim.json",
            "\"queries\":",
            "\"latency_ms\": 100, \"queries\":",
        )
        .unwrap();
    project
        .edit("fapo.yaml", "concurrency: 16", "concurrency: 8")
        .unwrap();
    project
}

/// Begins to optimize, up to its first figures.
fn begun(project: &Project) -> Running {
    let command = project.command("optimize", &["--json"], &[]).unwrap();
    let mut running = Running::start(command).unwrap();
    running.wait_for("baseline on train").unwrap();
    running
}

/// Ends it by a signal; says so, with the documented code, and has no result.
fn interrupted(running: Running, signal: &str) {
    running.signal(signal).unwrap();
    let ended = running.end().unwrap();
    assert_eq!(ended.code(), INTERRUPTED, "{}", ended.stderr());
    assert_eq!(ended.stdout(), "", "no result yet");
    assert!(
        ended.stderr().contains("goes on where it was"),
        "{}",
        ended.stderr()
    );
}

fn json_of(project: &Project, command: &str) -> Value {
    project.fapo(command, &["--json"]).unwrap().json().unwrap()
}

#[test]
fn an_interrupted_optimization_can_be_looked_at_and_goes_on_with_the_same_command() {
    let undisturbed = json_of(&slow(), "optimize");
    let project = slow();
    let running = begun(&project);
    // a running job can be looked at from beside, and is not run twice
    let rows = json_of(&project, "status");
    assert_eq!(rows[0]["status"], "running", "{rows:#}");
    assert_eq!(rows[0]["at_work"], true, "{rows:#}");
    let second = project.fapo("optimize", &[]).unwrap();
    assert_eq!(second.code(), 1, "{}", second.stderr());
    assert!(
        second.stderr().contains("another fapo"),
        "{}",
        second.stderr()
    );
    interrupted(running, "INT");

    let rows = json_of(&project, "status");
    assert_eq!(rows[0]["status"], "running", "{rows:#}");
    assert_eq!(rows[0]["at_work"], false, "{rows:#}");
    let shown = project.fapo("status", &[]).unwrap();
    assert!(shown.stdout().contains("interrupted"), "{}", shown.stdout());
    let written = json_of(&project, "report");
    let page = Path::new(written["html"].as_str().unwrap());
    is_self_contained(&std::fs::read_to_string(page).unwrap());
    let markdown = std::fs::read_to_string(page.with_extension("md")).unwrap();
    assert!(markdown.contains("running"), "it is not done: {markdown}");
    assert_eq!(json_of(&project, "lineage")[0]["outcome"], "baseline");

    let resumed = json_of(&project, "optimize");
    assert_eq!(resumed["job"], rows[0]["job"], "the same job");
    assert_eq!(resumed["lineage_hash"], undisturbed["lineage_hash"]);
    assert_eq!(
        resumed["spending"]["model_calls"], undisturbed["spending"]["model_calls"],
        "nothing is paid twice"
    );
}

#[test]
fn a_polite_kill_is_an_interruption() {
    interrupted(begun(&slow()), "TERM");
}

#[test]
fn a_job_that_goes_on_keeps_to_the_caps_that_are_given_now() {
    let project = Project::example("missing-hop").unwrap();
    let begun = project
        .fapo("optimize", &["--json", "--abort-after-commits", "20"])
        .unwrap();
    assert_ne!(begun.code(), 0);
    let refused = project
        .fapo("optimize", &["--json", "--max-proposals", "1"])
        .unwrap();
    assert_eq!(refused.code(), 1);
    assert!(refused.stderr().contains("--new"), "{}", refused.stderr());
    let ran = project
        .fapo("optimize", &["--json", "--max-calls", "300"])
        .unwrap();
    assert!(
        ran.stderr().contains("at most 300 model calls"),
        "{}",
        ran.stderr()
    );
    let summary = ran.json().unwrap();
    let calls = summary["spending"]["model_calls"].as_u64().unwrap();
    assert!((100..=300).contains(&calls), "{calls} calls");
}
