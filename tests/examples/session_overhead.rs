//! What the wrapper of a session costs: the real Claude Code CLI as it is, beside the same CLI in the sandbox, through the relay,
//! with its files read back. Both sides alternate against one scripted endpoint.
//!
//! `cargo run --release -p fapo-e2e --example session_overhead -- [ROUNDS]`, after `cargo build --release -p fapo` and
//! `make tools`.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fapo_diagnosis::agent::{AgentParts, ClaudeCode, CliAgent, Installed};
use fapo_domain::clock::SystemClock;
use fapo_domain::model::session::SessionId;
use fapo_domain::model::task::Fence;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::agents::{AgentLimits, AgentRequest, CodingAgent as _};
use fapo_domain::ports::ledger::{Caps, Ledger};
use fapo_domain::ports::sandbox::Mount;
use fapo_llm::{LlmRelays, PriceTable};
use fapo_sandbox::{ProcessSandbox, SandboxConfig, find_program};
use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::messages::{Conversation, Gate, Move, Script, ScriptedMessages};
use fapo_testkit::sample;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// What one session took.
#[derive(Debug, Default, Clone, Copy)]
struct Took {
    /// From the call to the first request at the endpoint, in milliseconds.
    first_request: f64,
    /// From the call to its return, in milliseconds.
    whole: f64,
    /// From the program's end to the files being read back, in milliseconds.
    harvest: f64,
    /// Resident memory of what the wrapper adds while the session waits for its model: bubblewrap and its first process, in MB.
    beside: f64,
    /// Resident memory of the CLI at the same moment, in MB.
    cli: f64,
}

fn main() -> Result<()> {
    let rounds = std::env::args()
        .nth(1)
        .map_or(Ok(10), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let claude = fapo_testkit::claude().context("the CLI is needed: `make tools`")?;
    let (mut bare, mut held) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let one = run_bare(&claude)?;
        let other = runtime.block_on(run_held(&claude))?;
        // the first round warms the caches of the disk
        if round > 0 {
            bare.push(one);
            held.push(other);
        }
    }
    println!("median (least to most) of {rounds}\n");
    println!("| | as it is | wrapped |\n|---|---|---|");
    let row = |what: &str, of: fn(&Took) -> f64| {
        println!(
            "| {what} | {} | {} |",
            figures(&bare, of),
            figures(&held, of)
        );
    };
    row("start to first request, ms", |took| took.first_request);
    row("whole session of two requests, ms", |took| took.whole);
    row("end of the program to files read back, ms", |took| {
        took.harvest
    });
    row("resident beside the CLI, MB", |took| took.beside);
    row("resident of the CLI, MB", |took| took.cli);
    Ok(())
}

fn figures(all: &[Took], of: fn(&Took) -> f64) -> String {
    let mut values: Vec<f64> = all.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(median), Some(most)) => {
            format!("{median:.1} ({least:.1} to {most:.1})")
        }
        _ => "none".to_owned(),
    }
}

/// An endpoint that holds its first reply back until the gate opens.
fn endpoint(gate: &Gate) -> Result<ScriptedMessages> {
    let look = Move::call("Read", json!({"file_path": "pipeline/prompts/answer.md"}));
    Ok(ScriptedMessages::start(
        Script::new().conversation(
            Conversation::new("session")
                .then(look.behind(gate))
                .then(Move::answer(json!({"hypothesis": "h"}))),
        ),
    )?)
}

const SCHEMA: &str =
    r#"{"type":"object","properties":{"hypothesis":{"type":"string"}},"required":["hypothesis"]}"#;

/// The CLI without anything of ours.
fn run_bare(claude: &Path) -> Result<Took> {
    let gate = Gate::closed();
    let endpoint = endpoint(&gate)?;
    let folder = tempfile::tempdir()?;
    let prompts = folder.path().join("pipeline/prompts");
    std::fs::create_dir_all(&prompts)?;
    std::fs::write(prompts.join("answer.md"), "Answer.\n")?;
    let began = Instant::now();
    let mut child = Command::new(claude)
        .args([
            "-p",
            "Go on.",
            "--bare",
            "--output-format",
            "stream-json",
            "--verbose",
        ])
        .args(["--tools", "Read,Edit", "--permission-mode", "acceptEdits"])
        .args(["--permission-prompts", "none", "--model", "claude-opus-4-5"])
        .args([
            "--system-prompt",
            "You improve pipelines.",
            "--json-schema",
            SCHEMA,
        ])
        .env_clear()
        .env("HOME", folder.path())
        .env("PATH", "/usr/bin:/bin")
        .env("ANTHROPIC_BASE_URL", endpoint.url())
        .env("ANTHROPIC_API_KEY", "any")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    endpoint.wait_for_blocking(|requests| requests.len() == 1)?;
    let first_request = ms(began.elapsed());
    let (cli, _) = resident(claude);
    gate.open();
    ensure!(child.wait()?.success(), "the CLI failed");
    Ok(Took {
        first_request,
        whole: ms(began.elapsed()),
        harvest: 0.0,
        beside: 0.0,
        cli,
    })
}

/// The same in a session.
async fn run_held(claude: &Path) -> Result<Took> {
    let gate = Gate::closed();
    let endpoint = endpoint(&gate)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path, Arc::new(SystemClock), StoreOptions::default()).await?;
    let job = sample::job_id(1);
    store.open_account(job, Caps::default()).await?;
    let ledger: Arc<dyn Ledger> = Arc::new(store);
    let address = endpoint.base_url();
    let env = Arc::new(move |name: &str| match name {
        "ANTHROPIC_API_KEY" => Some("any".to_owned()),
        "ADDRESS" => Some(address.clone()),
        _ => None,
    });
    let found = std::env::var_os("PATH").unwrap_or_default();
    let config = SandboxConfig::new(
        find_program("bwrap", &found),
        binary()?,
        vec!["sandbox-init".to_owned()],
    );
    let parts = AgentParts {
        sandbox: Arc::new(ProcessSandbox::new(config)),
        relays: Arc::new(LlmRelays::new(env, PriceTable::builtin(), ledger)),
        clock: Arc::new(SystemClock),
        scratch: folder.path().join("s"),
    };
    // tried once for a process, not for a session
    parts.sandbox.confinement().await?;
    let installed = Installed {
        program: claude.to_owned(),
        mounts: vec![Mount::same(claude)],
        interpreter: None,
    };
    let fence = Fence {
        task: sample::task_id(job, 1),
        epoch: 1,
    };
    let mut tree = VariantTree::new();
    tree.insert("prompts/answer.md", b"Answer.\n".to_vec());
    let request = AgentRequest {
        id: SessionId::derive(fence, 0),
        job,
        fence,
        role: SpendRole::Proposer,
        entry: "proposer".to_owned(),
        model: serde_json::from_value(json!({
            "provider": "anthropic", "model": "claude-opus-4-5", "base_url": "${ADDRESS}",
            "price": {"input": 1.0, "output": 2.0},
        }))?,
        system: "You improve pipelines.".to_owned(),
        tree,
        writable: true,
        schema: serde_json::from_str(SCHEMA)?,
        limits: AgentLimits {
            wall: Duration::from_secs(60),
            cost: None,
        },
    };
    let began = Instant::now();
    let mut session = CliAgent::new(ClaudeCode::new(installed), parts)
        .open(request)
        .await?;
    let stop = CancellationToken::new();
    let looking = async {
        endpoint.wait_for(|requests| requests.len() == 1).await?;
        let first_request = ms(began.elapsed());
        let memory = resident(claude);
        gate.open();
        anyhow::Ok((first_request, memory))
    };
    let (turn, looked) = tokio::join!(session.prompt("Go on.", 5, &stop), looking);
    let whole = ms(began.elapsed());
    let (first_request, (cli, beside)) = looked?;
    ensure!(turn?.answer.is_some(), "the session gave no answer");
    let record = session.close().await?;
    Ok(Took {
        first_request,
        whole,
        harvest: record.harvest_us as f64 / 1000.0,
        beside,
        cli,
    })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The `fapo` beside this example.
fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let profile = own
        .ancestors()
        .nth(2)
        .context("target/<profile>/examples")?;
    Ok(profile.join("fapo"))
}

/// Resident memory in MB of the CLI, and of bubblewrap and the sandbox's first process, among our descendants.
fn resident(claude: &Path) -> (f64, f64) {
    let (mut cli, mut beside) = (0.0, 0.0);
    let mut family = vec![std::process::id()];
    let mut at = 0;
    while at < family.len() {
        let parent = family[at];
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            family.extend(
                children
                    .unwrap_or_default()
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
        at += 1;
    }
    for id in &family[1..] {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
            .unwrap_or(0.0);
        let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let program = line.split('\0').next().unwrap_or_default();
        if Path::new(program) == claude {
            cli += kilobytes / 1024.0;
        } else {
            beside += kilobytes / 1024.0;
        }
    }
    (cli, beside)
}
