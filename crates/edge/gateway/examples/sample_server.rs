//! A gateway over a temporary SQLite store with a few things in it, to be tried by hand and by schemathesis. Writes its address
//! and tokens as JSON to the file named by its argument, and serves until it is interrupted:
//! `cargo run -p fapo-gateway --example sample_server -- /tmp/gateway.json`.

#[path = "../tests/it/shelf.rs"]
mod shelf;
#[path = "../tests/it/world.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod world;

use fapo_gateway::{GatewayConfig, GatewayLimits};
use serde_json::json;
use world::{Setup, World};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args()
        .nth(1)
        .ok_or_else(|| anyhow::anyhow!("name the file to write"))?;
    let limits = GatewayLimits {
        rate: 100_000.0,
        burst: 100_000,
        // a stream of a running job would keep whoever reads it to its end waiting
        stream_time: std::time::Duration::from_millis(200),
        ..GatewayLimits::default()
    };
    let mut world = World::with(Setup {
        config: GatewayConfig {
            limits,
            ..GatewayConfig::default()
        },
        ..Setup::default()
    })
    .await?;
    let facts = json!({
        "url": world.url(""), "tokens": world.tokens, "job_id": world.job,
        "evaluation_id": world.evaluation, "variant_id": world.baseline,
    });
    std::fs::write(path, facts.to_string())?;
    let stop = world.stop.clone();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => stop.cancel(),
        () = stop.cancelled() => {}
    }
    if let Some(server) = world.server.take() {
        server.await??;
    }
    Ok(())
}
