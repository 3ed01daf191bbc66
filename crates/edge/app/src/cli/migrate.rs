//! `fapo migrate`: brings a server's store up to date, for deployments in which `serve` is not to.

use std::sync::Arc;

use fapo_domain::clock::{Clock, SystemClock};

use super::Context;
use super::args::server::MigrateArgs;
use crate::exit::Exit;
use crate::wiring::store::{OpenStore, Use};

pub async fn run(context: &Context, args: &MigrateArgs) -> anyhow::Result<Exit> {
    let output = &context.output;
    let mut config = match super::config::read(&context.config.env, output, &args.config) {
        Ok(config) => config,
        Err(exit) => return Ok(exit),
    };
    // whatever the configuration says of other processes: this one was told to
    config.migrate = true;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // opening is migrating
    let abort = context.config.abort_after_commits;
    let store = OpenStore::open(&config, &clock, abort, Use::Serve).await?;
    if output.json {
        output.json(&serde_json::json!({"store": store.place, "migrated": true}))?;
    } else {
        output.note(&format!("{} is up to date", store.place));
    }
    store.close().await;
    Ok(Exit::Ok)
}
