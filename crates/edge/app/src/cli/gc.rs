//! `fapo gc`: throws away what is old, from a project's own store or from a server's.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::clock::{Clock, SystemClock};
use fapo_domain::ports::retention::{Collected, Retention};

use super::Context;
use super::args::server::GcArgs;
use super::session::open_store;
use crate::config::server::KeepFor;
use crate::exit::Exit;
use crate::output::format;
use crate::wiring::store::{OpenStore, Use};

/// How long a project's own store keeps runs, unless the command line says otherwise.
const KEEP: Duration = Duration::from_secs(90 * 24 * 3600);

pub async fn run(context: &Context, args: &GcArgs) -> anyhow::Result<Exit> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let from_server = !args.config.files.is_empty() || !args.config.set.is_empty();
    if !from_server {
        let keep = KeepFor {
            traces: Some(args.older_than.map_or(KEEP, |period| period.0)),
            cache: args.cache_older_than.map(|period| period.0),
            every: Duration::ZERO,
        };
        let ports = open_store(context, &args.dir).await?;
        return collect(context, &*ports.retention, keep, &*clock, args.dry_run).await;
    }
    let config = match super::config::read(&context.config.env, &context.output, &args.config) {
        Ok(config) => config,
        Err(exit) => return Ok(exit),
    };
    let mut keep = config.retention;
    if let Some(period) = args.older_than {
        keep.traces = Some(period.0);
    }
    if let Some(period) = args.cache_older_than {
        keep.cache = Some(period.0);
    }
    let abort = context.config.abort_after_commits;
    let store = OpenStore::open(&config, &clock, abort, Use::Command).await?;
    let retention = Arc::clone(&store.ports.retention);
    let exit = collect(context, &*retention, keep, &*clock, args.dry_run).await;
    store.close().await;
    exit
}

async fn collect(
    context: &Context,
    retention: &dyn Retention,
    keep: KeepFor,
    clock: &dyn Clock,
    dry_run: bool,
) -> anyhow::Result<Exit> {
    let gone = match keep.rule(clock.now(), dry_run) {
        Some(rule) => retention.collect(rule).await?,
        None => Collected::default(),
    };
    let output = &context.output;
    if output.json {
        output.json(&serde_json::json!({"dry_run": dry_run, "collected": gone}))?;
        return Ok(Exit::Ok);
    }
    output.data(&words(&gone, dry_run))?;
    Ok(Exit::Ok)
}

/// What went, as a person reads it.
fn words(gone: &Collected, dry_run: bool) -> String {
    let verb = if dry_run { "would go" } else { "went" };
    if *gone == Collected::default() {
        return format!("nothing {verb}: nothing is that old");
    }
    format!(
        "{verb}: {} with {}, of {}; {}; {} ({:.1} MiB)",
        format::counted(gone.runs, "run"),
        format::counted(gone.steps, "step"),
        format::counted(gone.evaluations, "evaluation"),
        format::counted(gone.cache_entries, "step result"),
        format::counted(gone.blobs, "blob"),
        mebibytes(gone.blob_bytes)
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for people, with one decimal place"
)]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_is_said_in_figures() {
        let gone = Collected {
            evaluations: 1,
            runs: 40,
            steps: 120,
            cache_entries: 0,
            blobs: 2,
            blob_bytes: 3 << 19,
        };
        assert_eq!(
            words(&gone, true),
            "would go: 40 runs with 120 steps, of 1 evaluation; 0 step results; 2 blobs (1.5 MiB)"
        );
        assert!(words(&Collected::default(), false).starts_with("nothing went"));
    }
}
