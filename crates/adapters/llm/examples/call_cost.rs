//! CPU time of one model call on our side: `ProviderModels` against a simulated model in echo mode, in a process of its own.
//!
//! `cargo run --release -p fapo-llm --example call_cost -- [calls] [concurrency]`

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use fapo_domain::ports::models::{ChatRole, Message, ModelRequest, Models, Waits};
use fapo_llm::{PriceTable, ProviderModels};
use fapo_sim::{SimServer, World};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    if arguments.first().is_some_and(|first| first == "serve") {
        return runtime.block_on(serve());
    }
    let number = |index: usize, default: u64| {
        arguments
            .get(index)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let mut server = Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut base_url = String::new();
    BufReader::new(server.stdout.take().context("no stdout")?).read_line(&mut base_url)?;
    let report = runtime.block_on(measure(base_url.trim(), number(0, 50_000), number(1, 32)));
    drop(server.stdin.take());
    server.wait()?;
    writeln!(std::io::stdout(), "{}", report?)?;
    Ok(())
}

/// Serves until standard input is closed.
async fn serve() -> anyhow::Result<()> {
    let world = World::echo("Based on the passages, the answer is a fixed text of some length.");
    let sim = SimServer::start(world, "127.0.0.1:0".parse()?).await?;
    writeln!(std::io::stdout(), "{}", sim.base_url())?;
    tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await?;
    Ok(())
}

async fn measure(base_url: &str, calls: u64, concurrency: u64) -> anyhow::Result<String> {
    let models = Arc::new(ProviderModels::new(
        Arc::new(|_| None),
        PriceTable::builtin(),
    ));
    let spec = Arc::new(serde_json::from_value(serde_json::json!({
        "provider": "openai", "model": "gpt-4.1-mini", "base_url": base_url, "concurrency": concurrency * 4,
    }))?);
    // A prompt of about 4 KB, as three-step pipelines send them.
    let passage =
        "The Larkspur Observatory was founded by Ines Kolb on a hill above the town. ".repeat(50);
    let request = Arc::new(ModelRequest {
        entry: "task".into(),
        spec,
        messages: vec![
            Message {
                role: ChatRole::System,
                content: "Answer the question from the passages.".into(),
            },
            Message {
                role: ChatRole::User,
                content: passage,
            },
        ],
        temperature: Some(0.0),
        top_p: None,
        max_tokens: 256,
        stop: Vec::new(),
        seed: None,
        schema: None,
        waits: Waits::default(),
    });
    let run = async |calls: u64| -> anyhow::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..concurrency {
            let (models, request) = (Arc::clone(&models), Arc::clone(&request));
            tasks.spawn(async move {
                for _ in 0..calls / concurrency {
                    models.worst_case(&request)?;
                    models.complete(&request).await?;
                }
                Ok::<_, fapo_domain::ports::models::ModelError>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    };
    run(concurrency * 50).await?;
    let (before, started) = (cpu_seconds()?, Instant::now());
    run(calls).await?;
    let (after, wall) = (cpu_seconds()?, started.elapsed().as_secs_f64());
    let made = calls / concurrency * concurrency;
    let each = |seconds: f64| seconds / made as f64 * 1e6;
    let (user, system) = (each(after.0 - before.0), each(after.1 - before.1));
    Ok(format!(
        "{made} calls, {concurrency} at a time: {:.1} us CPU per call (user {user:.1}, system {system:.1}), {:.0} calls/s",
        user + system,
        made as f64 / wall,
    ))
}

/// User and system time of this process, from /proc (clock ticks of 10 ms).
fn cpu_seconds() -> anyhow::Result<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, after_name) = stat.rsplit_once(')').context("no process name")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let seconds =
        |field: usize| Ok::<_, anyhow::Error>(fields[field].parse::<u64>()? as f64 / 100.0);
    Ok((seconds(11)?, seconds(12)?))
}
