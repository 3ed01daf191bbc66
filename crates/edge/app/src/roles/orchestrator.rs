//! Orchestrator: drives jobs, from the queue `job`; takes jobs in and answers for them. What is done now and then for all roles
//! (filling the queue from the rows, throwing old things away, measuring the queue) is done here.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::clock::Clock;
use fapo_domain::error::chain;
use fapo_domain::measure;
use fapo_domain::model::task::Topic;
use fapo_domain::ports::queue::QueueDepth;
use fapo_domain::ports::retention::Retention;
use fapo_orchestrator::{OrchestratorConfig, OrchestratorService};
use tokio::time::{Interval, MissedTickBehavior};

use super::{Parts, Process};
use crate::config::server::{KeepFor, Role};
use crate::lifecycle::Kind;

/// Adds the role to the process, where it is one of its roles.
pub fn add(parts: &Parts, process: &mut Process) {
    if !parts.config.node.has(Role::Orchestrator) {
        return;
    }
    let orchestrator = service(parts);
    process
        .tasks
        .spawn(Kind::Worker, "orchestrator", |stop| async move {
            orchestrator.run(stop).await?;
            Ok(())
        });
    let (depth, every) = (Arc::clone(&parts.depth), parts.config.workers.sample_every);
    process
        .tasks
        .spawn(Kind::Periodic, "queue sampling", move |_| {
            sample(depth, every)
        });
    let retention = Arc::clone(&parts.base.ports.retention);
    let (keep, clock) = (parts.config.retention, Arc::clone(&parts.base.clock));
    process.tasks.spawn(Kind::Periodic, "retention", move |_| {
        collect(retention, keep, clock)
    });
}

/// What drives jobs.
fn service(parts: &Parts) -> OrchestratorService {
    let workers = &parts.config.workers;
    let mut config = OrchestratorConfig::new(format!("{}/{}", parts.owner, Topic::Job.as_str()));
    config.concurrency = workers.concurrency(Topic::Job);
    config.reconcile_every = workers.reconcile_every;
    parts
        .base
        .orchestrator(config)
        .with_traces(Arc::clone(&parts.trace))
}

/// Says now and then how much the queue holds.
async fn sample(depth: Arc<dyn QueueDepth>, every: Duration) -> anyhow::Result<()> {
    let mut look = unhurried(every);
    loop {
        look.tick().await;
        let topics = match depth.depth().await {
            Ok(topics) => topics,
            Err(error) => {
                tracing::debug!(error = %chain(&error), "the queue cannot be measured now");
                continue;
            }
        };
        for found in topics {
            let topic = found.topic.as_str();
            let oldest = Duration::from_millis(found.oldest_ms).as_secs_f64();
            measure!(gauge.fapo_queue_waiting = found.waiting, topic);
            measure!(gauge.fapo_queue_delayed = found.delayed, topic);
            measure!(gauge.fapo_queue_delivered = found.delivered, topic);
            measure!(gauge.fapo_queue_oldest_seconds = oldest, topic);
        }
    }
}

/// Throws old things away now and then. Every orchestrator does: what one has begun another goes on with.
async fn collect(
    retention: Arc<dyn Retention>,
    keep: KeepFor,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<()> {
    let mut look = unhurried(keep.every);
    loop {
        look.tick().await;
        let Some(rule) = keep.rule(clock.now(), false) else {
            return Ok(());
        };
        match retention.collect(rule).await {
            Ok(gone) if gone == Default::default() => {}
            Ok(gone) => tracing::info!(
                runs = gone.runs,
                steps = gone.steps,
                cache_entries = gone.cache_entries,
                blob_bytes = gone.blob_bytes,
                "old things were thrown away"
            ),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "old things cannot be thrown away now");
            }
        }
    }
}

fn unhurried(every: Duration) -> Interval {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
