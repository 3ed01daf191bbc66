//! `fapo health`: whether a server's process is ready, for container health checks.

use super::Context;
use super::advice::Advice;
use super::args::server::HealthArgs;
use crate::exit::Exit;

pub async fn run(context: &Context, args: &HealthArgs) -> anyhow::Result<Exit> {
    fapo_llm::install_crypto();
    if let Some(url) = &args.http {
        let asked = format!("{}/readyz", url.trim_end_matches('/'));
        let (status, body) = fapo_llm::get(&asked, args.timeout.0).await?;
        if status != 200 {
            return Err(not_ready(&asked, &body).into());
        }
        return ready(context, &asked);
    }
    Ok(Exit::Usage)
}

fn ready(context: &Context, asked: &str) -> anyhow::Result<Exit> {
    if context.output.json {
        context.output.json(&serde_json::json!({"ready": true}))?;
    } else {
        context.output.note(&format!("{asked}: ready"));
    }
    Ok(Exit::Ok)
}

fn not_ready(asked: &str, said: &str) -> Advice {
    Advice::new(
        format!(
            "{asked} says that the process is not ready: {}",
            said.trim()
        ),
        "the process's log says why",
    )
}
