//! fapo is killed while a coding agent has a session: nothing of the session lives on, the same command goes on, and what was
//! paid is counted once.

use std::path::Path;

use fapo_e2e::{Project, Running};
use fapo_testkit::messages::{Conversation, Gate, Move, Script, ScriptedMessages};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

/// Tokens of each scripted reply in dollars: 100 in at $5 and 10 out at $25 a million.
const REPLY_USD: f64 = 0.00075;

fn project(base_url: &str) -> Project {
    let project = Project::example("missing-hop").unwrap();
    for (from, to) in [
        (
            "models:\n",
            format!(
                "models:\n  proposer: {{ provider: anthropic, model: claude-opus-4-5, base_url: \"{base_url}\", price: {{ input: 5, output: 25 }} }}\n"
            ),
        ),
        (
            "world: sim.json",
            "world: sim.json, price: { input: 0, output: 0 }".to_owned(),
        ),
        ("proposals: 20", "proposals: 1, usd: 50".to_owned()),
        (
            "proposer: { backend: catalogue }",
            "proposer: { backend: claude-code }\nreviewer: { backend: none }".to_owned(),
        ),
    ] {
        project.edit("fapo.yaml", from, &to).unwrap();
    }
    project
}

/// The process and all that descend from it, as the kernel shows them.
fn family(of: u32) -> Vec<u32> {
    let mut family = vec![of];
    let mut at = 0;
    while at < family.len() {
        let parent = family[at];
        for thread in std::fs::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = std::fs::read_to_string(thread.path().join("children"));
            family.extend(
                children
                    .unwrap_or_default()
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
        at += 1;
    }
    family
}

/// Waits until each of these has ended; whoever has not after half a minute is named.
fn all_end(processes: Vec<(u32, rustix::fd::OwnedFd)>) {
    let limit = Timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };
    for (id, process) in processes {
        let mut ends = [PollFd::new(&process, PollFlags::IN)];
        let ended = poll(&mut ends, Some(&limit)).unwrap();
        let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        assert_eq!(ended, 1, "{id} lives on: {}", line.replace('\0', " "));
    }
}

fn role(summary: &Value, name: &str, field: &str) -> f64 {
    summary["spending"]["by_role"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["role"] == name)
        .filter_map(|row| row[field].as_f64())
        .sum()
}

#[test]
fn a_kill_during_a_session_leaves_no_process_and_the_job_goes_on() {
    let Some(program) = fapo_testkit::claude_or_skip("a_kill_during_a_session") else {
        return;
    };
    let gate = Gate::closed();
    let look = |path: &str| Move::call("Read", json!({ "file_path": path }));
    let answer = "/session/work/pipeline/prompts/answer.md";
    let script = Script::new()
        .conversation(
            Conversation::new("killed")
                .then(look(answer))
                .then(Move::text("never said").behind(&gate)),
        )
        .conversation(
            Conversation::new("resumed")
                .then(look(answer))
                .then(Move::call("Edit", json!({
                    "file_path": answer,
                    "old_string": "You answer questions",
                    "new_string": "You carefully answer questions",
                })))
                .then(Move::answer(json!({
                    "outcome": "changed", "hypothesis": "Care helps.", "technique": "role", "idea": "care",
                    "target_cluster": "", "expected_gain": 0.1, "expected_cost_ratio": 1.0,
                }))),
        );
    let claude = ScriptedMessages::start(script).unwrap();
    let project = project(&claude.base_url());
    let env = [
        ("ANTHROPIC_API_KEY", "any"),
        ("FAPO_CLAUDE", program.to_str().unwrap()),
    ];
    let command = project.command("optimize", &["--json"], &env).unwrap();
    let running = Running::start(command).unwrap();
    claude
        .wait_for_blocking(|requests| requests.len() == 2)
        .unwrap();
    let processes: Vec<(u32, rustix::fd::OwnedFd)> = family(running.id())
        .into_iter()
        .filter_map(|id| {
            let pid = Pid::from_raw(i32::try_from(id).ok()?)?;
            Some((id, pidfd_open(pid, PidfdFlags::empty()).ok()?))
        })
        .collect();
    let cli = program.file_name().unwrap().to_str().unwrap().to_owned();
    let runs_cli = |id: u32| {
        std::fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| {
            line.split('\0')
                .next()
                .is_some_and(|name| name.ends_with(&cli))
        })
    };
    assert!(
        processes.iter().any(|(id, _)| runs_cli(*id)),
        "the session's program is among them"
    );
    assert!(processes.len() > 3, "{processes:?}");
    running.signal("KILL").unwrap();
    all_end(processes);
    drop(running);

    // the same command goes on; the gate stays closed for the dead session's reply
    let resumed = project
        .fapo_with_env("optimize", &["--json"], &env)
        .unwrap()
        .json()
        .unwrap();
    gate.open();
    assert_eq!(claude.requests_of("resumed").len(), 3);
    // settled: the one reply before the kill, and the three after it; lost: the one that was under way, at its worst case
    let paid = role(&resumed, "proposer", "usd");
    assert!((paid - 4.0 * REPLY_USD).abs() < 1e-9, "{resumed:#}");
    let lost = role(&resumed, "lost replies", "model_calls");
    assert!((lost - 1.0).abs() < f64::EPSILON, "{resumed:#}");
    let listed = project.fapo_with_env("session", &["--json"], &env).unwrap();
    let sessions = listed.json().unwrap();
    assert_eq!(sessions.as_array().unwrap().len(), 1, "{sessions:#}");
    let scratch = std::env::temp_dir();
    let left: Vec<String> = std::fs::read_dir(&scratch)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_of(path, project.path()))
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

/// Whether a folder of sessions is this project's: it is named by a hash of the project's place.
fn is_of(folder: &Path, project: &Path) -> bool {
    let place = project.canonicalize().unwrap();
    let hash = fapo_domain::ContentHash::of(place.as_os_str().as_encoded_bytes());
    folder
        .file_name()
        .is_some_and(|name| name.to_string_lossy() == format!("fapo-{}", hash.short()))
}
